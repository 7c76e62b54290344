"""Which recurrent nodes feed one another along the same axes: the layers of one stack.

A node's output Y has the axes time, direction, batch, hidden. What an operator makes of them is followed from node to
node with a label for each axis; the next node must read time as time, batch as batch, and direction with hidden as its
features. A transposition on its own, or a reshape that merges time and batch, is no stack; two that cancel are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gradscope.sources.layer_weights import LayerWeights
from gradscope.sources.onnx_constants import ConstantFolder, NotConstantError, shape_part
from gradscope.sources.onnx_graph import STANDARD, OnnxNode, Scope

#: One axis of a tensor: the labels it is made of, slowest first. Axes of one element have none.
Axis = tuple[str, ...]
#: A number in a shape that is computed: known, the length of time or batch, or unknown.
Extent = int | str | None
_MAX_STEPS = 64
_UNCHANGED = ("Identity", "Dropout", "Cast", "CastLike")


def chains_of(
    nodes: Sequence[OnnxNode], layers: Sequence[LayerWeights], folder: ConstantFolder
) -> tuple[tuple[str, ...], ...]:
    """Nodes of which each reads what the one below puts out, along the same axes, bottom first."""
    of_module: dict[str, list[LayerWeights]] = {}
    for layer in layers:
        of_module.setdefault(layer.module, []).append(layer)
    made_by = {(id(one.scope), one.node.output[0]): one for one in nodes if one.node.output}
    below: dict[str, str] = {}
    for one in nodes:
        source = _feeding(one, made_by, of_module, folder)
        if source is not None and _fit(of_module[source.module], of_module[one.module]):
            below[one.module] = source.module
    feeds = Counter(below.values())
    chains: list[tuple[str, ...]] = []
    for top in (module for module in below if module not in feeds):
        chain = [top]
        while chain[0] in below and feeds[below[chain[0]]] == 1 and below[chain[0]] not in chain:
            chain.insert(0, below[chain[0]])
        if len(chain) > 1:
            chains.append(tuple(chain))
    return tuple(chains)


def _fit(low: list[LayerWeights], high: list[LayerWeights]) -> bool:
    """Both read forward or both ways, and the upper one as many inputs as the one below puts out."""
    return all(part[0].direction == "forward" for part in (low, high)) and all(
        layer.input_size == sum(part.hidden_size for part in low) for layer in high
    )


def _feeding(
    one: OnnxNode,
    made_by: dict[tuple[int, str], OnnxNode],
    of_module: dict[str, list[LayerWeights]],
    folder: ConstantFolder,
) -> OnnxNode | None:
    """The recurrent node whose sequence a node reads as it was put out, or None."""
    if not one.node.input or not one.node.input[0]:
        return None
    passed: list[tuple[Scope, Any, str]] = []
    scope, name = one.scope.resolve(one.node.input[0])
    top = (id(scope), name)
    while (id(scope), name) not in made_by:
        producer = scope.producer(name)
        if producer is None or not producer.input or producer.domain not in STANDARD or len(passed) >= _MAX_STEPS:
            return None
        passed.append((scope, producer, name))
        scope, name = scope.resolve(producer.input[0])
    source = made_by[(id(scope), name)]
    if source is one or source.module not in of_module:
        return None
    start = of_module[source.module]
    follower = _Follower(source, len(start), start[0].hidden_size, folder)
    follower.axes[(id(scope), name)] = follower.output
    for scope, node, made in reversed(passed):
        reads = scope.resolve(node.input[0])
        axes = follower.apply(scope, node, follower.axes[(id(reads[0]), reads[1])])
        if axes is None:
            return None
        follower.axes[(id(scope), made)] = axes
    return source if follower.axes[top] == follower.input_of(one) else None


class _Follower:
    """The axes of everything between one node's output and another's input."""

    def __init__(self, source: OnnxNode, n_directions: int, hidden: int, folder: ConstantFolder) -> None:
        self._folder = folder
        self._known: dict[tuple[int, str], list[Extent] | None] = {}
        self.axes: dict[tuple[int, str], list[Axis]] = {}
        order = "BTDH" if _layout(source) else "TDBH"
        self.sizes: dict[str, int] = {"D": n_directions, "H": hidden}
        for name, labels in ((source.node.input[0], order.replace("D", "")), (source.node.output[0], order)):
            declared = source.scope.shapes.get(name, ())
            if len(declared) == len(labels):
                sizes = zip(labels, declared, strict=True)
                self.sizes |= {label: n for label, n in sizes if n is not None and label in "TB"}
        self.output = [self._axis(label) for label in order]

    def _axis(self, *labels: str) -> Axis:
        return tuple(label for label in labels if self.sizes.get(label) != 1)

    def input_of(self, one: OnnxNode) -> list[Axis]:
        """The axes that a node has to read."""
        time, batch = self._axis("T"), self._axis("B")
        return [*((batch, time) if _layout(one) else (time, batch)), self._axis("D", "H")]

    def apply(self, scope: Scope, node: Any, axes: list[Axis]) -> list[Axis] | None:
        """Axes after one operator; None if they cannot be known, or the operator computes something."""
        attributes = scope.attributes(node)
        kind = str(node.op_type)
        if kind in _UNCHANGED:
            return axes
        if kind == "Transpose":
            order = [int(v) for v in attributes["perm"].ints] if "perm" in attributes else list(range(len(axes)))[::-1]
            return [axes[i] for i in order] if sorted(order) == list(range(len(axes))) else None
        if kind in ("Squeeze", "Unsqueeze"):
            return self._resqueezed(kind, self._axes_argument(scope, node, attributes), axes)
        if kind == "Reshape":
            keeps_zero = "allowzero" in attributes and attributes["allowzero"].i
            wanted: list[Extent] | None = (
                [int(v) for v in attributes["shape"].ints]
                if "shape" in attributes
                else self._extents(scope, node.input[1] if len(node.input) > 1 else "")
            )
            return None if wanted is None or keeps_zero else self._reshaped(axes, wanted)
        return None

    def _axes_argument(self, scope: Scope, node: Any, attributes: dict[str, Any]) -> list[int] | None:
        if "axes" in attributes:
            return [int(v) for v in attributes["axes"].ints]
        values = self._extents(scope, node.input[1]) if len(node.input) > 1 and node.input[1] else None
        return None if values is None else [v for v in values if isinstance(v, int)]

    def _resqueezed(self, kind: str, places: list[int] | None, axes: list[Axis]) -> list[Axis] | None:
        if not places:  # every axis of one element: which they are, the run decides
            return None
        n = len(axes) + (len(places) if kind == "Unsqueeze" else 0)
        at = {place + n if place < 0 else place for place in places}
        if len(at) != len(places) or not all(0 <= place < n for place in at):
            return None
        if kind == "Unsqueeze":
            left = iter(axes)
            return [() if place in at else next(left) for place in range(n)]
        return None if any(axes[place] for place in at) else [axis for i, axis in enumerate(axes) if i not in at]

    def _extents(self, scope: Scope, name: str, depth: int = 0) -> list[Extent] | None:
        """A shape as numbers and lengths of axes, where it can be known; None if not."""
        if not name or depth > _MAX_STEPS:
            return None
        key = (id(scope), name)
        if key not in self._known:  # many operators may share one shape
            self._known[key] = self._computed(scope, name, depth)
        return self._known[key]

    def _computed(self, scope: Scope, name: str, depth: int) -> list[Extent] | None:
        try:
            return [int(v) for v in self._folder.value(name, scope).ravel()[:32]]
        except NotConstantError:
            pass
        scope, name = scope.resolve(name)
        node = scope.producer(name)
        if node is None or not node.input:
            return None
        attributes = scope.attributes(node)
        kind = str(node.op_type)
        if kind == "Shape":
            home, of = scope.resolve(node.input[0])
            axes = self.axes.get((id(home), of))
            return None if axes is None else [self._extent(axis) for axis in axes][shape_part(attributes)]
        inputs = [self._extents(scope, part, depth + 1) for part in node.input[:32]]
        if kind == "Concat":
            return None if None in inputs else [extent for part in inputs for extent in part or ()]
        first = inputs[0]
        if first is None:
            return None
        if kind in ("Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape"):
            return first
        if kind == "Gather" and inputs[1] is not None:
            picked = [v for v in inputs[1] if isinstance(v, int) and -len(first) <= v < len(first)]
            return [first[v] for v in picked] if len(picked) == len(inputs[1]) else None
        if kind == "Slice" and len(inputs) >= 3:
            bounds = [part[0] for part in inputs[1:] if part is not None and len(part) == 1]
            numbers = [v for v in bounds if isinstance(v, int)]
            if len(numbers) == len(inputs) - 1:
                return first[slice(numbers[0], numbers[1], numbers[3] if len(numbers) > 3 else 1)]
        if kind == "Mul" and inputs[1] is not None and len(first) == len(inputs[1]) == 1:
            return [_product(first[0], inputs[1][0])]
        return None

    def _extent(self, axis: Axis) -> Extent:
        """How long an axis is."""
        out: Extent = 1
        for label in axis:
            out = _product(out, self.sizes.get(label, label))
        return out

    def _reshaped(self, axes: list[Axis], wanted: list[Extent]) -> list[Axis] | None:
        """Group the labels anew, in their order; the one extent of -1 takes what the others leave."""
        labels = [label for axis in axes for label in axis]
        out: list[Axis] = [()] * len(wanted)
        open_at = [i for i, extent in enumerate(wanted) if extent == -1]
        if len(open_at) > 1 or None in wanted:
            return None
        cut = open_at[0] if open_at else len(wanted)
        for i in range(cut):
            taken = self._take(labels, wanted[i], axes[i] if i < len(axes) else None)
            if taken is None:
                return None
            out[i], labels = taken, labels[len(taken) :]
        for i in range(len(wanted) - 1, cut, -1):
            taken = self._take(labels[::-1], wanted[i], axes[i][::-1] if i < len(axes) else None)
            if taken is None:
                return None
            out[i], labels = taken[::-1], labels[: len(labels) - len(taken)]
        if open_at:
            out[cut] = tuple(labels)
        elif labels:
            return None
        return out

    def _take(self, labels: list[str], wanted: Extent, same: Axis | None) -> Axis | None:
        """The labels at the front that make up one new axis; ``same`` is the old axis at its place, which 0 copies."""
        if wanted == 0:
            return same if same is not None and tuple(labels[: len(same)]) == same else None
        if isinstance(wanted, str):
            return (wanted,) if labels[:1] == [wanted] else None
        product, n = 1, 0
        while product != wanted:
            size = self.sizes.get(labels[n]) if n < len(labels) else None
            if size is None or wanted is None or product > wanted:
                return None
            product, n = product * size, n + 1
        return tuple(labels[:n])


def _product(one: Extent, other: Extent) -> Extent:
    if isinstance(one, int) and isinstance(other, int):
        return one * other
    return other if one == 1 else one if other == 1 else None


def _layout(one: OnnxNode) -> bool:
    """Whether batch comes first (``layout`` 1, opset 14)."""
    attributes = one.scope.attributes(one.node)
    return "layout" in attributes and attributes["layout"].i != 0
