"""Which of a file's recurrent modules is meant: ``param=``, ``layer=``, ``direction=``; asked, never guessed."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import replace
from itertools import pairwise

from gradscope.errors import InputError, UsageError, did_you_mean
from gradscope.sources.file_bytes import plain_messages
from gradscope.sources.layer_weights import LayerWeights, WeightFile, module_title

_MOST_LISTED = 12


@plain_messages()
def select_layers(
    weights: WeightFile,
    *,
    param: str | None = None,
    layer: int | None = None,
    direction: str | None = None,
    stack: str | None = None,
) -> tuple[LayerWeights, ...]:
    """Pick one module's layers, sorted by layer and direction (forward first).

    Parameters
    ----------
    param : str, optional
        A glob over module names as ``inspect`` lists them (an exact name wins over the glob it also is). If what it
        matches (without it: every module there is) is a chain that the file itself proves, the chain is one stack,
        its layers numbered through from 0.
    layer : int, optional
        That layer alone, 0 = bottom.
    direction : {'forward', 'backward'}, optional
    stack : str, optional
        Modules that run as one network, bottom first, separated by commas or plus signs: names, or globs that match
        one module each.

    Raises
    ------
    InputError
        If nothing matches, or several modules do; the message lists them with the key that picks each.
    UsageError
        If ``direction`` is neither of the two, or ``layer`` is negative.
    """
    if direction not in (None, "forward", "backward"):
        raise UsageError(f"direction={direction}: known values are forward, backward")
    if layer is not None and layer < 0:
        raise UsageError(f"layer={layer}: layers count from 0, the bottom one")
    if stack is not None and param is not None:
        raise UsageError("stack= names the modules itself: leave param= out")
    matched = _matching(weights, param) if stack is None else _named_stack(weights, stack)
    if stack is not None:
        layers = _as_stack(
            weights, tuple(matched), f"{' → '.join(map(module_title, matched))} run as one stack, as asked"
        )
    elif len(matched) == 1 and matched[0] in weights.questions:
        raise weights.questions[matched[0]]
    elif len(matched) > 1 and tuple(matched) in weights.chains:
        said = f"{' → '.join(matched)} taken as one stack, as {weights.name} chains them: param= picks one of them"
        layers = _as_stack(weights, tuple(matched), said)
    elif len(matched) > 1:
        raise InputError(_which(weights, matched))
    else:
        layers = tuple(found for found in weights.layers if found.module == matched[0])
    title = module_title(matched[0])
    if layer is not None:
        numbers = sorted({found.layer for found in layers})
        layers = tuple(found for found in layers if found.layer == layer)
        if not layers:
            raise InputError(
                f"{weights.name}: module {title} has no layer {layer}; it has {', '.join(map(str, numbers))}"
            )
    if direction is not None:
        found_directions = sorted({found.direction for found in layers}, reverse=True)
        layers = tuple(found for found in layers if found.direction == direction)
        if not layers:
            raise InputError(
                f"{weights.name}: module {title} has no {direction} direction; it has {found_directions[0]}"
            )
    return layers


def modules_of(weights: WeightFile) -> tuple[str, ...]:
    """Every recurrent module, readable or with a question open, sorted by name."""
    return tuple(sorted({found.module for found in weights.layers} | set(weights.questions)))


def _matching(weights: WeightFile, param: str | None) -> list[str]:
    modules = modules_of(weights)
    if param is None:
        return _in_chain_order(weights, list(modules))
    exact = [module for module in modules if param in (module, module_title(module))]
    matched = exact or [module for module in modules if fnmatch.fnmatchcase(module_title(module), param)]
    if not matched:
        hint = did_you_mean(param, [module[:80] for module in modules[:200]])
        raise InputError(
            f"{weights.name}: param={param} matches no recurrent module; found {_listed(list(modules))}.{hint}"
        )
    return _in_chain_order(weights, matched)


def _in_chain_order(weights: WeightFile, matched: list[str]) -> list[str]:
    for chain in weights.chains:
        if set(chain) == set(matched):
            return list(chain)
    return matched


def _which(weights: WeightFile, matched: list[str]) -> str:
    described = [f"param={module_title(module)} ({_describe(weights, module)})" for module in matched[:_MOST_LISTED]]
    described += matched[_MOST_LISTED:]
    message = (
        f"{weights.name}: several recurrent modules: {_listed(described)}; "
        f"pick one, as in {_with_keys(weights, f'param={module_title(matched[0])}')}"
    )
    for chain in weights.chains:
        if set(chain) <= set(matched):
            globs = [glob for glob in (_common_glob(chain), "*") if _exactly(weights, glob, chain)]
            if globs:
                message += f", or run {' → '.join(chain)} as one stack with {_with_keys(weights, f'param={globs[0]}')}"
    return message


def _with_keys(weights: WeightFile, keys: str) -> str:
    """How the user writes keys: behind a file's name, or beside a model in memory."""
    return f'(model, "{keys}")' if weights.in_memory else f"{weights.name}:{keys}"


