"""What a cell is: one recurrence s_{t−1}, x_t → s_t, and its linearisation.

Conventions, stated once. States are column vectors; arrays hold them in the last axis, with leading axes
(time, networks…, batch). h_t has H components; a cell with memory has the state [h; c]. Gate g owns rows
gH … (g+1)H of ``weight_ih`` and ``weight_hh``, in the order of ``Cell.gates`` (where h is projected to fewer
components than there are units, H there is the number of units, ``Cell.gate_size``). The input enters by the *drive*
U x_t + b. Weights may carry leading axes (networks…) to run many networks of one shape side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from gradscope.cells.activations import ACTIVATIONS, GATE_ACTIVATIONS, Activation
from gradscope.cells.domination import Domination
from gradscope.cells.intervals import OUTWARD, OUTWARD_FLOAT32, Interval, affine
from gradscope.cells.keys import MEMORY_KEYS, NORM, Key
from gradscope.cells.layer_norm import EPSILON, norm_jacobian, normalise_blocks
from gradscope.errors import ShapeError, UsageError
from gradscope.jacobians.norm_jacobian import NormJacobian
from gradscope.jacobians.row_scaled import RowScaledSum
from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.log_domain import LN_TINY

#: How W_hh is held: every unit reads all, (..., G·H, H); each itself alone, a column (..., G·H, 1); none anything.
RecurrentWeights: TypeAlias = Literal["full", "own", "none"]


@dataclass(frozen=True)
class Traces:
    """What theory may know of a trajectory: slopes and gates, never Jacobians. Leading axes (time, ..., batch).

    Attributes
    ----------
    log_slope : ndarray, shape (..., H)
        ln φ′ of the candidate's pre-activation.
    log_direct : ndarray, shape (..., H), or None
        ln of the direct path's factor (f of a forget gate, z of a gru, 1 of a skip); None if there is none.
    gates : dict of str to ndarray
        Gate values, for the reader's eye.
    underflow : ndarray of bool, shape (...)
        True where a slope or a gate is positive but below what float64 holds.
    """

    log_slope: Array
    log_direct: Array | None
    gates: dict[str, Array]
    underflow: Array


@dataclass(frozen=True)
class Linearisation:
    """A step Jacobian (or many, time first) and what theory may know of the same steps."""

    jacobian: StepJacobian
    traces: Traces


@dataclass(frozen=True)
class Cell(ABC):
    """One layer of one recurrence, with its weights.

    Attributes
    ----------
    weight_ih : ndarray, shape (..., G·H, I)
    weight_hh : ndarray, shape (..., G·H, H)
        Of cells whose units read themselves alone a column (:attr:`recurrent`).
    bias : ndarray, shape (..., G·H)
        What is added to the drive (the sum of the two biases of a PyTorch layer, unless a cell says otherwise).
    activation, gate_activation : Activation
        φ of the candidate (and of the lstm's output), σ of the gates.
    norm : {"none", "layer"}
        Layer normalisation of the pre-activations (:mod:`gradscope.cells.layer_norm`).
    """

    weight_ih: Array
    weight_hh: Array
    bias: Array
    activation: Activation = field(default=ACTIVATIONS["tanh"])
    gate_activation: Activation = field(default=GATE_ACTIVATIONS["sigmoid"])
    norm: Literal["none", "layer"] = field(default="none")

    name: ClassVar[str]
    #: Gate blocks in row order; "u" (or "g", "n") is the candidate.
    gates: ClassVar[tuple[str, ...]]
    #: Parts of the state, each of size H.
    state_parts: ClassVar[tuple[str, ...]] = ("h",)
    #: What the theory column holds for this cell.
    closed_form: ClassVar[str]
    #: What the input-independent bound is called in a summary.
    bound_formula: ClassVar[str] = "Π_t of the cell's step bound"
    #: The gate that ``forget_bias`` lengthens memory by, if there is one; likewise the one chrono closes.
    memory_gate: ClassVar[str | None] = None
    write_gate: ClassVar[str | None] = None
    #: −1 where the memory gate keeps the old state when it is closed.
    memory_sign: ClassVar[int] = 1
    recurrent: ClassVar[RecurrentWeights] = "full"
    #: The ensembles its recurrent weights can be drawn from; None for all.
    inits: ClassVar[tuple[str, ...] | None] = None
    #: The largest ``gain`` that can be drawn.
    most_gain: ClassVar[float] = float("inf")
    #: Whether φ has a part in it.
    uses_activation: ClassVar[bool] = True
    #: Keys of the source grammar that only this cell has; one that is called like a field is passed to it.
    own_keys: ClassVar[Mapping[str, Key]] = {}

    def __post_init__(self) -> None:
        """Refuse a normalisation that is none."""
        if self.norm not in ("none", "layer"):
            raise UsageError(f"norm is 'none' or 'layer', not '{self.norm}'")

    @classmethod
    def declared_keys(cls) -> dict[str, Key]:
        """What the source grammar knows of this cell beyond what every network has."""
        memory = {} if cls.memory_gate is None else MEMORY_KEYS
        return {**memory, "norm": NORM, **cls.own_keys}

    @classmethod
    def recurrent_shape(cls, hidden: int) -> tuple[int, int]:
        """Rows and columns of ``weight_hh`` of one network of this size."""
        rows = 0 if cls.recurrent == "none" else len(cls.gates) * hidden
        return rows, hidden if cls.recurrent == "full" else 1

    @classmethod
    def draw_recurrent(
        cls, rng: np.random.Generator, hidden: int, keys: Mapping[str, Any]
    ) -> tuple[Array, Array] | None:
        """Recurrent weights of a built network and a factor (rows, 1) on its input weights.

        ``keys`` are those of its source. None, where they are drawn from the ensemble of ``init``.
        """
        return None

    @classmethod
    def from_layer(
        cls,
        weight_ih: Array,
        weight_hh: Array,
        bias_ih: Array | None,
        bias_hh: Array | None,
        **settings: Any,
    ) -> Cell:
        """Build from a layer's arrays in gradscope's gate order, as files and ensembles hold them."""
        bias = np.zeros(weight_ih.shape[:-1])
        for part in (bias_ih, bias_hh):
            bias = bias if part is None else bias + part
        return cls(weight_ih, weight_hh, bias.astype(weight_hh.dtype), **settings)

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.weight_hh.shape[-1]) if self.recurrent == "full" else self.gate_size

    @property
    def gate_size(self) -> int:
        """Rows of a gate: the units; H, unless h is projected."""
        return int(self.weight_ih.shape[-2]) // len(self.gates)

    @property
    def input_size(self) -> int:
        """I."""
        return int(self.weight_ih.shape[-1])

    @property
    def state_size(self) -> int:
        """Components of the state: H, or 2H for [h; c]."""
        return self.hidden_size * len(self.state_parts)

    @property
    def n_gates(self) -> int:
        """G."""
        return len(self.gates)

    @property
    def is_slope_times_weight(self) -> bool:
        """Whether J_t = diag(φ′) W exactly, so that bounds on products of the one matrix W apply."""
        return False

    @property
    def path_weights(self) -> tuple[float, float] | None:
        """(d, c) where J_t = d I + c diag(φ′) W of one W, as without gates and norm; None for a gated cell."""
        return None

    def weights_by_eigenvalue(self) -> Array | None:
        """|dw/dλ| of each row of ``weight_hh`` where a unit has an eigenvalue λ of its own; None where it has none."""
        return None

    def projections(self) -> tuple[Array, ...]:
        """W_hr, where h is a projection of what the units put out."""
        return ()

    def recurrent_blocks(self) -> dict[str, Array]:
        """W_hh by gate, each (..., H, H); what multiplies h."""
        H = self.gate_size
        return {gate: self.weight_hh[..., g * H : (g + 1) * H, :] for g, gate in enumerate(self.gates)}

    def input_blocks(self) -> dict[str, Array]:
        """U by gate, each (..., H, I); what multiplies x."""
        H = self.gate_size
        return {gate: self.weight_ih[..., g * H : (g + 1) * H, :] for g, gate in enumerate(self.gates)}

    def square_blocks(self) -> dict[str, Array]:
        """The recurrence from units to units by gate, each square: what has eigenvalues."""
        return self.recurrent_blocks()

    def drive(self, x: Array) -> Array:
        """U x_t + b for inputs of shape (..., batch, I)."""
        if x.shape[-1] != self.input_size:
            raise ShapeError(f"the {self.name} reads inputs of width {self.input_size}, these have {x.shape[-1]}")
        return np.asarray(x @ np.swapaxes(self.weight_ih, -1, -2) + self.bias[..., None, :])

    def recurrent_products(self, h_prev: Array) -> Array:
        """W_hh h_{t−1}, shape (..., batch, G·H)."""
        return np.asarray(h_prev @ np.swapaxes(self.weight_hh, -1, -2))

    def split(self, a: Array) -> tuple[Array, ...]:
        """Cut (..., G·H) into G arrays (..., H)."""
        H = self.gate_size
        return tuple(a[..., g * H : (g + 1) * H] for g in range(a.shape[-1] // H))

    def normalised(self, p: Array) -> Array:
        """Pre-activations (..., G·H) as the activations see them: p itself, or p layer-normalised per gate."""
        return p if self.norm == "none" else normalise_blocks(p, self.gate_size)

    def norm_jacobian(self, p: Array) -> NormJacobian | None:
        """∂(normalised p)/∂p, None without a norm."""
        return None if self.norm == "none" else norm_jacobian(p, self.gate_size)

    @property
    def norm_gain(self) -> float:
        """sup ‖N‖₂: 1/√ε under a layer norm, 1 without."""
        return 1.0 if self.norm == "none" else EPSILON**-0.5

    def normalised_norms(self, block_norms: dict[str, float]) -> dict[str, float]:
        """σ₁(N_g W_g) at most: ‖N_g‖ ≤ 1/√ε, and that is all that holds for every input."""
        return {gate: norm * self.norm_gain for gate, norm in block_norms.items()}

    @abstractmethod
    def step(self, s_prev: Array, drive: Array) -> Array:
        """s_t from s_{t−1} (..., state_size) and the drive (..., G·H); analytic where φ is."""

    @abstractmethod
    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """∂s_t/∂s_{t−1} at s_{t−1} and the drive, for all leading axes (time first) at once, in float64."""

    @abstractmethod
    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """Bound ‖J_t‖₂ whatever the input, given σ₁ of each block and sup |s_{t−1}| (of c for an lstm); inf if none."""

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """Bound ‖∂s_t/∂drive_t‖₂ whatever the input: how strongly a layer can hear the one below; inf if unknown."""
        return float("inf")

    def next_state_bound(self, state_bound: float) -> float:
        """sup |s_t| over all inputs, given sup |s_{t−1}|."""
        return self.activation.max_value

    def domination(self, drive: Interval, start: Interval) -> Domination | None:
        """What |J_t| is at most while every drive U x_t + b lies in ``drive`` (G·H) and s_0 in ``start`` (n).

        None where nothing is known, or where the state is not bounded.
        """
        return None

    @property
    def outward_rounding(self) -> float:
        """How far intervals are widened for the rounding of the run they speak of."""
        return OUTWARD_FLOAT32 if self.weight_hh.dtype == np.float32 else OUTWARD

    def gate_intervals(self, drive: Interval, h: Interval) -> tuple[Interval, ...]:
        """Pre-activations of the gates for every h and drive, rounded outward."""
        relative = self.outward_rounding
        a = affine(self.weight_hh, h, relative=relative) + drive.outward(relative)
        H = self.gate_size
        return tuple(a[g * H : (g + 1) * H] for g in range(self.n_gates))

    def loses(self, *log_factors: Array) -> Array:
        """:func:`underflows` of the factors, alone and where they meet W_hh: 10^-260 times 10^-200 is no float64."""
        largest = float(np.max(np.abs(self.weight_hh), initial=0.0))
        shrinks = min(np.log(largest), 0.0) if largest > 0 else 0.0
        return underflows(*log_factors, *(log + shrinks for log in log_factors if shrinks < 0))

    def row_scaled(self, *coefficients: Array, norm: NormJacobian | None = None) -> RowScaledSum:
        """Σ_g diag(c_g) N_g W_g with this cell's blocks, arranged to broadcast against (time, ..., batch)."""
        W = np.asarray(self.weight_hh, dtype=np.float64)
        blocks = W.reshape(*W.shape[:-2], -1, self.gate_size, self.hidden_size)
        if blocks.ndim > 3:
            # (networks…, G, H, H) → (time 1, networks…, batch 1, G, H, H)
            blocks = blocks[None, ..., None, :, :, :]
        return RowScaledSum(np.stack(coefficients, axis=-2), blocks, norm)


def product_bound(*factors: float) -> float:
    """Multiply bounds; a factor 0 stays 0 beside an infinite one (a block that is zero passes nothing on).

    >>> product_bound(float("inf"), 0.0), product_bound(2.0, 0.25)
    (0.0, 0.5)
    """
    return 0.0 if 0.0 in factors else float(np.prod(factors))


def underflows(*log_factors: Array) -> Array:
    """True, per leading axis, where some factor exp(log) is positive but not a normal float64.

    >>> underflows(np.array([[-1.0, -800.0]])), underflows(np.array([[-1.0, -np.inf]]))
    (array([ True]), array([False]))
    """
    flags = [np.any((log < LN_TINY) & (log > -np.inf), axis=-1) for log in log_factors]
    return np.asarray(np.logical_or.reduce(flags))
