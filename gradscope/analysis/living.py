"""Reductions over a batch that a dead sample cannot capture.

A sample *lives* at a lag if its Jacobian product there is an ordinary number. A product that is exactly zero, that
hangs on a factor below float64's range, or that holds infinities says nothing about the other samples: means, spreads
and the verdict are over the living, and how many are not stands beside them.
"""

from __future__ import annotations

import numpy as np

from gradscope.analysis.nulls import nulls
from gradscope.jacobians.step_jacobian import Array

#: What a sample's product can be, as it stands in the ``status`` column, from the least to the most doubtful.
OK, ZERO, UNDERFLOW, NONFINITE = range(4)
#: A sequence that is too short for the lag says nothing there, and is no dead one.
ENDED = 4
STATUS = ("ok", "zero", "underflow", "nonfinite")


def flat(values: Array) -> Array:
    """(lags, *batch_shape) as (lags, samples)."""
    return values.reshape(values.shape[0], -1)


class Living:
    """Which samples of a batch live at which lag.

    Parameters
    ----------
    zero, underflow, nonfinite : ndarray of bool, shape (T + 1, *batch_shape)
    ended : ndarray of bool, same shape, optional
        Samples whose sequence is too short for the lag.
    """

    def __init__(self, zero: Array, underflow: Array, nonfinite: Array, ended: Array | None = None) -> None:
        self.kinds: Array = np.zeros(flat(zero).shape, dtype=np.uint8)
        for flags, kind in ((zero, ZERO), (underflow, UNDERFLOW), (nonfinite, NONFINITE)):
            self.kinds[flat(flags)] = kind
        if ended is not None:
            self.kinds[ended] = ENDED
        self._alive = None if not self.kinds.any() else self.kinds == OK

    @property
    def n_samples(self) -> int:
        """Size of the batch."""
        return int(self.kinds.shape[1])

    @property
    def all_alive(self) -> bool:
        """Whether every sample lives at every lag."""
        return self._alive is None

    @property
    def alive(self) -> Array:
        """Which samples live, shape (T + 1, samples) of bool (or broadcastable to it)."""
        return np.True_ if self._alive is None else self._alive  # type: ignore[return-value]

    def status(self) -> Array:
        """One word per lag: ``ok`` while any sample lives, the common one if all have one, else the most doubtful."""
        # One "ok" for all lags: np.full would make a string for each.
        words: Array = np.empty(len(self.kinds), dtype=object)
        words[:] = STATUS[OK]
        if self._alive is not None:
            gone = ~self._alive.any(axis=1)
            worst = np.where(self.kinds == ENDED, OK, self.kinds).max(axis=1)
            for kind in (ZERO, UNDERFLOW, NONFINITE):
                words[gone & (worst == kind)] = STATUS[kind]
        return words

    def count(self, kind: int) -> Array:
        """How many samples are of a kind, per lag."""
        if self._alive is None:
            return np.broadcast_to(np.int64(0), (len(self.kinds),))
        return np.asarray((self.kinds == kind).sum(axis=1))

    def mean(self, values: Array) -> Array:
        """Mean over the samples that live at a lag; over all of them where none does.

        Parameters
        ----------
        values : ndarray, shape (T + 1, *batch_shape)
            −inf in a living sample (an exact zero) makes the mean −inf.
        """
        values = flat(values)
        if values.shape[1] == 1:
            return np.asarray(values[:, 0])
        if self._alive is None or self._alive.shape[1] != values.shape[1]:
            return np.asarray(values.mean(axis=1))
        alive = self._alive | ~self._alive.any(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(alive, values, 0.0).sum(axis=1) / alive.sum(axis=1))

    def mean_of_running(self, values: Array) -> Array:
        """Mean over the samples whose sequence reaches the lag, dead ones included."""
        running = self.kinds != ENDED
        return np.asarray(np.where(running, flat(values), 0.0).sum(axis=1) / running.sum(axis=1))

    def std(self, values: Array) -> Array:
        """Standard deviation over the living samples (ddof 1), per lag; NaN with fewer than two."""
        values = flat(values)
        if values.shape[1] < 2:
            return np.broadcast_to(np.nan, (values.shape[0],))
        if self._alive is None:
            return np.asarray(values.std(axis=1, ddof=1))
        counts = self._alive.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            centred = np.where(self._alive, values - self.mean(values)[:, None], 0.0)
            return np.where(counts > 1, np.sqrt(np.square(centred).sum(axis=1) / (counts - 1)), np.nan)

    def to_the_end(self, values: Array) -> Array | None:
        """Mean over the samples that live at *every* lag, so that no death bends the curve; None if there is none."""
        if self._alive is None:
            return self.mean(values)
        survivors = self._alive.all(axis=0)
        return np.asarray(flat(values)[:, survivors].mean(axis=1)) if survivors.any() else None

    def sentences(self) -> list[str]:
        """What a person is told where samples of a batch disagree in kind."""
        if self._alive is None or self.n_samples < 2:
            return []
        out = self._of_lengths()
        ever = self._alive.any(axis=1)
        for kind, words in (
            (ZERO, "dead (the product is exactly zero)"),
            (UNDERFLOW, "below what float64 holds"),
            (NONFINITE, "no longer finite"),
        ):
            found = self.kinds == kind
            if not (found & ever[:, None]).any():
                continue
            count, starts = int(found.any(axis=0).sum()), np.argmax(found, axis=0)[found.any(axis=0)]
            verb = "is" if count == 1 else "are"
            one_by_one = "" if starts.min() == starts.max() else ", one after the other,"
            out.append(
                f"{count} of {self.n_samples} samples {verb} {words}{one_by_one} from lag {int(starts.min())} on; "
                "norms, spreads, rate and verdict are those of the samples that live"
            )
        return out

    def _of_lengths(self) -> list[str]:
        """How many sequences the end of the run speaks of."""
        ended = self.kinds == ENDED
        longest = int((~ended[-1]).sum())
        if longest == self.n_samples:
            return []
        lengths = (~ended).sum(axis=0) - 1
        return [
            f"{self.n_samples} sequences of {int(lengths.min())} to {int(lengths.max())} steps, each from its own end "
            "back: a row is the mean over those that reach its lag; rate and verdict are of "
            f"{'the longest' if longest == 1 else f'the {longest} longest'}"
        ]


def mean_of_nonzero(values: Array) -> Array:
    """Mean over the samples of a log10 column whose NaN or −inf stands for an exact zero; NaN if all are zero.

    >>> mean_of_nonzero(np.array([[-1.0, np.nan], [np.nan, np.nan]]))
    array([-1., nan])
    """
    values = flat(values)
    known = np.isfinite(values)
    if known.all():
        return np.asarray(values[:, 0] if values.shape[1] == 1 else values.mean(axis=1))
    counts = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, np.where(known, values, 0.0).sum(axis=1) / counts, np.nan)


def by_layer(values: Array) -> Array:
    """The same for (T + 1, layers, *batch_shape): a list over layers per lag."""
    out = np.empty(values.shape[0], dtype=object)
    means = np.stack([mean_of_nonzero(values[:, layer]) for layer in range(values.shape[1])], axis=1)
    for lag, row in enumerate(means):
        out[lag] = nulls(row)
    return out
