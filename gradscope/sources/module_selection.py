"""Which of a file's recurrent modules is meant: ``param=``, ``layer=``, ``direction=``; asked, never guessed."""

from __future__ import annotations

import fnmatch
from dataclasses import replace

from gradscope.errors import InputError, UsageError, did_you_mean
from gradscope.sources.file_bytes import plain_messages
from gradscope.sources.layer_weights import LayerWeights, WeightFile, module_title

_MOST_LISTED = 12


def select_layers(
    weights: WeightFile, *, param: str | None = None, layer: int | None = None, direction: str | None = None
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

    Raises
    ------
    InputError
        If nothing matches, or several modules do; the message lists them with the key that picks each.
    UsageError
        If ``direction`` is neither of the two, or ``layer`` is negative.
    """
    with plain_messages():
        return _select(weights, param, layer, direction)


def _select(
    weights: WeightFile, param: str | None, layer: int | None, direction: str | None
) -> tuple[LayerWeights, ...]:
    if direction not in (None, "forward", "backward"):
        raise UsageError(f"direction={direction}: known values are forward, backward")
    if layer is not None and layer < 0:
        raise UsageError(f"layer={layer}: layers count from 0, the bottom one")
    matched = _matching(weights, param)
    if len(matched) == 1 and matched[0] in weights.questions:
        raise weights.questions[matched[0]]
    if len(matched) > 1 and tuple(matched) in weights.chains:
        layers = _as_stack(weights, tuple(matched))
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
        f"pick one, as in {weights.name}:param={module_title(matched[0])}"
    )
    for chain in weights.chains:
        if set(chain) <= set(matched):
            globs = [glob for glob in (_common_glob(chain), "*") if _exactly(weights, glob, chain)]
            if globs:
                message += f", or run {' → '.join(chain)} as one stack with {weights.name}:param={globs[0]}"
    return message


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
    words = f"{first.cell} {first.input_size}→{first.hidden_size}"
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


def _as_stack(weights: WeightFile, chain: tuple[str, ...]) -> tuple[LayerWeights, ...]:
    """Number a chain's layers through, bottom first, and say what was taken as one."""
    said = f"{' → '.join(chain)} taken as one stack, as {weights.name} chains them: param= picks one of them"
    layers: list[LayerWeights] = []
    for module in chain:
        base = 1 + max((found.layer for found in layers), default=-1)
        layers += [
            replace(found, layer=base + found.layer, assumptions=(*found.assumptions, said))
            for found in weights.layers
            if found.module == module
        ]
    return tuple(layers)
