"""Numerics that see only tapes: states and step Jacobians, whatever left them behind.

``tape``: what a tape is. ``thin_product``: the algorithm on one page; ``reference``: its slow twin.
``propagate``: ``measure_norms`` and ``step_norms``, the norms of products and of steps.
``backprop``: ``measure_loss_gradients``, a loss's gradient at every lag, and ``state_gradients``, step by step.
``weight_tails``, ``chunked_truncation``: what truncated backpropagation leaves out.
``exponents``: ``measure_lyapunov``; ``covariant``: their vectors; ``convergence``: whether to believe them.
``statistics``: intervals; ``course``: a line, a power law, a period, or none of these.
``block_bound``, ``layer_blocks``, ``bottleneck``, ``qr_sweeps``: bounds, blocks and ranks of products.
``lost_digits``: what a product on one power of two has lost, and whether it came back.
"""
