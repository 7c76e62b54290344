"""A result of ``gradients`` from step Jacobians that are known, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.gradient_results import measure_case
from gradscope.analysis.request import GradientsRequest
from gradscope.jacobians.ready import ReadyJacobian
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.tape import StoredTape
from gradscope.records import Result
from gradscope.sources.kinds import JacobianSource
from gradscope.sources.spec import SourceSpec


def measure_jacobians(
    states: Array,
    jacobians: Array,
    corner: Array | None,
    request: GradientsRequest,
    *,
    name: str,
    cell: str,
    settings: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> Result:
    """Measure the product of the Jacobians.

    Parameters
    ----------
    states : ndarray, shape (T + 1, batch, n)
    jacobians : ndarray, shape (T, batch, n, n)
    corner : ndarray of int or None
        Components of h; None where the state is h alone.
    name, cell : str
        For the ``source`` object.
    """
    n = states.shape[-1]
    record = {
        "name": name,
        "cell": cell,
        "hidden": n if corner is None else len(corner),
        "layers": 1,
        "state_size": n,
        "sha256": hashlib.sha256(np.ascontiguousarray(jacobians).tobytes()).hexdigest(),
    }
    source = JacobianSource(SourceSpec(name, "file", name), record, jacobians=jacobians)
    tape = StoredTape(states, ReadyJacobian(jacobians), corner)
    case = Case(source, record, {**request.settings(), **settings}, tape, None, 0.0, tuple(warnings))
    return measure_case(case, request)
