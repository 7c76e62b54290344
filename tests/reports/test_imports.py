"""The reports room costs nothing to import: numpy, scipy, rich and matplotlib come in where they are used."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import gradscope.reports


def test_no_module_of_the_room_imports_anything_heavy():
    names = [found.name for found in pkgutil.walk_packages(gradscope.reports.__path__, "gradscope.reports.")]
    assert "gradscope.reports.views.gradients_view" in names
    heavy = ("numpy", "scipy", "rich", "matplotlib", "jsonschema")
    code = f"import sys, {', '.join(names)}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
