"""Reports: renderers, exporters and gates. They read records (``gradscope.records``) and nothing else.

Rendering
    ``formats.render(report, name, *, width, color, unicode, verbose, figures) -> str | bytes``;
    ``formats.write(report, name, stream, ...)`` (json, jsonl and csv row by row); ``formats.format_of_path(path)``;
    ``formats.writer_of(name)``; ``formats.FORMATS``, ``STDOUT_FORMATS``, ``SUFFIXES``.
    ``table``, ``markdown``, ``html``, ``junit``, ``github``, ``svg`` and ``terminal_plot`` (``--plot``) each have
    ``render(report, *, ...) -> str`` with those of these options that mean something to it; ``render_png`` and
    ``render_pdf`` of ``figure_files`` give bytes. ``github.append_step_summary(report, *, environ=os.environ) -> bool``
    does what ``-f github`` adds to it.
    ``table.terminal_width(stream)``, ``wants_color(choice, stream)``, ``wants_unicode(stream)`` look at the terminal.
Reading
    ``json_report.read_report(path) -> Report`` (``-`` is stdin; json or jsonl);
    ``query.select(report, *, where, sort, columns)`` and ``query.pivot(report, *, keys, value)`` for ``show``;
    ``diff.diff(base, new, *, command) -> Report`` (schema ``gradscope/diff/1``).
Gates
    ``gates.check_names(expressions, verb, *, also=())`` before computing, ``gates.evaluate(report, fail_on, warn_on)``
    afterwards. A gate trips where its expression is true, cannot be decided, or matches nothing.
Schemas
    ``schemas.load_schema(verb) -> dict``, ``schemas.schema_text(verb) -> str``, ``schemas.VERBS``.

A person's formats share one intermediate, ``document``: a verb's *view* (``views/``) says in blocks what there is to
say (sentences, tables, figures), and every renderer knows only blocks. Figures draw what ``Result.details`` holds,
``numerical_range`` (param or ``param:gate`` → [[re, im], ...]), ``heat`` (``t``, ``i``, ``log10_norm[t][i]``),
``gates`` (name → mean opening per step), ``convergence`` (``steps``, ``exponents``), ``layer_blocks``,
``bottleneck``, and for claims ``experiments`` (id → rows).
"""
