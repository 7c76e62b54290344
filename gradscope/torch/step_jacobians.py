"""J_t = ∂s_t/∂s_{t−1} of any step function along a trajectory, by ``vmap(jacrev)`` over the visited states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.errors import UntrustedNumbersError
from gradscope.jacobians.step_jacobian import Array
from gradscope.torch.requirement import import_torch
from gradscope.torch.states import StateLayout

#: Numbers that one chunk of Jacobians may hold: 2^22 float64 are 32 MiB, and autograd keeps a few of such arrays.
CHUNK = 2**22
#: How far the state of a single sample may lie from the one of the batch, relative to its size.
REPLAY_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
#: Steps at which autograd's derivative is compared with a central difference, and how far they may lie apart.
CHECKED_STEPS, DIFFERENCE_TOLERANCE = 5, 1e-5


@dataclass(frozen=True)
class Linearised:
    """A trajectory of a step function with its Jacobians.

    Attributes
    ----------
    states : ndarray, shape (T + 1, batch, n)
    jacobians : ndarray, shape (T, batch, n, n)
    batched_by_vmap : bool
        False where ``step`` had to be differentiated row by row.
    disagrees : bool
        Whether autograd's derivative is not the derivative of the step function.
    """

    states: Array
    jacobians: Array
    batched_by_vmap: bool
    disagrees: bool


@dataclass(frozen=True)
class StepOfVectors:
    """A step function on packed states.

    Attributes
    ----------
    step : callable
        ``step(x, state) -> state``.
    batched : bool
        Whether ``step`` reads a batch, (batch, I) and leaves (batch, …), or one sample, (I,).
    """

    step: Callable[[Any, Any], Any]
    layout: StateLayout
    batched: bool

    def of_batch(self, x: Any, s: Any) -> Any:
        """One step of all samples: (batch, I), (batch, n) → (batch, n)."""
        torch = import_torch()
        if self.batched:
            return self.layout.pack(self.step(x, self.layout.unpack(s)), lead=(len(s),))
        return torch.stack([self.layout.pack(self.step(x[i], self.layout.unpack(s[i]))) for i in range(len(s))])

    def of_one(self, x: Any, s: Any) -> Any:
        """One step of one sample: (I,), (n,) → (n,)."""
        if self.batched:
            return self.layout.pack(self.step(x[None], self.layout.unpack(s[None])), lead=(1,))[0]
        return self.layout.pack(self.step(x, self.layout.unpack(s)))


def run(step: StepOfVectors, x: Any, s0: Any) -> Any:
    """s_0 … s_T, shape (T + 1, batch, n), for x of shape (T, batch, I)."""
    torch = import_torch()
    states = [s0]
    with torch.no_grad():
        for x_t in x:
            states.append(step.of_batch(x_t, states[-1]))
    return torch.stack(states)


def linearise(
    step: StepOfVectors, x: Any, s0: Any, *, progress: Callable[[int, int], None] | None = None
) -> Linearised:
    """Run ``step`` and differentiate it at every visited state.

    Parameters
    ----------
    x : Tensor, shape (T, batch, I)
    s0 : Tensor, shape (batch, n)

    Raises
    ------
    UntrustedNumbersError
        The run leaves the finite numbers, or a sample alone takes another step than in its batch, so that there is
        no Jacobian per sample.
    """
    torch = import_torch()
    states = run(step, x, s0)
    if not torch.isfinite(states).all():
        t = int((~torch.isfinite(states)).flatten(1).any(dim=1).nonzero()[0])
        raise UntrustedNumbersError(f"the state is not finite from step {t} on: there is no Jacobian to multiply")
    n = step.layout.size
    before, heard = states[:-1].reshape(-1, n), x.reshape(-1, *x.shape[2:])
    total, size = len(before), max(1, CHUNK // max(1, n * n))
    jacobians = np.empty((total, n, n))
    differentiate: Callable[[Any, Any], tuple[Any, Any]] = _by_vmap(step)
    by_vmap = True
    for first in range(0, total, size):
        stretch = slice(first, min(first + size, total))
        try:
            found, after = differentiate(heard[stretch], before[stretch])
        except RuntimeError:
            if not by_vmap or first:
                raise
            # Data-dependent control flow, an in-place write, an old-style autograd.Function: no vmap, but autograd.
            by_vmap, differentiate = False, _by_rows(step)
            found, after = differentiate(heard[stretch], before[stretch])
        _same_step(after, states[1:].reshape(-1, n)[stretch])
        jacobians[stretch] = found.to(torch.float64).numpy()
        if progress is not None:
            progress(stretch.stop, total)
    T, batch = x.shape[:2]
    disagrees = _disagrees(step, heard, before, jacobians)
    return Linearised(states.to(torch.float64).numpy(), jacobians.reshape(T, batch, n, n), by_vmap, disagrees)


def _by_vmap(step: StepOfVectors) -> Callable[[Any, Any], tuple[Any, Any]]:
    torch = import_torch()

    def with_value(x: Any, s: Any) -> tuple[Any, Any]:
        out = step.of_one(x, s)
        return out, out

    both = torch.func.vmap(torch.func.jacrev(with_value, argnums=1, has_aux=True), randomness="error")

    def differentiate(x: Any, s: Any) -> tuple[Any, Any]:
        jacobian, after = both(x, s)
        return jacobian.detach(), after.detach()

    return differentiate


def _by_rows(step: StepOfVectors) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The slow, plain way: one backward pass per component of the state and sample."""
    torch = import_torch()

    def differentiate(x: Any, s: Any) -> tuple[Any, Any]:
        jacobians, after = [], []
        with torch.enable_grad():
            for x_t, s_t in zip(x, s, strict=True):
                leaf = s_t.detach().requires_grad_()
                out = step.of_one(x_t, leaf)
                rows = []
                for component in out:
                    row = torch.zeros_like(leaf)
                    if component.requires_grad:
                        (found,) = torch.autograd.grad(component, leaf, retain_graph=True, allow_unused=True)
                        row = row if found is None else found
                    rows.append(row)
                jacobians.append(torch.stack(rows))
                after.append(out.detach())
        return torch.stack(jacobians), torch.stack(after)

    return differentiate


