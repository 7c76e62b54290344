"""Any recurrence that PyTorch can run, measured where it lives. The only room that imports torch, when it is used.

``capture(model, batch)``: a model's recurrent module and the inputs that it really reads, ready for every verb.
``measure(step, inputs, state)``: a step function or cell, whatever it computes, from its autograd Jacobians.
``watch(model, every=100, path="run.jsonl")``: the gradient through time while a network trains, as series rows.

Install torch with ``pip install torch``.
"""

from __future__ import annotations

from gradscope.torch.capturing import Captured, capture
from gradscope.torch.step_function import measure
from gradscope.torch.watching import Watch, watch

__all__ = ["Captured", "Watch", "capture", "measure", "watch"]
