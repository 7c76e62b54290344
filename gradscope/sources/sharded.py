"""Safetensors in several files beside an index, as Hugging Face writes large models.

``model.safetensors.index.json`` holds ``{"weight_map": {parameter: file}}``. The index comes from a stranger: a shard
is a plain file name in the index's own folder that ends in ``.safetensors``, and is read as one or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path

from gradscope.errors import InputError
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import opened, sha256_of
from gradscope.sources.safetensors import MAX_TENSORS, safetensors_tensors
from gradscope.sources.stored_tensor import StoredTensor

MAX_SHARDS = 1000
#: The index of a model of 50,000 parameters.
MAX_INDEX_BYTES = 16 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")


@contextmanager
def open_shards(stream: BufferedReader, budget: Budget, folder: Path) -> Iterator[tuple[dict[str, StoredTensor], str]]:
    """The tensors of all shards by name, readable while the context lasts, and a hash of the index and every shard.

    Raises
    ------
    InputError
        If the index is none, a shard is missing or not in the folder, or a tensor is not where the index says.
    """
    file = budget.file
    if budget.n_bytes > MAX_INDEX_BYTES:
        raise InputError(f"{file}: is JSON text of {budget.n_bytes} bytes, too long for an index of safetensors shards")
    stream.seek(0)
    index = budget.json(stream.read(), "its index")
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise InputError(
            f"{file}: is JSON text, but not the index of safetensors shards (it has no 'weight_map'); name the weights "
            "file itself"
        )
    budget.count(len(places), MAX_TENSORS, "tensors")
    shards = list(dict.fromkeys(places.values()))
    budget.count(len(shards), MAX_SHARDS, "shards")
    digest = hashlib.sha256(sha256_of(stream).encode())
    tensors: dict[str, StoredTensor] = {}
    with ExitStack() as stack:
        for shard in shards:
            budget.length(len(shard), "a shard's name")
            if not _PLAIN_NAME.fullmatch(shard):
                raise InputError(
                    f"{file}: its shard '{shard[:60]}' should be a plain NAME.safetensors in the same folder; refused"
                )
            part, n_bytes = stack.enter_context(opened(folder / shard))
            digest.update(sha256_of(part).encode())
            found = safetensors_tensors(part, Budget(n_bytes, file=shard))
            for name, tensor in found.items():
                if places.get(name) != shard:
                    continue  # another shard's, or of no model
                tensors[budget.name(name, "a tensor's name")] = tensor
        missing = next((name for name in places if name not in tensors), None)
        if missing is not None:
            raise InputError(
                f"{file}: '{missing[:100]}' should be in {places[missing][:100]}, but it is not; download that again"
            )
        yield tensors, digest.hexdigest()
