"""The measuring verbs as Python functions: gradients, spectrum, lyapunov, advise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gradscope.analysis.request import GradientsRequest, Progress
from gradscope.keywords import LagsLike, ReadoutLike, TextOrNumbers, known_names_only, request_of
from gradscope.measure_sources import measure
from gradscope.records import Report, Result
from gradscope.sources.live import SourceLike
from gradscope.sources.source import Source


@known_names_only
def gradients(
    *sources: SourceLike,
    steps: int | str = 100,
    inputs: TextOrNumbers = "normal",
    tokens: TextOrNumbers | None = None,
    batch: int | str = 1,
    seed: int | str = 0,
    dtype: str = "float64",
    state: TextOrNumbers | None = None,
    transient: int | str = 0,
    time_major: bool | None = None,
    memory: int | str = "1G",
    anchor: str = "end",
    lags: LagsLike | None = None,
    epsilon: float | str = 1e-3,
    wrt: str = "state",
    per_layer: bool = False,
    loss: str = "cross-entropy",
    loss_at: str = "last",
    readout: ReadoutLike | None = None,
    target: int | float | TextOrNumbers | None = None,
    truncation_bias: float | str = 0.05,
    need: int | str | None = None,
    lengths: TextOrNumbers | None = None,
    factors: bool = False,
    method: str = "auto",
    jobs: int | str | None = 1,
    threads: int | str | None = None,
    figures: bool = False,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    """Measure the gradient at every lag, beside theory and bounds.

    Parameters
    ----------
    *sources : str, path, mapping, model, array, or (one of these, keys)
        ``"lstm:hidden=64"`` or ``"model.pt:param=rnn"`` as on the command line; a ``pathlib.Path``; a mapping of names
        to arrays or tensors (a state dict); anything with ``state_dict()`` (an ``nn.Module``); an array (n, n), W_hh
        alone, or (K, n, n), ready step Jacobians. Keys of what is no string stand beside it:
        ``(model, "param=encoder,layer=0")``.
    steps : int
        T; where ``inputs`` is an array or a file, its steps count.
    inputs : str, path or array
        ``"normal"``, ``"uniform"``, ``"zeros"``, a file, or an array or tensor (T, I) or (batch, T, I). Whole numbers
        (T,) or (batch, T) are tokens where the model has an embedding.
    tokens : str, path or array of int, optional
        Tokens (T,) or (batch, T), looked up in the model's own embedding.
    batch : int
        Sequences side by side; an array's or file's own number counts.
    seed : int
        Of built weights, generated inputs and seeded readouts.
    dtype : {"float64", "float32"}
        Of the trajectory.
    state : str, path or array, optional
        Initial state (n,) or (batch, n): h, or [h; c] of an lstm, layers bottom first; ``"normal"`` is seeded.
    transient : int
        Steps run before measuring; of given inputs their first ones.
    time_major : bool, optional
        Three axes are (T, batch, I), or with False (batch, T, I); by default the latter, and a file of many more
        sequences than steps is asked about.
    memory : int or str
        Bytes that the tape may take before it is recomputed: ``"1G"``.
    anchor : {"end", "start"}
        Lags run back from T, or forward from 0.
    lags : str or iterable of int, optional
        Rows kept, ``"0:50:5"`` or ``range(0, 51, 5)``; all by default.
    epsilon : float
        Norm below which a gradient counts as gone (the horizon).
    wrt : {"state", "inputs", "weights"}
        What is differentiated by: past states, inputs x_j, or (h_t at every t) the weights.
    per_layer : bool
        One result per layer of a stack as well.
    loss : {"cross-entropy", "mse", "linear", "none"}
    loss_at : {"last", "all"}
    readout : str, path, mapping, module or array, optional
        y = W_hy h + b_hy: ``weight`` (V, H) and ``bias`` (V,) in a file, a mapping or an ``nn.Linear``; a weight alone;
        for ``loss="linear"`` a vector (H,); ``"random"`` for a seeded one. By default the model's own head.
    target : int, float, str, path or array, optional
        Class numbers () or (batch,), with ``loss_at="all"`` also (T,) or (batch, T); values (…, V) for mse.
    truncation_bias : float
        Relative bias of ∂L/∂W_hh that truncated backpropagation may have (``tbptt_length``).
    need : int, optional
        How far back the task needs gradients (``enough``).
    lengths : str, path or array of int, optional
        Steps of each sequence of a batch that is padded at its end, (batch,): lags count back from each one's own end.
    factors : bool
        Also the article's product for ∂L/∂W_hh, factor by factor, beside the truth.
    method : {"auto", "thin", "dense"}
        How the product is measured: fast, by the algorithm on one page, or by the slow reference.
    jobs : int or None
        Processes that measure several results (sources, layers, directions) side by side, the same numbers whatever
        it is; None takes the cores there are where that pays. They are forked, on Linux only.
    threads : int, optional
        BLAS threads; one for small matrices by default.
    figures : bool
        Also gather what only pages and pictures show (the heat map over (t, i)).
    progress : callable, optional
        ``progress(label, done, total)``, called often.
    command : sequence of str, optional
        What the report says of how it was made; by default the command line or Python call with the same numbers.

    Returns
    -------
    Report

    Raises
    ------
    GradscopeError
        A wrong name or value (:class:`~gradscope.errors.UsageError`), or something that cannot be read
        (:class:`~gradscope.errors.InputError`).

    Examples
    --------
    >>> import numpy as np
    >>> report = gradients({"weight_ih_l0": np.eye(3), "weight_hh_l0": 0.5 * np.eye(3)}, inputs=np.zeros((40, 3)))
    >>> report.results[0].summary["verdict"]
    'vanishing'
    """
    given = dict(locals())  # every keyword under the name that the request has for it
    from gradscope.analysis.gradient_results import gradient_parts

    request = request_of(GradientsRequest, given)
    return measure("gradients", sources, request, gradient_parts, threads=given["threads"], jobs=jobs, command=command)


@known_names_only
def spectrum(
    *sources: SourceLike,
    pseudospectrum: float | str | None = None,
    matrices: bool = False,
    certify: bool = False,
    steps: int | str = 100,
    inputs: TextOrNumbers = "normal",
    tokens: TextOrNumbers | None = None,
    batch: int | str = 1,
    seed: int | str = 0,
    dtype: str = "float64",
    state: TextOrNumbers | None = None,
    transient: int | str = 0,
    time_major: bool | None = None,
    memory: int | str = "1G",
    jobs: int | str | None = 1,
    threads: int | str | None = None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    """Eigendecompose every recurrent block and say how far from normal it is.

    Parameters
    ----------
    *sources : str, path, mapping, model, array, or (one of these, keys)
        As for :func:`gradients`.
    pseudospectrum : float, optional
        ε/‖W‖ of the pseudospectral radius, at any size; 0.01 up to n = 100 by default.
    matrices : bool
        Also P, Λ, P⁻¹ and the W they rebuild, for blocks of at most 8 units.
    certify : bool
        Enclose the eigenvalues rigorously by ball arithmetic (the extra ``certify``), up to n = 128.
    seed : int
        Of built weights.
    steps, inputs, tokens, batch, dtype, state, transient, time_major, memory
        Taken like those of every verb; a spectrum reads weights only.
    jobs, threads, progress, command
        As for :func:`gradients`.

    Returns
    -------
    Report

    Raises
    ------
    GradscopeError
        As for :func:`gradients`.
    """
    given = dict(locals())
    from gradscope.analysis.spectrum_results import SpectrumRequest, spectrum_parts

    request = request_of(SpectrumRequest, given)
    return measure("spectrum", sources, request, spectrum_parts, threads=given["threads"], jobs=jobs, command=command)


@known_names_only
def lyapunov(
    *sources: SourceLike,
    k: int | str | None = None,
    closed_loop: bool = False,
    readout: ReadoutLike | None = None,
    covariant: bool = False,
    singular_values: bool = False,
    steps: int | str = 100,
    inputs: TextOrNumbers = "normal",
    tokens: TextOrNumbers | None = None,
    batch: int | str = 1,
    seed: int | str = 0,
    dtype: str = "float64",
    state: TextOrNumbers | None = None,
    transient: int | str = 0,
    time_major: bool | None = None,
    memory: int | str = "1G",
    jobs: int | str | None = 1,
    threads: int | str | None = None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    """Lyapunov exponents in nats per step, with intervals and a verdict on convergence.

    Parameters
    ----------
    *sources : str, path, mapping, model, array, or (one of these, keys)
        As for :func:`gradients`.
    k : int, optional
        Leading exponents; all by default.
    closed_loop : bool
        The readout's output is the next input.
    readout : str, path, mapping, module or array, optional
        ``weight`` (inputs, H) and ``bias`` of the closed loop; the model's own, or a seeded one, by default.
    covariant : bool
        Covariant Lyapunov vectors as well.
    singular_values : bool
        All singular values of the whole product J_T ⋯ J_1 as well.
    steps, inputs, tokens, batch, seed, dtype, state, transient, time_major, memory
        As for :func:`gradients`.
    jobs, threads, progress, command
        As for :func:`gradients`.

    Returns
    -------
    Report

    Raises
    ------
    GradscopeError
        As for :func:`gradients`.
    """
    given = dict(locals())
    from gradscope.analysis.lyapunov_results import LyapunovRequest, exponent_parts

    request = request_of(LyapunovRequest, given)
    return measure("lyapunov", sources, request, exponent_parts, threads=given["threads"], jobs=jobs, command=command)


@known_names_only
def advise(
    *sources: SourceLike,
    reach: int | str | None = None,
    clip_percentile: float | str = 95.0,
    clip_batch: int | str = 1,
    only: str | Iterable[str] = (),
    jobs: int | str = 1,
    steps: int | str = 100,
    inputs: TextOrNumbers = "normal",
    tokens: TextOrNumbers | None = None,
    batch: int | str = 1,
    seed: int | str = 0,
    dtype: str = "float64",
    state: TextOrNumbers | None = None,
    transient: int | str = 0,
    time_major: bool | None = None,
    memory: int | str = "1G",
    anchor: str = "end",
    lags: LagsLike | None = None,
    epsilon: float | str = 1e-3,
    wrt: str = "state",
    per_layer: bool = False,
    loss: str = "cross-entropy",
    loss_at: str = "last",
    readout: ReadoutLike | None = None,
    target: int | float | TextOrNumbers | None = None,
    truncation_bias: float | str = 0.05,
    need: int | str | None = None,
    lengths: TextOrNumbers | None = None,
    factors: bool = False,
    method: str = "auto",
    threads: int | str | None = None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    r"""What to change, and what each change does, measured on the changed network.

    Parameters
    ----------
    *sources : str, path, mapping, model, array, or (one of these, keys)
        As for :func:`gradients`.
    reach : int, optional
        Lag at which the norm should still be at least ``epsilon``; ``need``, else T, by default.
    clip_percentile : float
        Percentile of the gradient's norm that is proposed for clipping.
    clip_batch : int
        Sequences whose mean gradient is clipped, drawn from those of ``batch``.
    only : str or iterable of str
        Kinds of change to look into (``"gain"``, ``"forget_bias"``, …); all by default.
    jobs : int
        Processes; the numbers do not depend on it. More than one needs the usual ``__main__`` guard in scripts.
    steps, inputs, tokens, batch, seed, dtype, state, transient, time_major, memory, anchor, lags, epsilon, wrt, \
    per_layer, loss, loss_at, readout, target, truncation_bias, need, lengths, factors, method, threads, progress, \
    command
        As for :func:`gradients`.

    Returns
    -------
    Report

    Raises
    ------
    GradscopeError
        As for :func:`gradients`.
    """
    given = dict(locals())
    from gradscope.advice.advise_request import AdviceRequest
    from gradscope.advice.advise_source import measure_advice

    request = request_of(AdviceRequest, given)

    def parts_of(source: Source, request: AdviceRequest) -> list[Callable[[], list[Result]]]:
        return [lambda: measure_advice(source, request)]

    return measure("advise", sources, request, parts_of, threads=given["threads"], command=command)
