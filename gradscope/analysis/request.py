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
    """Inputs, sizes and seeds of a run.

    Attributes
    ----------
    steps : int
        T; an inputs file overrides it.
    inputs : str or GivenArray
        ``normal``, ``uniform``, ``zeros`` or a file; or the array itself.
    tokens : str, GivenArray or None
        Tokens (``3,17,4`` or a file), looked up in the file's embedding; they take the place of ``inputs``.
    state : str, GivenArray or None
        The initial state or its file; zeros without it.
    time_major : bool or None
        An inputs file of three axes is (T, batch, inputs), or with False (batch, T, inputs); None asks where the
        first is far larger than the second.
    transient : int
        Steps run before measuring.
    memory : int
        Bytes the tape may take before it is recomputed from checkpoints.
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
    """What ``gradients`` asks on top.

    Attributes
    ----------
    anchor : {"end", "start"}
    lags : tuple of int or None
        Rows kept; all when None.
    epsilon : float
        Norm below which a gradient counts as gone (the horizon).
    loss : {"cross-entropy", "mse", "linear", "none"}
    loss_at : {"last", "all"}
    readout : str, GivenArray, GivenReadout or None
        The readout's weights or their file; ``random`` for a seeded one where the network is a trained one.
    target : str, GivenArray or None
        Class number, or an array or file of them.
    truncation_bias : float
        Relative bias of ∂L/∂W_hh that truncated backpropagation may have (``tbptt_length``).
    factors : bool
        Take the article's product for ∂L/∂W_hh apart, factor by factor.
    need : int or None
        How far back the task needs gradients (``enough``).
    lengths : str, GivenArray or None
        How many steps each sequence of a padded batch has; lags count back from each one's own end.
    method : {"auto", "thin", "dense"}
        How the product is measured: fast, by the algorithm on one page, or by the slow reference.
    figures : bool
        Also gather what only figures show (the heat map over (t, i)).
    """

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
