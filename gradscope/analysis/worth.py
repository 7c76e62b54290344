"""Whether several results are worth a process each: a rough guess at how long one takes."""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.analysis.cases import read_inputs_file
from gradscope.analysis.request import RunRequest
from gradscope.errors import GradscopeError
from gradscope.numerics.propagate import seconds_to_multiply
from gradscope.sources.given_arrays import GivenArray
from gradscope.sources.inputs import is_generated
from gradscope.sources.source import Source

#: Seconds of one result from which a process of its own pays; a fork takes some twenty milliseconds.
PAYS_FROM = 0.4
#: How much faster a whole measurement is than a decomposition of every product (n = 64 … 1,024, T = 50 … 5,000).
SHORTENED = 8.0
#: A block's spectrum, with its pseudospectrum and Kreiss constant, in such products.
SPECTRUM_STEPS = 2000


def pays_apart(verb: str, sources: Sequence[Source], request: RunRequest) -> bool:
    """Whether at least two results are likely to take longer than :data:`PAYS_FROM` seconds each."""
    results = [source for source in sources for _ in range(_results(verb, source))]
    if len(results) < 2:
        return False
    steps = SPECTRUM_STEPS if verb == "spectrum" else _steps(request)
    seconds = sorted(steps * seconds_to_multiply(source.largest_matrix) / SHORTENED for source in results)
    return seconds[-2] >= PAYS_FROM


def _results(verb: str, source: Source) -> int:
    return len(source.named_cells) if source.gives_several_results and verb != "spectrum" else 1


def _steps(request: RunRequest) -> int:
    """Steps times sequences, of what is given too."""
    given = request.inputs
    if isinstance(request.tokens, GivenArray):
        return int(request.tokens.values.size)
    if isinstance(given, str) and (is_generated(given) or request.tokens is not None):
        return request.steps * request.batch
    try:
        values = given.values if isinstance(given, GivenArray) else read_inputs_file(given)[0]
    except (GradscopeError, OSError):
        return request.steps * request.batch  # what is wrong with it is said where it is read
    return int(values.size // max(values.shape[-1], 1)) if values.ndim > 1 else int(values.size)
