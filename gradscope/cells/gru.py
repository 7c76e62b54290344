"""The GRU, in PyTorch's form (reset after the product, z keeps) and in the older one (reset before it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces, product_bound
from gradscope.cells.domination import Block, Chain, Domination
from gradscope.cells.intervals import Interval, affine, image, largest_slope
from gradscope.cells.keys import Key, one_of
from gradscope.errors import UsageError
from gradscope.jacobians.gru_jacobian import GruJacobian
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled
from gradscope.jacobians.step_jacobian import Array, StepJacobian

#: Boxes within boxes until the reachable set is bounded as well as it will be.
_NESTED_BOXES = 12


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
    own_keys: ClassVar[Mapping[str, Key]] = {
        "reset": Key(one_of("after", "before"), "after", "where a gru's reset gate acts", in_files=True)
    }

    def __post_init__(self) -> None:
        """Refuse a reset that is neither."""
        super().__post_init__()
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

    def _pre_activations(self, h_prev: Array, drive: Array) -> tuple[Array, Array]:
        """p_r, p_z, p_n side by side, before any norm, and what r multiplies: W_n h + b_hn, or h (reset before)."""
        products = self.recurrent_products(h_prev)
        H = self.hidden_size
        p_rz = drive[..., : 2 * H] + products[..., : 2 * H]
        r = self.gate_activation.value(self.normalised(p_rz)[..., :H])
        if self.reset == "before":
            multiplied = h_prev
            recurrent = (r * h_prev) @ np.swapaxes(self.recurrent_blocks()["n"], -1, -2)
        else:
            multiplied = products[..., 2 * H :]
            if self.bias_recurrent is not None:
                multiplied = multiplied + self.bias_recurrent[..., None, :]
            recurrent = r * multiplied
        return np.concatenate([p_rz, drive[..., 2 * H :] + recurrent], axis=-1), multiplied

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        _, a_z, a_n = self.split(self.normalised(self._pre_activations(s_prev, drive)[0]))
        sigma = self.gate_activation.value
        # σ(−a) = 1 − σ(a), with its digits when the gate is open.
        return np.asarray(sigma(a_z) * s_prev + sigma(-a_z) * self.activation.value(a_n))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(z) + diag((h−n) σ′(a_z)) W_z + diag((1−z) φ′(a_n)) ∂a_n/∂h.

        ∂a_n/∂h is diag(r) W_n + diag(m σ′(a_r)) W_r after the reset, W_n (diag(r) + diag(h σ′(a_r)) W_r) before it.
        """
        p, multiplied = (np.asarray(a, dtype=np.float64) for a in self._pre_activations(s_prev, drive))
        a_r, a_z, a_n = self.split(self.normalised(p))
        sigma = self.gate_activation
        r, z, n = sigma.value(a_r), sigma.value(a_z), self.activation.value(a_n)
        log_r_slope, log_z_slope, log_slope = sigma.log_slope(a_r), sigma.log_slope(a_z), self.activation.log_slope(a_n)
        to_z = (s_prev - n) * np.exp(log_z_slope)
        to_n = sigma.value(-a_z) * np.exp(log_slope)
        to_r = multiplied * np.exp(log_r_slope)
        jacobian: StepJacobian
        if self.reset == "after" and self.norm == "none":
            drive_coefficients = np.stack([to_n * to_r, to_z, to_n], axis=-2)
            recurrent = self.row_scaled(to_n * to_r, to_z, to_n * r)
            jacobian = DiagonalPlusRowScaled(z, recurrent, s_prev, drive_coefficients)
        else:
            gates = self.row_scaled(to_r, to_z, to_n)
            jacobian = GruJacobian(z, r, gates, s_prev, self.reset == "before", self.norm_jacobian(p))
        log_z = sigma.log_value(a_z)
        underflow = self.loses(log_slope, log_r_slope, log_z_slope, log_z, sigma.log_value(-a_z) + log_slope)
        return Linearisation(jacobian, Traces(log_slope, log_z, {"r": r, "z": z}, underflow))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """√(1 + x²) + s (sup|h| + sup|φ|) σ₁(W_z), with x = sup ‖diag(φ′) ∂a_n/∂h‖₂ and s = sup σ′.

        A row of [diag(z), diag(1−z)] has norm ≤ 1, so ‖diag(z) + diag(1−z) X‖ ≤ ‖[I; X]‖ = √(1 + x²).
        After the reset |m_i| ≤ sup|h| Σ_j |W_n,ij| + |b_hn,i|.
        """
        s, gamma, M = self.gate_activation.max_slope, self.activation.max_slope, self.activation.max_value
        norms = self.normalised_norms(block_norms)
        if self.reset == "after":
            m = self._multiplied_bound(state_bound)
            # A norm's 1/√ε stands once before W_n h (in norms["n"]) and once more before the path through r.
            through_r = product_bound(m, s, norms["r"], self.norm_gain)
            x = gamma * (norms["n"] + through_r)
        else:
            x = gamma * norms["n"] * (1.0 + product_bound(state_bound, s, norms["r"]))
        return float(np.hypot(1.0, x)) + product_bound(state_bound + M, s, norms["z"])

    def _multiplied_bound(self, state_bound: float) -> float:
        """sup |W_n h + b_hn|, what r multiplies after the product."""
        rows = np.abs(np.asarray(self.recurrent_blocks()["n"], dtype=np.float64)).sum(axis=-1)
        bias = 0.0 if self.bias_recurrent is None else float(np.max(np.abs(self.bias_recurrent)))
        return product_bound(state_bound, float(np.max(rows))) + bias

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[γ m s, (sup|h| + sup|φ|) s, γ]‖ with m = sup|W_n h + b_hn| (reset after) or σ₁(W_n) sup|h| (before)."""
        s, gamma, M = self.gate_activation.max_slope, self.activation.max_slope, self.activation.max_value
        after = self.reset == "after"
        m = self._multiplied_bound(state_bound) if after else product_bound(block_norms["n"], state_bound)
        through_r = product_bound(gamma, self.norm_gain, m, s)
        return float(np.linalg.norm([through_r, (state_bound + M) * s, gamma])) * self.norm_gain

    def next_state_bound(self, state_bound: float) -> float:
        """A convex combination never leaves [−M, M], M = max(|h_0|, sup|φ|)."""
        return max(state_bound, self.activation.max_value)

    def domination(self, drive: Interval, start: Interval) -> Domination | None:
        """diag(z) + diag(1−z) X + Y, X and Y from gate bounds over the reachable set: h stays between h_0 and sup n."""
        M, H = self.activation.max_value, self.hidden_size
        if self.norm != "none" or self.weight_hh.ndim != 2 or not np.isfinite(M):
            return None
        sigma, phi, W, U = self.gate_activation, self.activation, self.recurrent_blocks(), self.input_blocks()
        b = np.zeros(H) if self.bias_recurrent is None else np.asarray(self.bias_recurrent, dtype=np.float64)
        h, rounding = start.hull(Interval.around(np.zeros(H), M)), self.outward_rounding
        for _ in range(_NESTED_BOXES):
            a_r, a_z, _ = self.gate_intervals(drive, h)
            r, z = image(sigma, a_r), image(sigma, a_z)
            if self.reset == "after":
                # The recurrent product alone is what r multiplies; the drive comes in beside it.
                multiplied = affine(W["n"], h) + Interval(b, b)
                a_n = drive[2 * H :].outward() + (r * multiplied).outward(rounding)
            else:
                multiplied = h
                a_n = drive[2 * H :].outward() + affine(W["n"], r * h, relative=rounding)
            a_n = a_n.outward(rounding)
            n = image(phi, a_n)
            h = start.hull(n.outward(rounding).within(h))
        slope_r, slope_z, slope_n = largest_slope(sigma, a_r), largest_slope(sigma, a_z), largest_slope(phi, a_n)
        through_z = Block(((h - n).magnitude * slope_z,), (W["z"],))
        by_reset = multiplied.magnitude * slope_r
        let_in = 1.0 - z.low
        if self.reset == "after":
            into = Block((slope_n * r.high, slope_n * by_reset), (W["n"], W["r"]))
            mixed = into.entrywise()
            let_into = Block((let_in * slope_n * r.high, let_in * slope_n * by_reset), (W["n"], W["r"]))
            through_r: Chain = (Block((let_in * slope_n * by_reset,), (U["r"],)),)

            def of_new(norm: Callable[[Block], float]) -> float:
                return norm(let_into)

        else:
            inner = Block((by_reset,), (W["r"],))
            mixed = slope_n[:, None] * (
                np.abs(np.asarray(W["n"], dtype=np.float64)) @ (np.diag(r.high) + inner.entrywise())
            )
            outer = Block((let_in * slope_n,), (W["n"],))
            through_r = (outer, Block((by_reset,), (U["r"],)))

            def of_new(norm: Callable[[Block], float]) -> float:
                return norm(outer) * (float(r.high.max()) + norm(inner))

        def norms(norm: Callable[[Block], float]) -> Array:
            return np.array([[float(z.high.max()) + of_new(norm) + norm(through_z)]])

        directly = Block((through_z.coefficients[0], let_in * slope_n), (U["z"], U["n"]))
        return Domination(through_z.entrywise(), z, mixed, norms, h, (((directly,), through_r),))
