"""``--closed-loop``: which readout turns the state into the next input."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from gradscope.analysis.readouts import read_readout
from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.closed_loop import ClosedLoop
from gradscope.sources.given_arrays import GivenArray, GivenReadout
from gradscope.sources.kinds import NetworkSource
from gradscope.sources.seeding import generator
from gradscope.sources.source import Source


def close_loop(source: Source, *, readout: str | GivenArray | GivenReadout | None, seed: int) -> NetworkSource:
    """Feed the output back through --readout, the file's own readout, or a seeded one, W_out ~ N(0, 1/H).

    What was assumed is among the warnings of the source that comes back.

    Raises
    ------
    UsageError
        The source is not one network that reads inputs, or its file holds several readouts.
    """
    network = source.network_to_close()
    wanted = (network.input_size, len(network.output_components))
    warnings: tuple[str, ...] = ()
    if readout is not None:
        weight, bias = read_readout(readout, wanted[1])
    else:
        found = _of_the_file(source, wanted)
        if found is not None:
            weight, bias, warning = found
            warnings = (warning,)
        else:
            weight = generator(seed, "readout", "closed loop").standard_normal(wanted) / np.sqrt(wanted[1])
            bias = np.zeros(wanted[0])
            if source.spec.kind != "cell":
                warnings = (
                    f"the file holds no readout of shape {wanted}: a random one closes the loop; bring --readout FILE",
                )
    known = {entry.name: getattr(source, entry.name) for entry in fields(Source)}
    known["warnings"] = (*source.warnings, *warnings)
    return NetworkSource(**known, network=ClosedLoop(network, weight, bias))


def _of_the_file(source: Source, wanted: tuple[int, int]) -> tuple[Array, Array, str] | None:
    """The one matrix of the file that maps h to an input, and the bias that goes by its name."""
    fitting = [name for name, array in source.arrays.items() if np.shape(array) == wanted]
    if not fitting:
        return None
    if len(fitting) > 1:
        raise UsageError(
            f"--closed-loop: {', '.join(fitting)} of '{source.spec.text}' all map h to an input of width {wanted[0]}; "
            "save the one you mean as --readout FILE.npz."
        )
    name = fitting[0]
    bias = source.arrays.get(name.removesuffix("weight") + "bias") if name.endswith("weight") else None
    known = bias is not None and np.shape(bias) == wanted[:1]
    values = np.asarray(bias, dtype=np.float64) if known else np.zeros(wanted[0])
    said = (
        f"{name} of the file was taken as the readout, {'with its bias' if known else 'without a bias'}, by its shape"
    )
    return np.asarray(source.arrays[name], dtype=np.float64), values, said
