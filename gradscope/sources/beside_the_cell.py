"""What stands beside a cell in its own module: it changes what the module computes, and is never dropped in silence."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from gradscope.errors import InputError
from gradscope.sources.file_keys import FileKeys
from gradscope.sources.layer_weights import module_title
from gradscope.sources.stored_tensor import StoredTensor, load_weights

#: At the top level everything stands in one scope, heads and embeddings too: only what names itself counts.
_TELLING = re.compile(
    r"(?:\A|[._/:-])(?:layer_?norms?|lns?|norms?|batch_?norms?|bns?|peepholes?|gammas?|betas?|"
    r"(?:weight|w)_c[ifo]|(?:weight|w)_(?:ih|hh|ch)_?(?:norm|ln)|[hc]_?0|init(?:ial)?_(?:h|c|hidden|cell|state))"
    r"(?:[._/:\d-].*)?\Z",
    re.IGNORECASE,
)
_KINDS = (
    (re.compile(r"norm|(?:\A|[._/])(?:ln|bn)|gamma|beta", re.I), "a normalisation"),
    (re.compile(r"weight_c|w_c|peephole", re.I), "a peephole connection"),
    (re.compile(r"(?:\A|[._/])[hc]_?0|init", re.I), "a start state"),
)
#: Counters that change nothing once the weights are trained.
_HARMLESS = ("num_batches_tracked",)


def check_beside(
    module: str,
    own: Collection[str],
    tensors: Mapping[str, StoredTensor],
    modules: list[str],
    *,
    file: str,
    keys: FileKeys,
) -> str:
    """Refuse a module that holds more than its cell, unless ``ignore=`` says to go on without that; then say so.

    Parameters
    ----------
    own : collection of str
        The names that are the cell's own arrays.
    tensors : mapping of str to StoredTensor
        Every tensor of the file.
    modules : list of str
        Every recurrent module; what lies in the scope of another one inside this is that one's.

    Raises
    ------
    InputError
        Names the first such tensor.
    """
    inner = [other for other in modules if other != module and (not module or other.startswith(f"{module}."))]
    others = set(modules) - {module}
    found = [
        name
        for name in tensors
        if name not in own
        and _in_scope(name, module)
        and not any(other and _in_scope(name, other) for other in (inner or others))
        and not name.endswith(_HARMLESS)
    ]
    norms = [name for name in found if keys.norm == "layer" and _is_plain_norm(name, module, tensors[name], file)]
    found = [name for name in found if name not in norms]
    left = [name for name in found if keys.ignores(name)]
    found = [name for name in found if not keys.ignores(name)]
    if not found and norms:
        return f"'{norms[0]}' has gain 1 or shift 0, as norm=layer has"
    if not found:
        more = f" and {len(left) - 1} more beside it" if len(left) > 1 else ""
        return f"'{left[0]}'{more} is left out, as ignore= says: the numbers are the plain cell's" if left else ""
    what = next((kind for pattern, kind in _KINDS if pattern.search(found[0][len(module) :])), "a parameter")
    more = f" and {len(found) - 1} more stand" if len(found) > 1 else " stands"
    one = found[0] if len(found) == 1 else (f"{module}.*" if module else "*")
    raise InputError(
        f"{file}: module {module_title(module)}: '{found[0]}'{more} beside the cell's own weights: {what} that "
        f"no cell here has, and without it the numbers are another network's; {_way_on(what, keys)}bring the step "
        f"Jacobians as a 3-D .npy (gradscope.torch.measure runs any cell), or go on without it with ignore={one}"
    )


def _way_on(what: str, keys: FileKeys) -> str:
    """What else there is to do about a tensor of this kind."""
    if what == "a start state":
        return "give it as --state FILE.npy beside ignore=; or "
    if what != "a normalisation":
        return ""
    if keys.norm == "layer":
        return "norm=layer has gain 1 and shift 0, and this has others; "
    return "norm=layer if it only brings each gate's W h + U x + b to mean 0, variance 1; else "


def _is_plain_norm(name: str, module: str, tensor: StoredTensor, file: str) -> bool:
    """Whether this is the gain or the shift of a layer norm that changes nothing: all 1, or all 0."""
    if not _KINDS[0][0].search(name[len(module) :]) or len(tensor.shape) != 1:
        return False
    is_shift = re.search(r"(?:bias|beta|shift)[^./]*\Z", name, re.IGNORECASE) is not None
    return bool(np.all(load_weights(tensor, file=file) == (0.0 if is_shift else 1.0)))


def _in_scope(name: str, module: str) -> bool:
    """Below ``module`` by a dot; at the top level and for spelled prefixes (``enc_w_ih``), what names itself."""
    if module and name.startswith((f"{module}.", f"{module}/")):
        return True
    if module:
        return name.startswith(f"{module}_") and _TELLING.search(name[len(module) + 1 :]) is not None
    return _TELLING.match(name) is not None
