"""One recurrence per file, and the registry: adding a recurrence is a file here and a line below.

``cell``: what a cell is. ``keys``: what it declares of the SOURCE grammar. ``activations``, ``layer_norm``: parts.
``one_path``, ``input_gated``: what several have in common.
``CELLS``: name to class, of those that can be built; ``ALL_CELLS``: with those that only files bring.
"""

from __future__ import annotations

from gradscope.cells.cell import Cell
from gradscope.cells.forget_gate import ForgetGate
from gradscope.cells.gru import Gru
from gradscope.cells.indrnn import IndRnn
from gradscope.cells.input_gate import InputGate
from gradscope.cells.keys import Key
from gradscope.cells.leaky import Leaky
from gradscope.cells.lru import Lru
from gradscope.cells.lstm import Lstm
from gradscope.cells.lstm_projected import LstmProjected
from gradscope.cells.mingru import MinGru
from gradscope.cells.minlstm import MinLstm
from gradscope.cells.rnn import Rnn
from gradscope.cells.skip import Skip
from gradscope.cells.slstm import Slstm

#: The article's ladder first.
_BUILT: tuple[type[Cell], ...] = (
    *(Rnn, Skip, ForgetGate, InputGate, Lstm, Gru),
    *(Leaky, IndRnn, MinGru, MinLstm, Lru, Slstm),
)
CELLS: dict[str, type[Cell]] = {cell.name: cell for cell in _BUILT}
#: Those that only files bring: no weights are drawn for them.
FILE_CELLS: dict[str, type[Cell]] = {cell.name: cell for cell in (LstmProjected,)}
#: Every recurrence there is.
ALL_CELLS: dict[str, type[Cell]] = {**CELLS, **FILE_CELLS}


def keys_of_cells() -> dict[str, Key]:
    """Every key that some cell declares."""
    return {name: key for cell in CELLS.values() for name, key in cell.declared_keys().items()}
