"""What the loss and the outputs hear of each input: ∂L/∂x_j and ∂y_T/∂x_j (which word, which frame?)."""

from __future__ import annotations

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.living import mean_of_nonzero
from gradscope.analysis.losses import LossSide, loss_side, output_components, total_input_gradients
from gradscope.analysis.request import GradientsRequest
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LOG10_2
from gradscope.networks.sensitivity import measure_sensitivity
from gradscope.networks.tangents import input_weight
from gradscope.networks.trajectory import Trajectory


def input_columns(case: Case, trajectory: Trajectory, request: GradientsRequest) -> tuple[dict[str, Array], list[str]]:
    """The columns by input step j = T … 1 (null without a readout), and what has to be said about them.

    ∂L/∂x_j of a bidirectional network goes through both directions, and is their sum.
    """
    found = loss_side(case, request)
    nothing = np.full(trajectory.n_steps, np.nan)
    columns = {"log10_dloss_dinput": nothing, "log10_doutput_dinput": nothing}
    if not isinstance(found, LossSide):
        return columns, [] if found is None else [found]
    rows, exponent = total_input_gradients(case, request, found)
    with np.errstate(divide="ignore"):
        log10 = np.log10(np.sqrt(np.square(rows).sum(axis=-1))) + exponent * LOG10_2
    columns["log10_dloss_dinput"] = mean_of_nonzero(log10)[::-1]
    if found.weight is not None:
        heard = measure_sensitivity(
            trajectory,
            output_components(case),
            lambda j: input_weight(trajectory.network, j, j),
            readout=np.asarray(found.weight, dtype=np.float64),
        )
        log10 = np.where(np.isnan(heard.log10_norm), -np.inf, heard.log10_norm)
        columns["log10_doutput_dinput"] = mean_of_nonzero(log10)[::-1]
    return columns, []
