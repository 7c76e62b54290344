"""PyTorch's parameter names, and the reparametrisations they may stand in.

A name is ``PREFIX weight_ih|weight_hh|weight_hr|bias_ih|bias_hh [_lN] [_reverse] [form]``; ``w_ih w_hh b_ih b_hh`` are
accepted spellings, ``_lN`` may be missing (``nn.LSTMCell``, layer 0); a single bias is ``bias_l0``, ``bias`` or ``b``
beside the weights. Forms (what evaluation runs is computed from them):

* ``_raw``: WeightDrop of AWD-LSTM; the plain weight beside it is the last masked copy;
* ``_g`` and ``_v``, or ``parametrizations.NAME.original0`` and ``original1``: weight_norm, W = g v/‖v‖ [1]_;
* ``_orig``, ``_u``, ``_v``, or ``parametrizations.NAME.original``, ``.0._u``, ``.0._v``: spectral_norm,
  W/(uᵀ W v) [2]_.

References
----------
.. [1] Salimans and Kingma, Weight normalization, NeurIPS 2016, eq. 2; norms over all axes but the one g runs along.
.. [2] Miyato et al., Spectral normalization, ICLR 2018, eq. 8; u and v as stored, which is what evaluation uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.layer_weights import Direction
from gradscope.sources.stored_tensor import StoredTensor, load_weights

SEPARATORS = "._/:-"
#: Anchored at both ends of the last part of a name, of at most 1,000 characters.
_NAME = re.compile(
    r"(?P<plain>(?P<kind>weight|bias|w|b)_(?P<which>ih|hh|hr)(?:_l(?P<layer>\d{1,4}))?(?P<reverse>_reverse)?)"
    r"(?P<form>_raw|_orig|_g|_u|_v|\.original[01]?|\.0\._[uv])?\Z",
    re.IGNORECASE,
)
_SINGLE_BIAS = re.compile(r"(?P<plain>bias|b)(?:_l(?P<layer>\d{1,4}))?(?P<reverse>_reverse)?\Z", re.IGNORECASE)
_PARAMETRIZED = "parametrizations"
_FORMS = {"": "plain", ".original0": "g", ".original1": "v", ".original": "orig", ".0._u": "u", ".0._v": "v"}
#: PyTorch's own spelling, which proves PyTorch's order of gates.
_PYTORCH = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l\d+)?(?:_reverse)?\Z")


@dataclass(frozen=True)
class ParameterName:
    """What one name says: whose it is, which of the layer's arrays, and which part of a reparametrisation."""

    module: str
    role: str
    layer: int
    direction: Direction
    form: str = "plain"
    is_pytorch: bool = False
    is_numbered: bool = False


def parse_name(name: str) -> ParameterName | None:
    """Read a parameter's name; None if it is no recurrent layer's.

    >>> found = parse_name("rnn.parametrizations.weight_hh_l0.original1")
    >>> found.module, found.role, found.layer, found.direction, found.form
    ('rnn', 'weight_hh', 0, 'forward', 'v')
    >>> parse_name("fc.weight") is None
    True
    """
    match = _NAME.search(name)
    if match is None:
        return None
    kind, before, form = match["kind"].lower(), name[: match.start()], (match["form"] or "").lower()
    if kind in ("w", "b") and before and before[-1] not in SEPARATORS:
        return None  # "raw_ih" is a word that ends in w, not a module named "ra"
    module = before.rstrip(SEPARATORS)
    if form.startswith("."):
        if not (module == _PARAMETRIZED or module.endswith(f".{_PARAMETRIZED}")):
            return None
        module = module.removesuffix(_PARAMETRIZED).rstrip(".")
    return ParameterName(
        module,
        f"{'weight' if kind in ('weight', 'w') else 'bias'}_{match['which'].lower()}",
        int(match["layer"] or 0),
        "backward" if match["reverse"] else "forward",
        _FORMS.get(form, form.removeprefix("_")),
        _PYTORCH.match(match["plain"]) is not None,
        match["layer"] is not None,
    )


