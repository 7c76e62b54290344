"""What eigenvalues promise and what the gradient does: a radius above one that vanishes, and one below that grows."""

from __future__ import annotations

import numpy as np

import gradscope


def main() -> None:
    """Put ρ(W) beside the measured rate for three networks that the eigenvalue story gets wrong or right."""
    for source in ("rnn:gain=1.2,hidden=48", "rnn:init=orthogonal,hidden=48", "rnn:init=nonnormal,gain=3,hidden=12"):
        radius = gradscope.spectrum(source).results[0].summary["max_spectral_radius"]
        result = gradscope.gradients(source, steps=60).results[0]
        peak = result.summary["log10_peak"]
        said = "grows" if radius > 1 else "shrinks"
        print(f"{source}: radius {radius:.3f} says '{said}'; measured {result.summary['verdict']}, peak 10^{peak:.2f}")
        assert np.all(np.asarray(result.columns["lag"]) == np.arange(61))


if __name__ == "__main__":
    main()
