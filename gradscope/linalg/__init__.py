"""Small dense linear algebra that numerics and theory share: running products, largest singular values."""
