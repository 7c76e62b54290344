"""Lyapunov exponents across the order–chaos transition, beside the mean field."""

from __future__ import annotations

import gradscope


def main() -> None:
    """Print λ₁ with its interval, and ½ ln χ, for three gains of a driven tanh network."""
    for gain in (0.8, 1.5, 3.0):
        report = gradscope.lyapunov(f"rnn:hidden=100,gain={gain},input_gain=0.3", steps=1500, transient=200, k=3)
        row = next(report.results[0].rows())
        field = report.results[0].summary["mean_field_exponent"]
        print(
            f"gain {gain}: λ₁ = {row['exponent']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}], mean field {field:+.4f}"
        )


if __name__ == "__main__":
    main()
