"""The ``activations`` attribute of ONNX's recurrent nodes, with ``activation_alpha`` and ``activation_beta``."""

from __future__ import annotations

from typing import Any

from gradscope.errors import InputError
from gradscope.sources.file_keys import FileKeys, settle

#: How many functions a direction takes, and what they are if nothing is said: (f) rnn; (f, g) gru; (f, g, h) lstm.
_DEFAULTS = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
#: Functions that consume a value of activation_alpha, activation_beta, with ONNX's defaults.
_ALPHA = {"affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0, "scaledtanh": 1.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETA = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}
_PLAIN = ("tanh", "sigmoid", "relu")
#: alpha and beta are float32 in the file: 1/6 is known to 2⁻²⁴ relative.
_FLOAT32 = 1e-6


def candidate_and_gate(
    attributes: dict[str, Any], kind: str, n_directions: int, *, keys: FileKeys, where: str
) -> list[tuple[str, str]]:
    """(activation, gate activation) of each direction, in gradscope's names.

    Raises
    ------
    InputError
        If a function has no counterpart here, or the candidate's and the output's of an lstm differ.
    """
    per_direction = len(_DEFAULTS[kind])
    names = (
        [name.decode("utf-8", "replace").lower() for name in attributes["activations"].strings]
        if ("activations" in attributes)
        else []
    )
    if not names:
        names = list(_DEFAULTS[kind]) * n_directions
    if len(names) != per_direction * n_directions:
        raise InputError(
            f"{where}it names {len(names)} activations where {per_direction * n_directions} belong; damaged"
        )
    alphas = list(attributes["activation_alpha"].floats) if "activation_alpha" in attributes else []
    betas = list(attributes["activation_beta"].floats) if "activation_beta" in attributes else []
    functions = [_function(name, alphas, betas, where) for name in names]
    out: list[tuple[str, str]] = []
    for first in range(0, len(functions), per_direction):
        *gates, candidate = functions[first : first + per_direction]
        if kind == "LSTM":
            gates, candidate, output = functions[first : first + 1], functions[first + 1], functions[first + 2]
            if candidate != output:
                raise InputError(
                    f"{where}its candidate applies {candidate} and its output {output}, and one activation serves both "
                    "here; bring its step Jacobians as a 3-D .npy instead"
                )
        gate = gates[0] if gates else "sigmoid"
        if gate not in ("sigmoid", "hard_sigmoid", "hard_sigmoid_keras3"):
            raise InputError(f"{where}its gates apply {gate}, and only Sigmoid and HardSigmoid can be represented")
        if candidate.startswith("hard_sigmoid"):
            raise InputError(
                f"{where}its candidate applies HardSigmoid; only Tanh, Sigmoid, Relu, Affine(1, 0) can be read"
            )
        settle("activation", keys.activation, candidate, "", where=where)
        if gates:
            settle("gate_activation", keys.gate_activation, gate, "", where=where)
        out.append((candidate, gate))
    return out


def _function(name: str, alphas: list[float], betas: list[float], where: str) -> str:
    """One function in gradscope's names, consuming its alpha and beta."""
    alpha = (alphas.pop(0) if alphas else _ALPHA[name]) if name in _ALPHA else 0.0
    beta = (betas.pop(0) if betas else _BETA[name]) if name in _BETA else 0.0
    if name in _PLAIN:
        return name
    if name == "hardsigmoid" and abs(beta - 0.5) < _FLOAT32:
        if abs(alpha - 0.2) < _FLOAT32:
            return "hard_sigmoid"
        if abs(alpha - 1 / 6) < _FLOAT32:
            return "hard_sigmoid_keras3"
    if name == "affine" and alpha == 1.0 and beta == 0.0:
        return "identity"
    if name == "scaledtanh" and alpha == 1.0 and beta == 1.0:
        return "tanh"
    raise InputError(
        f"{where}it applies {name[:40]} (alpha {alpha:g}, beta {beta:g}), which has no counterpart here; "
        "bring its step Jacobians as a 3-D .npy instead"
    )
