"""What to change, and what each change does: measured on the changed network, never guessed.

``advise_request``: what is asked (:class:`~gradscope.advice.advise_request.AdviceRequest`).
``changes``: which changes a source can take, as text to append to it.
``measured``: a source with a change, measured by the same code as ``gradients``.
``search``: the smallest change that is enough, by bisection on what was measured.
``network_changes``: every change of the network, searched or tried, in processes of their own where that pays.
``snippets``: the change as Python for a PyTorch module.
``words``: why, and on what it rests.
``advise_source``: all of it and the rows that leave the network alone, one result per source, layer and direction.

This room knows sources and what the verbs measure; there is no linear algebra in it.
"""
