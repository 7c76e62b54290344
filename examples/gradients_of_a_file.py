"""From a checkpoint to a decision, in a script: measure, look, judge."""

from __future__ import annotations

import sys

import gradscope


def main(source: str, inputs: str = "normal") -> int:
    """Measure one source, print where its gradient goes, and judge it by two gates."""
    report = gradscope.gradients(source, inputs=inputs, steps=120)
    report = gradscope.check(report, "horizon < 10", "bound_violations > 0")
    for result in report.results:
        summary = result.summary
        print(f"{result.source['name']}: {summary['verdict']}, {summary['log10_rate']:+.3f} decades per step")
        for row in result.rows():
            if row["lag"] in (1, 10, 100):
                print(f"  lag {row['lag']:>3}: 10^{row['log10_norm']:.2f}, at most 10^{row['log10_path_bound']:.2f}")
    for gate in report.gates:
        print("passed" if gate.passed else "FAILED", gate.expression, "found", gate.found)
    return 0 if all(gate.passed for gate in report.gates) else 1


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["lstm:hidden=32,forget_bias=2"])))
