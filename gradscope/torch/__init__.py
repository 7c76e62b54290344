"""Any recurrence that PyTorch can run, measured where it lives. The only room that imports torch, when it is used.

``measure(step, inputs, state)``: a step function or cell, whatever it computes, from its autograd Jacobians.

Install torch with ``pip install 'gradscope-rnn[torch]'``.
"""

from __future__ import annotations

from gradscope.torch.step_function import measure

__all__ = ["measure"]
