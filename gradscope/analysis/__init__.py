"""Where theory stands beside measurement: a file per question, which returns results and prints nothing.

``gradient_results``: one result of ``gradients`` per trajectory, its columns made one after another.
``spectrum_results``, ``lyapunov_results``: the same of ``spectrum`` and ``lyapunov``.
``request``: the options that every measuring verb shares, typed and checked once.
``cases``: from a source and a request to trajectories, one per result.
``losses``, ``readouts``, ``tokens``: the user's loss, head and embedding.
``weight_gradients``, ``clipping``, ``input_gradients``, ``input_sensitivity``: weights and inputs under the loss.
``theory_columns``: estimate and bounds beside the measurement, by kind of source.
``verdict``: from columns to an answer.
``nulls``: what is no finite number is null.
``reach``: how far gradients reach and no more, for searches.
``article_factors``: the article's product, factor by factor.
"""