def _same_step(after: Any, wanted: Any) -> None:
    """Whether a sample alone takes the step it took in the run."""
    tolerance = REPLAY_TOLERANCE["float64" if wanted.element_size() == 8 else "float32"]
    apart = float((after - wanted).abs().max()) if wanted.numel() else 0.0
    if apart > tolerance * (1.0 + float(wanted.abs().max() if wanted.numel() else 0.0)):
        raise UntrustedNumbersError(
            f"step gives another state (by {apart:.1e}) when it is called again for one sample alone: it draws random "
            "numbers (call .eval() on the module), keeps something between calls, or mixes the samples of a batch"
        )


def _disagrees(step: StepOfVectors, x: Any, s: Any, jacobians: Array) -> bool:
    """Whether J·v is not the central difference of the step along v, at two of a few visited states or all of them."""
    torch = import_torch()
    if not len(s) or s.element_size() < 8:  # a difference in float32 tells nothing at this tolerance
        return False
    places = sorted({round(i * (len(s) - 1) / max(1, CHECKED_STEPS - 1)) for i in range(CHECKED_STEPS)})
    rng = np.random.default_rng(0)
    wrong = 0
    for place in places:
        v = rng.standard_normal(s.shape[-1])
        v /= np.linalg.norm(v)
        size = 1e-6 * (1.0 + float(s[place].abs().max()))
        moved = torch.from_numpy(v * size)
        with torch.no_grad():
            there, back = step.of_one(x[place], s[place] + moved), step.of_one(x[place], s[place] - moved)
        difference = (there - back).numpy() / (2.0 * size)
        derivative = jacobians[place] @ v
        # The difference is exact to its size squared, and to the rounding of the state over its size.
        rounding = 1e-8 * (1.0 + float(there.abs().max()))
        allowed = DIFFERENCE_TOLERANCE * np.linalg.norm(derivative) + rounding
        wrong += bool(np.linalg.norm(difference - derivative) > allowed)
    return wrong >= min(2, len(places))
