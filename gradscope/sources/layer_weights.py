"""One recurrent layer as read from a file, in gradscope's own layout, with where each fact came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from gradscope.cells import ALL_CELLS, CELLS
from gradscope.errors import InputError, UsageError

Direction = Literal["forward", "backward"]

#: Order in which gradscope stacks the gate blocks of each cell that files hold (rows of weight_ih and weight_hh):
#: PyTorch's. Cells whose units read themselves alone have no convention of names and shapes to be read by.
GATE_ORDER: dict[str, tuple[str, ...]] = {name: cell.gates for name, cell in CELLS.items() if cell.recurrent == "full"}


def module_title(module: str) -> str:
    """How a module is shown to people: its name, or ``(top level)`` for the empty name.

    >>> module_title("encoder"), module_title("")
    ('encoder', '(top level)')
    """
    return module or "(top level)"


@dataclass(frozen=True)
class LayerWeights:
    """One layer and direction of a recurrent module, gates already in :data:`GATE_ORDER`.

    Attributes
    ----------
    weight_ih : ndarray, shape (G·H, I)
    weight_hh : ndarray, shape (G·H, H), or (4·H, P) beside a projection
    bias_ih, bias_hh : ndarray, shape (G·H,), or None
        Two biases as in PyTorch. A file with one bias fills ``bias_ih`` (and, for a reset-after gru, both).
    activation, gate_activation : str
        As in :mod:`gradscope.sources.file_keys`; the candidate's (and, in an lstm, the output's), and the gates'.
    dtype : str
        In the file; the arrays here are float64.
    gates_in_file : tuple of str
        The gates in the file's own order and letters (Keras ``i f c o``, ONNX ``i o f c``), for ``inspect``.
    parameters : tuple of str
        Their names in the file: of ``weight_ih``, of ``weight_hh``, then of the biases there are.
    facts_from : dict
        For each fact (``cell``, ``gates``, ``activation``, ``gate_activation``, ``reset``, ``layout``):
        ``"file"``, ``"configuration"``, ``"convention"`` or ``"key"``.
    assumptions : tuple of str
        One sentence for each convention that was assumed; shown as warnings, each with the key that settles it.
    leak : float, optional
        Of the cell ``leaky``, where the file holds it.
    weight_hr : ndarray, shape (P, H), or None
        What the cell ``lstm-projected`` multiplies its output by.
    initial_state : ndarray, shape (H,) or, of an lstm, (2·H,) as [h; c], or None
        What the file itself starts the layer from; None for zeros.
    """

    module: str
    cell: str
    layer: int
    direction: Direction
    weight_ih: NDArray[Any]
    weight_hh: NDArray[Any]
    bias_ih: NDArray[Any] | None
    bias_hh: NDArray[Any] | None
    activation: str = "tanh"
    gate_activation: str = "sigmoid"
    reset: Literal["after", "before"] | None = None
    dtype: str = "float64"
    gates_in_file: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    facts_from: dict[str, str] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    initial_state: NDArray[Any] | None = None
    leak: float | None = None
    weight_hr: NDArray[Any] | None = None

    @property
    def hidden_size(self) -> int:
        """Width of h: H, or P where it is projected."""
        return int(self.weight_hh.shape[1])

    @property
    def units(self) -> int:
        """H, the rows of a gate."""
        return int(self.weight_hh.shape[0]) // len(ALL_CELLS[self.cell].gates)

    @property
    def input_size(self) -> int:
        return int(self.weight_ih.shape[1])


@dataclass(frozen=True)
class WeightFile:
    """What a weights file holds: every recurrent layer found, and what was skipped.

    Attributes
    ----------
    format : str
        ``npz``, ``safetensors``, ``torch``, ``keras2``, ``keras3`` or ``onnx``.
    sha256 : str
        Hash of the file's bytes.
    layers : tuple of LayerWeights
        Sorted by module, then layer, then direction (forward first).
    other_arrays : dict of str to ndarray
        Arrays that belong to no recurrent layer (heads, embeddings, …), by name; small enough to keep.
    skipped : tuple of str
        Names of the above, and of tensors that were not read at all, for ``inspect``.
    questions : dict of str to InputError or UsageError
        Recurrent modules that were found but need an answer first (or that no cell here can represent), each with
        the error that selecting it raises.
    chains : tuple of tuple of str
        Modules of which the file itself proves that each feeds the next and nothing else lies between, bottom first;
        together they can be read as one stack.
    in_memory : bool
        Whether a Python caller holds them: then keys stand beside the model, not behind a file's name.
    """

    name: str
    format: str
    sha256: str
    layers: tuple[LayerWeights, ...]
    other_arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    questions: dict[str, InputError | UsageError] = field(default_factory=dict)
    chains: tuple[tuple[str, ...], ...] = ()
    in_memory: bool = False


@dataclass
class RecurrentModules:
    """What a file's names gave: layers, modules that need an answer from the user, and the names that were used."""

    layers: list[LayerWeights]
    questions: dict[str, InputError | UsageError]
    used: set[str]


def readout_widths(layers: Iterable[LayerWeights]) -> set[int]:
    """Widths that a head or an embedding beside these layers can have: what they read, and what they put out.

    A head of both directions of a bidirectional layer reads twice its units.
    """
    widths = set[int]()
    for layer in layers:
        widths |= {layer.input_size, layer.hidden_size, 2 * layer.hidden_size}
    return widths
