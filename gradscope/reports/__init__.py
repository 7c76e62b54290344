"""Reports: renderers, exporters and gates. They read records (``gradscope.records``) and nothing else.

``formats``
    ``render(report, name, *, width, color, unicode, verbose) -> str | bytes`` · ``write(report, name, stream, ...)`` ·
    ``format_of_path(path) -> name`` · ``FORMATS``
``json_report``
    ``write_json(report, stream)`` · ``write_jsonl(report, stream)`` · ``read_report(path, *, allow_interrupted=False)``
``csv_report``
    ``write_csv(report, stream)``
``table``, ``markdown``, ``html``, ``junit``, ``github``, ``terminal_plot``, ``svg``, ``figure_files``
    each ``render(report, *, width=None, color=False, unicode=True, verbose=False) -> str`` (bytes for png and pdf)

A person's formats share one intermediate, ``document``: a verb's *view* (``views/``) says in blocks what there is to
say (sentences, tables, figures), and every renderer knows only blocks.
"""
