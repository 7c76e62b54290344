"""The article's claims, executed: each one an experiment with its control, and what the right statement predicts."""
