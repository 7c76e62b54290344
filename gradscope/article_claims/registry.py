"""Every claim that can be measured, in the article's order: adding one is one file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from gradscope.article_claims.claim import Claim
from gradscope.errors import UsageError, did_you_mean

#: Module of each claim within this package; imported when the claim is asked for.
MODULES: dict[str, str] = {
    "C01": "c01_eigenvalues",
    "C02": "c02_diagonalisation",
    "C03": "c03_gradient_formula",
    "C04": "c04_no_middle",
    "C05": "c05_thresholds",
    "C06": "c06_shared_weights",
    "C07": "c07_order_chaos",
    "C08": "c08_dilution",
    "C09": "c09_skip",
    "C10": "c10_saturation",
    "C11": "c11_no_forget_gate",
    "C12": "c12_forget_bias",
    "C13": "c13_separate_gates",
    "C14": "c14_tanh_sigmoid",
    "C15": "c15_normalisation",
    "C16": "c16_bidirectional",
    "C17": "c17_seq2seq",
    "C18": "c18_parallel",
    "C19": "c19_equal_strength",
    "C20": "c20_sharing",
    "C21": "c21_all_information",
    "C22": "c22_truncation",
    "C23": "c23_optimise",
    "C24": "c24_last_output",
    "C25": "c25_sensitivity",
}


def load_claim(name: str) -> Claim:
    """The claim with this id."""
    claim = import_module(f"gradscope.article_claims.{MODULES[name]}").CLAIM
    assert isinstance(claim, Claim)
    return claim


def choose_claims(names: Sequence[str] = ()) -> tuple[str, ...]:
    """The ids asked for, in the article's order and once each; all of them if none is named.

    >>> choose_claims(("c06", "C01"))
    ('C01', 'C06')
    """
    wanted = {name.strip().upper() for name in names}
    for name in sorted(wanted - MODULES.keys()):
        raise UsageError(
            f"no claim '{name}'.{did_you_mean(name, MODULES)} Known: {', '.join(MODULES)} (docs/claims.md)."
        )
    return tuple(name for name in MODULES if not wanted or name in wanted)
