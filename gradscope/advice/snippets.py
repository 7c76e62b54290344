"""Advice as Python for a PyTorch module called ``model``, with the parameter names of the source.

A name from a file is written as Python's own literal of it, so that no name can be more than a name.
"""

from __future__ import annotations

from gradscope.advice.changes import Change
from gradscope.sources.source import RecurrentBlock, Source


def network_snippet(source: Source, change: Change) -> str | None:
    """Apply a change of the network to its PyTorch twin, or None where PyTorch's modules cannot take it.

    ``model`` holds the weights of the source: of a file, what stands in it, so that edits that are in the source
    already are made too.
    """
    if change.kind == "init":
        return None if "chrono" in change.text else _init(source, change)
    if change.kind not in ("forget_bias", "gain"):
        return None
    assert change.value is not None
    before = {"forget_bias": 0.0, "gain": 1.0}
    if source.spec.kind == "cell":
        before = {name: float(source.spec[name]) if name == change.kind else value for name, value in before.items()}
    after = {**before, **source.edits, change.kind: change.value}
    lines = []
    if after["forget_bias"] != before["forget_bias"]:
        biases = _biases(source, round(after["forget_bias"] - before["forget_bias"], 12))
        if not biases:
            return None
        lines += biases
    if after["gain"] != before["gain"]:
        factor = after["gain"] / before["gain"]
        lines += [f"    model.get_parameter({name!r}).mul_({factor!r})" for name in _recurrent(source)]
    return "\n".join(["import torch", "with torch.no_grad():", *lines]) if lines else None


def _biases(source: Source, added: float) -> list[str]:
    """Add to the bias of the gate that keeps the old state; nothing where the module has no bias."""
    lines = []
    for block in source.blocks if source.biases else ():
        if block.cell is not None and block.gate is not None and block.gate == block.cell.memory_gate:
            H = block.cell.gate_size
            first = block.cell.gates.index(block.gate) * H
            lines.append(f"    model.get_parameter({bias_name(block.param)!r})[{first}:{first + H}] += {added:g}")
    return lines


def _init(source: Source, change: Change) -> str | None:
    names = _recurrent(source)
    if not names:
        return None
    gates = _blocks_of(source, names[0])
    draw = "torch.nn.init.orthogonal_(W)" if "orthogonal" in change.text else "torch.nn.init.eye_(W)"
    gain = source.spec["gain"]
    lines = [
        "import torch",
        "with torch.no_grad():",
        f"    for name in ({', '.join(repr(name) for name in names)},):",
        f"        for W in model.get_parameter(name).chunk({gates}):",
        f"            {draw}",
        *([f"            W.mul_({gain:g})"] if gain != 1 else []),
    ]
    return "\n".join(lines)


def truncation_snippet(length: int, kind: str | None) -> str:
    """Truncate backpropagation after ``length`` steps; x is (T, batch, inputs)."""
    if kind == "chunks":
        return "\n".join(
            [
                "state = None",
                f"for part in x.split({length}):  # x is (T, batch, inputs)",
                "    output, state = model(part, state)",
                "    loss_of(output).backward()",
                "    state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()",
            ]
        )
    return "\n".join(
        [
            "import torch",
            "state = None",
            f"if len(x) > {length}:  # x is (T, batch, inputs)",
            "    with torch.no_grad():",
            f"        _, state = model(x[:-{length}])",
            f"output, _ = model(x[-{length}:], state)",
        ]
    )


def clip_snippet(source: Source, value: float, parameters: tuple[str, ...]) -> str:
    """Clip the norm over the parameters that were measured: the recurrent module's, or one layer's of it."""
    module = source.record.get("module")
    which = f"model.get_submodule({str(module)!r}).parameters()" if module else "model.parameters()"
    if source.record.get("layer") is not None or source.record.get("direction") is not None:
        which = f"[model.get_parameter(name) for name in {parameters!r}]"
    return f"import torch\ntorch.nn.utils.clip_grad_norm_({which}, max_norm={value:.4g})"


def bias_name(weight: str) -> str:
    """The bias beside a recurrent weight.

    >>> bias_name("encoder.weight_hh_l0_reverse"), bias_name("w_hh")
    ('encoder.bias_ih_l0_reverse', 'b_ih')
    """
    head, dot, name = weight.rpartition(".")
    return head + dot + name.replace("weight_hh", "bias_ih").replace("w_hh", "b_ih")


def _recurrent(source: Source) -> list[str]:
    """Names of the recurrent weights, each once."""
    return list(
        dict.fromkeys(
            block.param for block in source.blocks if block.cell is not None and block.cell.recurrent == "full"
        )
    )


def _blocks_of(source: Source, name: str) -> int:
    blocks: list[RecurrentBlock] = [block for block in source.blocks if block.param == name]
    return len(blocks)
