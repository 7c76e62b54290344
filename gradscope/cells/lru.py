"""The linear recurrent unit: a diagonal complex recurrence, kept stable by its parametrisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, RecurrentWeights, Traces, underflows
from gradscope.cells.keys import Key, positive, share
from gradscope.errors import UsageError
from gradscope.jacobians.rotation import RotationJacobian
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class Lru(Cell):
    """z_t = λ⊙z_{t−1} + B x_t, λ = exp(−exp(ν) + iθ), complex z (Orvieto et al. 2023, eq. 6); linear, so φ has no part.

    The state is real: h = [Re z; Im z], ``hidden`` counts its components, so that there are hidden/2 complex units (an
    odd one out has a real λ). ``weight_hh`` holds ν of all units, then θ of the complex ones, as a column; the rows of
    ``weight_ih`` are Re B, then Im B. ‖J_t ⋯ J_{i+1}‖ = max|λ|^k exactly.
    """

    name: ClassVar[str] = "lru"
    gates: ClassVar[tuple[str, ...]] = ("u",)
    closed_form: ClassVar[str] = "|λ|^k of each unit, its largest (exact)"
    recurrent: ClassVar[RecurrentWeights] = "own"
    inits: ClassVar[tuple[str, ...] | None] = ("gaussian",)
    most_gain: ClassVar[float] = 1.0
    uses_activation: ClassVar[bool] = False
    own_keys: ClassVar[Mapping[str, Key]] = {
        "r_min": Key(share, 0.0, "smallest |λ| that is drawn, as a share of gain"),
        "r_max": Key(share, 1.0, "largest |λ| that is drawn, as a share of gain; |λ|² is uniform between"),
        "max_phase": Key(positive, float(np.pi), "angles of λ are uniform from 0 to this"),
    }

    @classmethod
    def draw_recurrent(
        cls, rng: np.random.Generator, hidden: int, keys: Mapping[str, Any]
    ) -> tuple[Array, Array] | None:
        """λ uniform on a ring, and B's rows times √(1−|λ|²), so that white input keeps |z| at any |λ| (ibid., §3.4)."""
        low, high = (keys["gain"] * keys[name] for name in ("r_min", "r_max"))
        if not 0 <= low <= high <= 1:
            raise UsageError(
                f"lru draws |λ| from gain·r_min = {low:g} to gain·r_max = {high:g}: wanted 0 ≤ r_min ≤ r_max, and "
                "gain·r_max ≤ 1."
            )
        units, pairs = (hidden + 1) // 2, hidden // 2
        # 1 − u lies in (0, 1]: a λ of 0 has no ν.
        squares = low**2 + (high**2 - low**2) * (1.0 - rng.random(units))
        with np.errstate(divide="ignore"):
            nu = np.log(-0.5 * np.log(squares))
        theta = rng.uniform(0.0, keys["max_phase"], pairs)
        scale = np.sqrt(1.0 - squares)
        return np.concatenate([nu, theta])[:, None], np.concatenate([scale, scale[:pairs]])[:, None]

    def _eigenvalues(self, weight: Array) -> tuple[Array, Array, Array]:
        """Re λ of all units, Im λ of the complex ones, and ln|λ| = −exp(ν)."""
        units = (self.hidden_size + 1) // 2
        log_modulus, theta = -np.exp(weight[..., :units, 0]), weight[..., units:, 0]
        modulus, pairs = np.exp(log_modulus), theta.shape[-1]
        real = np.concatenate([modulus[..., :pairs] * np.cos(theta), modulus[..., pairs:]], axis=-1)
        return real, modulus[..., :pairs] * np.sin(theta), log_modulus

    def _jacobian(self, s_prev: Array, drive: Array) -> tuple[RotationJacobian, Array]:
        """J at every step, and ln|λ|, both arranged against (time, networks…, batch)."""
        parts = self._eigenvalues(np.asarray(self.weight_hh, dtype=np.float64))
        a, b, log_modulus = parts if parts[0].ndim == 1 else (part[None, ..., None, :] for part in parts)
        norm = self.norm_jacobian(drive)
        return RotationJacobian(a, b, log_modulus, np.asarray(s_prev, dtype=np.float64), norm), log_modulus

    def weights_by_eigenvalue(self) -> Array:
        """So that Σ |∂h/∂w|²|dw/dλ|² is |∂h/∂λ|² = ½‖∂h/∂(Re λ, Im λ)‖²; of an odd unit's real λ its derivative."""
        _, _, log_modulus = self._eigenvalues(np.asarray(self.weight_hh, dtype=np.float64))
        # |∂λ/∂ν| = |λ| e^ν and |∂λ/∂θ| = |λ|, at a right angle to one another.
        inverse, pairs = np.exp(-log_modulus), self.hidden_size // 2
        share = np.where(np.arange(log_modulus.shape[-1]) < pairs, np.sqrt(0.5), 1.0)
        return np.concatenate([share * inverse / -log_modulus, np.sqrt(0.5) * inverse[..., :pairs]], axis=-1)

    def recurrent_blocks(self) -> dict[str, Array]:
        """[[a, −b], [b, a]], for whoever asks about eigenvalues and norms of the one block."""
        # In float64 whatever the weights are kept in: a bound must not underflow where the Jacobian does not.
        a, b, _ = self._eigenvalues(np.asarray(self.weight_hh, dtype=np.float64))
        H, units, pairs = self.hidden_size, a.shape[-1], b.shape[-1]
        W = np.zeros((*a.shape[:-1], H, H), dtype=a.dtype)
        all_units, all_pairs = np.arange(units), np.arange(pairs)
        W[..., all_units, all_units] = a
        W[..., units + all_pairs, units + all_pairs] = a[..., :pairs]
        W[..., all_pairs, units + all_pairs] = -b
        W[..., units + all_pairs, all_pairs] = b
        return {"u": W}

    def step(self, s_prev: Array, drive: Array) -> Array:
        """[Re z_t; Im z_t]."""
        a, b, _ = self._eigenvalues(self.weight_hh)
        # Weights may differ between networks; the axis before the last is the batch.
        a, b = (part[..., None, :] if part.ndim > 1 else part for part in (a, b))
        units, pairs = a.shape[-1], b.shape[-1]
        re, im = s_prev[..., :units], s_prev[..., units:]
        turned = [a[..., :pairs] * re[..., :pairs] - b * im, a[..., pairs:] * re[..., pairs:]]
        return np.concatenate([*turned, b * re[..., :pairs] + a[..., :pairs] * im], axis=-1) + self.normalised(drive)

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """λ as a turn and a factor of each pair."""
        jacobian, log_modulus = self._jacobian(s_prev, drive)
        units = np.broadcast_to(log_modulus, (*s_prev.shape[:-1], log_modulus.shape[-1]))
        log_direct = np.concatenate([units, units[..., : self.hidden_size // 2]], axis=-1)
        traces = Traces(np.zeros(log_direct.shape), log_direct, {}, underflows(log_direct))
        return Linearisation(jacobian, traces)

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """max|λ|, attained at every step."""
        return block_norms["u"]

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """1, over √ε under a layer norm."""
        return self.norm_gain

    def next_state_bound(self, state_bound: float) -> float:
        """Unknown: a linear state is as large as its input."""
        return float("inf")
