"""Theory that sees only weights and slopes, and no measured product.

``closed_forms``: the article's (tanh′)^k W^k and the direct path of gated cells.
``bounds``, ``composition_bounds``: bounds that hold for every input, of one cell, of stacks and of decoders.
``certificate``: the least factor per step that W alone proves; ``scaled_norm``, ``radius``: what it rests on.
``power_norms``, ``powers``: ‖W^k‖ at any magnitude, its peak, with a proof that nothing higher follows.
``eigen``, ``decomposition``, ``schur``: W = P Λ P⁻¹ and how far each eigenvalue can be trusted.
``kreiss``, ``pseudospectra``, ``resolvent``, ``numerical_range``, ``non_normality``: what eigenvalues hide.
``mean_field``: large random networks. ``conclusion``: one sentence on what a spectrum proves.
"""
