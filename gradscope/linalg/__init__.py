"""Matrix products whose size leaves float64: exact binary scaling, largest singular values.

``binary_scale``: P = 2^e·P~, exactly. ``singular_values``: of stacks that may hold infinities.
``largest_eigenvalue``, ``operator_norm``, ``formed_norms``: spectral norms of many matrices or operators at once.
``product_history``: what a running product leaves behind at every lag.
"""
