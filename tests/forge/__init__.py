"""Forged files: each generator builds a format by its own rules and lies where an attacker would.

``lies`` has what is told (counts, names, nests); ``arrays``, ``pickles``, ``containers``, ``graphs`` and ``stored``
build files; ``doors`` opens them as the command line does and judges what came of it; ``python -m tests.forge`` runs
for long.
"""

from __future__ import annotations

from tests.forge import arrays, containers, graphs, pickles, stored

#: Kind of file → (generator of (rng, folder) → path, the doors it is sent through).
KINDS = {**arrays.KINDS, **pickles.KINDS, **containers.KINDS, **graphs.KINDS, **stored.KINDS}
