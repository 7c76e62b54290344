"""Names of the tensors of nested state dicts: a state dict's own keys, without the envelope it stands in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

from gradscope.sources.budget import Budget
from gradscope.sources.naming import strip_wrappers
from gradscope.sources.parameter_names import names_a_recurrent_weight

#: Keys that checkpoints put around a state dict; they are no part of a module's name.
_ENVELOPES = {"state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params"}

Path: TypeAlias = tuple[str | int | float, ...]
T = TypeVar("T")


def name_tensors(groups: Mapping[Path, Mapping[str, T]], budget: Budget) -> dict[str, T]:
    """Name the tensors of dictionaries that stand at ``groups``' paths inside one another.

    Parameters
    ----------
    groups : mapping
        The keys that lead to a dictionary, to its tensors by their own keys.
    budget : Budget
        Limits the names.
    """
    recurrent = [place for place, group in groups.items() if any(map(names_a_recurrent_weight, group))]
    tensors: dict[str, T] = {}
    for place, group in groups.items():
        prefix = "".join(f"{key}." for key in place if key not in _ENVELOPES or len(recurrent) > 1)
        if recurrent == [place] and all("." in name for name in group if names_a_recurrent_weight(name)):
            prefix = ""
        for original, name in strip_wrappers(list(group)).items():
            full = prefix + name
            if full in tensors:
                full = joined((*place, original), budget)
            budget.name(full, "a parameter's name")
            tensors[full] = group[original]
    return tensors


def joined(path: Path, budget: Budget) -> str:
    """A path as one name; its keys are short strings or numbers, the whole is limited here."""
    return budget.name(".".join(map(str, path)), "a parameter's name")
