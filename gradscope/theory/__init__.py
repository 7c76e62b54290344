"""Theory that sees only weights and slopes."""
