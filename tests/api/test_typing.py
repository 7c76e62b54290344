"""mypy sees the keywords: what an editor completes is what is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

GOOD = """
import numpy as np
from pathlib import Path
import gradscope

class Model:
    def state_dict(self) -> dict[str, object]:
        return {}

report: gradscope.Report = gradscope.gradients(
    "rnn", Path("m.pt"), Model(), {"w": np.eye(2)}, (Model(), "param=a"), np.eye(3),
    steps=20, inputs=np.zeros((3, 2)), lags="0:50:5", memory="1G", need=3, target=4,
)
gradscope.lyapunov("rnn", k=3, inputs=[[0.5]], closed_loop=True)
gradscope.spectrum(Model(), pseudospectrum=0.1)
gradscope.sweep("rnn", vary={"gain": [1, 2]}, steps=5)
rows: list[object] = report.results[0].rows["lag"]
print(report.summary()[0]["horizon_at_least"], report.save(Path("x.json")))
"""
BAD = """
import gradscope
gradscope.gradients("rnn", stpes=20)
gradscope.gradients("rnn", steps=[1])
gradscope.gradients(3)
gradscope.sweep("rnn", vary=["gain=1,2"], epsilon=object())
gradscope.gradients("rnn").sumary()
"""


def test_right_calls_pass_and_wrong_ones_do_not(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    for name, text in (("good.py", GOOD), ("bad.py", BAD)):
        (tmp_path / name).write_text(text)
    root = Path(__file__).parents[2]
    # The cache of `make lint` spares half a minute.
    options = ["--strict", "--cache-dir", str(root / ".mypy_cache"), "--config-file", str(root / "pyproject.toml")]
    out, _, _ = api.run([*options, str(tmp_path / "good.py"), str(tmp_path / "bad.py")])
    wrong = [line for line in out.splitlines() if ": error:" in line]
    assert not [line for line in wrong if "good.py" in line], out
    assert sorted({int(line.split(":")[1]) for line in wrong}) == [3, 4, 5, 6, 7], out
