"""Matrix products whose size leaves float64: exact binary scaling, largest singular values."""
