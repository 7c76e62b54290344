"""What a caller asks for: the options that every measuring verb shares, typed and checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradscope.errors import UsageError
from gradscope.sources.given_arrays import GivenArray, GivenReadout, title_of

#: ``progress(label, done, total)``; may be called often.
Progress = Callable[[str, int, int], None]

#: Longest run that is accepted at all, so that a slip of the keyboard is an answer and not a swap storm.
MAX_STEPS = 10**8
MAX_BATCH = 10**6
DEFAULT_MEMORY = 2**30


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Inputs, sizes and seeds of a run: the keywords of :func:`gradscope.gradients` that every verb has, read.

    A file is still its name here, to be opened when it is needed; ``memory`` is in bytes.
    """

    steps: int = 100
    inputs: str | GivenArray = "normal"
    tokens: str | GivenArray | None = None
    batch: int = 1
    seed: int = 0
    dtype: str = "float64"
    state: str | GivenArray | None = None
    transient: int = 0
    time_major: bool | None = None
    memory: int = DEFAULT_MEMORY
    progress: Progress | None = None

    def __post_init__(self) -> None:
        _at_least("-T/--steps", self.steps, 0)
        _at_least("--batch", self.batch, 1)
        _at_least("--seed", self.seed, 0)
        _at_least("--transient", self.transient, 0)
        if self.steps > MAX_STEPS or self.batch > MAX_BATCH:
            raise UsageError(f"{self.steps} steps × {self.batch} sequences: at most {MAX_STEPS} × {MAX_BATCH}.")
        if self.dtype not in ("float64", "float32"):
            raise UsageError(f"--dtype {self.dtype}: wanted float64 or float32.")

    def track(self, label: str) -> Callable[[int, int], None] | None:
        """A progress callback for one part of the work."""
        if self.progress is None:
            return None
        report = self.progress
        return lambda done, total: report(label, done, total)

    def settings(self) -> dict[str, Any]:
        """The ``settings`` object of a record; file names without their directories."""
        return {
            "steps": self.steps,
            "inputs": title_of(self.inputs),
            "batch": self.batch,
            "dtype": self.dtype,
            "state": None if self.state is None else title_of(self.state),
            "transient": self.transient,
        }


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise UsageError(f"{name} {value}: wanted a whole number ≥ {low}.")


@dataclass(frozen=True, kw_only=True)
class GradientsRequest(RunRequest):
    """What :func:`gradscope.gradients` asks on top; ``lags_text`` is how ``lags`` were written."""

    anchor: str = "end"
    lags: tuple[int, ...] | None = None
    lags_text: str | None = None
    epsilon: float = 1e-3
    wrt: str = "state"
    per_layer: bool = False
    loss: str = "cross-entropy"
    loss_at: str = "last"
    readout: str | GivenArray | GivenReadout | None = None
    target: str | GivenArray | None = None
    truncation_bias: float = 0.05
    need: int | None = None
    lengths: str | GivenArray | None = None
    factors: bool = False
    method: str = "auto"
    figures: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, known in (
            ("--anchor", self.anchor, ("end", "start")),
            ("--wrt", self.wrt, ("state", "inputs", "weights")),
            ("--loss", self.loss, ("cross-entropy", "mse", "linear", "none")),
            ("--loss-at", self.loss_at, ("last", "all")),
            ("method", self.method, ("auto", "thin", "dense")),
        ):
            if value not in known:
                raise UsageError(f"{name} {value}: wanted {' or '.join(known)}.")
        if not 0 < self.epsilon < float("inf"):
            raise UsageError(f"--epsilon {self.epsilon}: wanted a number above 0.")
        if not 0 < self.truncation_bias < 1:
            raise UsageError(f"--truncation-bias {self.truncation_bias}: wanted a share between 0 and 1, such as 0.05.")
        if self.need is not None:
            _at_least("--need", self.need, 0)

    def settings(self) -> dict[str, Any]:
        """The ``settings`` object of a record."""
        return {
            **super().settings(),
            "anchor": self.anchor,
            "lags": self.lags_text,
            "epsilon": self.epsilon,
            "wrt": self.wrt,
            "loss": self.loss,
            "loss_at": self.loss_at,
            "truncation_bias": self.truncation_bias,
            "need": self.need,
            "lengths": None if self.lengths is None else title_of(self.lengths),
            "factors": self.factors,
        }