def _common_glob(chain: tuple[str, ...]) -> str:
    start = chain[0]
    while not all(name.startswith(start) for name in chain):
        start = start[:-1]
    return f"{start}*"


def _exactly(weights: WeightFile, glob: str, chain: tuple[str, ...]) -> bool:
    return {m for m in modules_of(weights) if fnmatch.fnmatchcase(module_title(m), glob)} == set(chain)


def _describe(weights: WeightFile, module: str) -> str:
    layers = [found for found in weights.layers if found.module == module]
    if not layers:
        said = str(weights.questions[module]).partition(f"module {module_title(module)}: ")
        return f"cannot be read as it is: {(said[2] or said[0])[:120]}"
    first = layers[0]
    n_layers = len({found.layer for found in layers})
    words = f"{first.cell} {first.input_size}→{first.units}"
    if first.weight_hr is not None:
        words += f"→{first.hidden_size}"
    if n_layers > 1:
        words += f", {n_layers} layers"
    if len({found.direction for found in layers}) > 1:
        words += ", bidirectional"
    return words


def _listed(items: list[str]) -> str:
    shown = [module_title(item) for item in items[:_MOST_LISTED]]
    if len(items) > _MOST_LISTED:
        shown.append(f"… {len(items) - _MOST_LISTED} more")
    return ", ".join(shown)


def _named_stack(weights: WeightFile, stack: str) -> list[str]:
    """The modules of ``stack=``, each readable and as wide as what the one below puts out."""
    modules: list[str] = []
    for part in re.split(r"[,+]", stack):
        matched = _matching(weights, part.strip())
        if len(matched) > 1:
            raise InputError(f"{weights.name}: '{part}' in stack= matches {_listed(matched)}; name one module each")
        if matched[0] in modules:
            raise UsageError(f"stack={stack}: module {module_title(matched[0])} stands twice; it has one place")
        if matched[0] in weights.questions:
            raise weights.questions[matched[0]]
        modules += matched
    if len(modules) < 2:
        raise UsageError(f"stack={stack}: wanted two modules or more, bottom first; param= picks one")
    for below, above in pairwise(modules):
        top = max(found.layer for found in weights.layers if found.module == below)
        puts_out = sum(found.hidden_size for found in weights.layers if (found.module, found.layer) == (below, top))
        reads = next(found.input_size for found in weights.layers if found.module == above and found.layer == 0)
        if reads != puts_out:
            raise InputError(
                f"{weights.name}: module {module_title(above)} reads {reads} inputs, but {module_title(below)} below "
                f"it puts out {puts_out}; stack= lists the modules bottom first"
            )
    return modules


def _as_stack(weights: WeightFile, chain: tuple[str, ...], said: str) -> tuple[LayerWeights, ...]:
    """Number a chain's layers through, bottom first, and say what was taken as one."""
    layers: list[LayerWeights] = []
    for module in chain:
        base = 1 + max((found.layer for found in layers), default=-1)
        layers += [
            replace(found, layer=base + found.layer, assumptions=(*found.assumptions, said))
            for found in weights.layers
            if found.module == module
        ]
    return tuple(layers)
