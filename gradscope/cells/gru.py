"""The GRU, in PyTorch's form (reset after the product, z keeps) and in the older one (reset before it)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from gradscope.cells.base import Cell, Linearisation, Traces, product_bound, underflows
from gradscope.errors import UsageError
from gradscope.jacobians.base import Array, StepJacobian, WeightCotangent, shared_matmul, shared_matmul_left
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled, RowScaledSum


@dataclass(frozen=True)
class Gru(Cell):
    """h_t = z⊙h_{t−1} + (1−z)⊙n with r, z = σ(a_r), σ(a_z): z is the *keep* gate, as in PyTorch.

    n = φ(U_n x + b_n + r⊙(W_n h + b_hn)) with ``reset="after"`` (PyTorch, Keras' default, cuDNN; Cho et al. 2014 v1),
    n = φ(U_n x + b_n + W_n (r⊙h)) with ``reset="before"`` (ONNX's default, Keras' ``reset_after=False``).

    Attributes
    ----------
    bias_recurrent : ndarray, shape (..., H), or None
        b_hn, the one bias that r multiplies; None means 0. With ``reset="before"`` it belongs in ``bias``.
    """

    bias_recurrent: Array | None = field(default=None)
    reset: Literal["after", "before"] = field(default="after")

    name: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    closed_form: ClassVar[str] = "the direct path Π z, its largest unit"
    memory_gate: ClassVar[str | None] = "z"

    def __post_init__(self) -> None:
        """Refuse a reset that is neither."""
        if self.reset not in ("after", "before"):
            raise UsageError(f"reset is 'after' or 'before', not '{self.reset}'")

    @classmethod
    def from_layer(
        cls, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None, **settings: Any
    ) -> Gru:
        """Build from PyTorch's two biases: all are added up, except b_hn where r multiplies it."""
        H = weight_hh.shape[-1]
        bias, recurrent = np.zeros(weight_hh.shape[:-1], dtype=weight_hh.dtype), None
        if bias_ih is not None:
            bias = bias + bias_ih
        if bias_hh is not None and settings.get("reset", "after") == "before":
            bias = bias + bias_hh
        elif bias_hh is not None:
            bias[..., : 2 * H] += bias_hh[..., : 2 * H]
            recurrent = bias_hh[..., 2 * H :].astype(weight_hh.dtype)
        return cls(weight_ih, weight_hh, bias.astype(weight_hh.dtype), bias_recurrent=recurrent, **settings)

    def _candidate_product(self, products: Array, h_prev: Array, r: Array) -> tuple[Array, Array]:
        """What the drive is added to in a_n, and m = W_n h + b_hn (reset after) or h (before), what r multiplies."""
        if self.reset == "before":
            return np.asarray((r * h_prev) @ np.swapaxes(self.recurrent_blocks()["n"], -1, -2)), h_prev
        m = products[..., 2 * self.hidden_size :]
        if self.bias_recurrent is not None:
            m = m + self.bias_recurrent[..., None, :]
        return r * m, m

    def _pre_activations(self, h_prev: Array, drive: Array) -> tuple[Array, Array, Array, Array]:
        """a_r, a_z, a_n, and what r multiplies."""
        products = self.recurrent_products(h_prev)
        H = self.hidden_size
        a_r, a_z = self.split(drive[..., : 2 * H] + products[..., : 2 * H])
        recurrent, multiplied = self._candidate_product(products, h_prev, self.gate_activation.value(a_r))
        return a_r, a_z, drive[..., 2 * H :] + recurrent, multiplied

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        _, a_z, a_n, _ = self._pre_activations(s_prev, drive)
        sigma = self.gate_activation.value
        # σ(−a) = 1 − σ(a), with its digits when the gate is open.
        return np.asarray(sigma(a_z) * s_prev + sigma(-a_z) * self.activation.value(a_n))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(z) + diag((h−n) σ′(a_z)) W_z + diag((1−z) φ′(a_n)) ∂a_n/∂h.

        ∂a_n/∂h is diag(r) W_n + diag(m σ′(a_r)) W_r after the reset, W_n (diag(r) + diag(h σ′(a_r)) W_r) before it.
        """
        a_r, a_z, a_n, multiplied = (np.asarray(a, dtype=np.float64) for a in self._pre_activations(s_prev, drive))
        sigma = self.gate_activation
        r, z, n = sigma.value(a_r), sigma.value(a_z), self.activation.value(a_n)
        log_r_slope, log_z_slope, log_slope = sigma.log_slope(a_r), sigma.log_slope(a_z), self.activation.log_slope(a_n)
        to_z = (s_prev - n) * np.exp(log_z_slope)
        to_n = sigma.value(-a_z) * np.exp(log_slope)
        to_r = multiplied * np.exp(log_r_slope)
        jacobian: StepJacobian
        if self.reset == "after":
            drive_coefficients = np.stack([to_n * to_r, to_z, to_n], axis=-2)
            jacobian = DiagonalPlusRowScaled(
                z, self.row_scaled(to_n * to_r, to_z, to_n * r), s_prev, drive_coefficients
            )
        else:
            jacobian = ResetBeforeJacobian(z, r, to_r, self.row_scaled(np.ones_like(z), to_z, to_n), s_prev)
        log_z = sigma.log_value(a_z)
        underflow = underflows(log_slope, log_r_slope, log_z_slope, log_z)
        return Linearisation(jacobian, Traces(log_slope, log_z, {"r": r, "z": z}, underflow))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """√(1 + x²) + s (sup|h| + sup|φ|) σ₁(W_z), with x = sup ‖diag(φ′) ∂a_n/∂h‖₂ and s = sup σ′.

        A row of [diag(z), diag(1−z)] has norm ≤ 1, so ‖diag(z) + diag(1−z) X‖ ≤ ‖[I; X]‖ = √(1 + x²).
        After the reset |m_i| ≤ sup|h| Σ_j |W_n,ij| + |b_hn,i|.
        """
        s, gamma, M = self.gate_activation.max_slope, self.activation.max_slope, self.activation.max_value
        if self.reset == "after":
            rows = np.abs(np.asarray(self.recurrent_blocks()["n"], dtype=np.float64)).sum(axis=-1)
            bias = 0.0 if self.bias_recurrent is None else float(np.max(np.abs(self.bias_recurrent)))
            m = product_bound(state_bound, float(np.max(rows))) + bias
            x = gamma * (block_norms["n"] + product_bound(m, s, block_norms["r"]))
        else:
            x = gamma * block_norms["n"] * (1.0 + product_bound(state_bound, s, block_norms["r"]))
        return float(np.hypot(1.0, x)) + product_bound(state_bound + M, s, block_norms["z"])

    def next_state_bound(self, state_bound: float) -> float:
        """A convex combination never leaves [−M, M], M = max(|h_0|, sup|φ|)."""
        return max(state_bound, self.activation.max_value)


@dataclass(frozen=True)
class ResetBeforeJacobian(StepJacobian):
    """J = diag(z) + C_z W_z + C_n W_n (diag(r) + C_r W_r) of a gru whose reset comes before the product.

    Attributes
    ----------
    keep, reset, to_reset : ndarray, shape (..., H)
        z, r, and C_r = h σ′(a_r).
    gates : RowScaledSum
        Coefficients (1, C_z, C_n) and the blocks W_r, W_z, W_n.
    h_prev : ndarray, shape (..., H)
    """

    keep: Array
    reset: Array
    to_reset: Array
    gates: RowScaledSum
    h_prev: Array

    @property
    def state_size(self) -> int:
        """H."""
        return int(self.keep.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes."""
        return tuple(self.keep.shape[:-1])

    def __getitem__(self, steps: int | slice) -> ResetBeforeJacobian:
        """Index time."""
        return ResetBeforeJacobian(
            self.keep[steps], self.reset[steps], self.to_reset[steps], self.gates[steps], self.h_prev[steps]
        )

    def _cotangents(self, R: Array) -> tuple[Array, Array]:
        """Of the pre-activations a_r, a_z, a_n side by side, and of r⊙h, the vector that W_n multiplies."""
        _, C_z, C_n = np.moveaxis(self.gates.coefficients, -2, 0)
        to_n = R * C_n[..., None, :]
        to_masked = shared_matmul(to_n, self.gates.weights[..., 2, :, :])
        return np.concatenate(
            [to_masked * self.to_reset[..., None, :], R * C_z[..., None, :], to_n], axis=-1
        ), to_masked

    def pull(self, R: Array) -> Array:
        """R·J."""
        H = self.state_size
        cotangents, to_masked = self._cotangents(R)
        W_rz = self.gates.stacked[..., : 2 * H, :]
        direct = R * self.keep[..., None, :] + to_masked * self.reset[..., None, :]
        return np.asarray(direct + shared_matmul(cotangents[..., : 2 * H], W_rz))

    def _push(self, drive: Array, h: Array | float) -> Array:
        """From tangents of W_r h, W_z h and b_n (..., 3H, r), and of h itself."""
        H = self.state_size
        _, C_z, C_n = np.moveaxis(self.gates.coefficients, -2, 0)
        masked = self.reset[..., None] * h + self.to_reset[..., None] * drive[..., :H, :]
        into_n = shared_matmul_left(self.gates.weights[..., 2, :, :], masked) + drive[..., 2 * H :, :]
        through_z = C_z[..., None] * drive[..., H : 2 * H, :]
        return np.asarray(self.keep[..., None] * h + through_z + C_n[..., None] * into_n)

    def push(self, Q: Array) -> Array:
        """J·Q."""
        H = self.state_size
        products = shared_matmul_left(self.gates.stacked[..., : 2 * H, :], Q)
        return self._push(np.concatenate([products, np.zeros_like(products[..., :H, :])], axis=-2), Q)

    @property
    def drive_size(self) -> int:
        """3H."""
        return 3 * self.state_size

    def pull_drive(self, R: Array) -> Array:
        """R·∂h_t/∂drive_t."""
        return self._cotangents(R)[0]

    def push_drive(self, Q: Array) -> Array:
        """∂h_t/∂drive_t·Q."""
        return self._push(Q, 0.0)

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """W_r and W_z multiply h_{t−1}, W_n multiplies r⊙h_{t−1}."""
        H = self.state_size
        rows = self._cotangents(g[..., None, :])[0][..., 0, :]
        return (
            (
                WeightCotangent(rows[..., : 2 * H], self.h_prev),
                WeightCotangent(rows[..., 2 * H :], self.reset * self.h_prev),
            ),
        )