def parse_single_bias(name: str) -> ParameterName | None:
    """Read the name of a bias that stands alone (``rnn.bias_l0``, ``rnn.bias``, ``enc.b``): its layer's ``bias_ih``."""
    match = _SINGLE_BIAS.search(name)
    if match is None or (match.start() and name[match.start() - 1] not in SEPARATORS):
        return None
    module = name[: match.start()].rstrip(SEPARATORS)
    return ParameterName(module, "bias_ih", int(match["layer"] or 0), "backward" if match["reverse"] else "forward")


def names_a_recurrent_weight(name: str) -> bool:
    """Tell whether a tensor's name is one of a recurrent layer's matrices.

    >>> names_a_recurrent_weight("rnn.weight_hh_l0"), names_a_recurrent_weight("fc.weight")
    (True, False)
    """
    found = parse_name(name)
    return found is not None and found.role in ("weight_hh", "weight_ih")


def resolve(forms: Mapping[str, StoredTensor], *, file: str, where: str) -> tuple[StoredTensor, str]:
    """The array that evaluation runs, from the forms it is stored in; and how it came about (empty if it is plain).

    Raises
    ------
    InputError
        If it is reparametrised in a way that the file does not suffice for.
    """
    first = next(iter(forms.values()))
    if "raw" in forms:
        return forms["raw"], "the raw weight of WeightDrop, which is what evaluation runs"
    if {"g", "v"} <= set(forms):
        return _computed(forms["v"], lambda: _weight_norm(forms, file, where)), "computed from weight_norm's g and v"
    if {"orig", "u", "v"} <= set(forms):
        return _computed(forms["orig"], lambda: _spectral_norm(forms, file, where)), "computed from spectral_norm"
    if "plain" in forms:
        return forms["plain"], ""
    names = ", ".join(f"'{tensor.name}'" for tensor in forms.values())
    raise InputError(
        f"{where}'{first.name}' belongs to a parametrisation that the file alone does not settle (it has {names}); "
        "apply it first: torch.nn.utils.parametrize.remove_parametrizations(module, NAME), then save the state dict"
    )


def _computed(like: StoredTensor, compute: Callable[[], Array]) -> StoredTensor:
    return StoredTensor(like.name, like.shape, like.dtype, compute)


def _weight_norm(forms: Mapping[str, StoredTensor], file: str, where: str) -> Array:
    v = load_weights(forms["v"], file=file)
    g = load_weights(forms["g"], file=file).reshape(forms["g"].shape)
    axes = tuple(axis for axis in range(v.ndim) if axis >= g.ndim or g.shape[axis] == 1)
    if g.ndim not in (0, v.ndim) or any(g.shape[axis] not in (1, v.shape[axis]) for axis in range(g.ndim)):
        raise InputError(
            f"{where}'{forms['g'].name}' and '{forms['v'].name}' do not fit together as weight_norm's g, v"
        )
    length = np.sqrt(np.sum(v * v, axis=axes or None, keepdims=g.ndim > 0))
    if not length.all():
        raise InputError(f"{where}'{forms['v'].name}' has a row of zeros, which weight_norm divides by its length")
    return np.asarray(g * (v / length))


def _spectral_norm(forms: Mapping[str, StoredTensor], file: str, where: str) -> Array:
    W, u, v = (load_weights(forms[form], file=file) for form in ("orig", "u", "v"))
    if W.ndim != 2 or u.shape != W.shape[:1] or v.shape != W.shape[1:]:
        raise InputError(f"{where}'{forms['u'].name}' and '{forms['v'].name}' do not fit '{forms['orig'].name}'")
    sigma = float(u @ (W @ v))
    if sigma == 0:
        raise InputError(f"{where}'{forms['orig'].name}' has a spectral norm of zero by its stored vectors")
    return np.asarray(W / sigma)
