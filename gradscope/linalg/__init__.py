"""Small dense linear algebra shared by numerics and theory: scaled numbers, running products, largest singular values."""
