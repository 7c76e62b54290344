"""The article's claims, executed: each an experiment with its control, and what the right statement predicts.

``registry``: every claim, in the article's order; a claim is one file and one line there.
``claim``: what a claim is. ``run_claims``: run them, side by side where asked. ``runs``: small networks to run.
"""
