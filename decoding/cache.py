"""Keys and values that were computed before, so that a shared beginning is read once."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from decoding.errors import DecodeError

#: One pair of (keys, values) for each layer, each of shape (1, heads, tokens, width).
Layers = list[tuple[torch.Tensor, torch.Tensor]]


class PrefixCache:
    """Remembers the keys and values of what was read; a new prompt starts from the longest common prefix.

    What a call of `decode` wrote is kept behind its prompt, so that a prompt that goes on from there finds it.
    Serves one model. Bounded, the least recently used entry goes first. Threads may share it: entries are
    never written to. For models whose layers are not plain attention over all positions (sliding windows,
    state spaces) it keeps nothing.

    Args:
        max_tokens: tokens kept in all (23 kB each for the embedded model, 160 kB for a 12B).
        max_entries: sequences kept.
    """

    def __init__(self, max_tokens: int = 8192, max_entries: int = 16):
        self.max_tokens = max_tokens
        self.max_entries = max_entries
        self._entries: OrderedDict[tuple[int, ...], Layers] = OrderedDict()
        self._lock = threading.Lock()
        self._network: weakref.ref[Any] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything (after changing the weights, for instance)."""
        with self._lock:
            self._entries.clear()

    def find(self, network: Any, tokens: Sequence[int]) -> tuple[Layers, int]:
        """The keys and values of the longest known prefix of `tokens`, and its length: ([], 0) if there is none.

        The tensors are views of what is kept: read them only.

        Raises:
            DecodeError: this object has served another model.
        """
        ids = tuple(tokens)
        with self._lock:
            self._serve(network)
            best, length = None, 0
            for entry in self._entries:
                common = common_prefix(entry, ids)
                if common > length:
                    best, length = entry, common
            if best is None:
                return [], 0
            self._entries.move_to_end(best)
            layers = self._entries[best]
        return [(keys[:, :, :length], values[:, :, :length]) for keys, values in layers], length

    def keep(self, network: Any, tokens: Sequence[int], layers: Layers) -> None:
        """Remember `tokens`, whose keys and values are `layers` (they must not be written to afterwards)."""
        ids = tuple(tokens)
        if len(ids) > self.max_tokens or not ids:
            return
        with self._lock:
            self._serve(network)
            if any(entry[: len(ids)] == ids for entry in self._entries):
                return
            for entry in [entry for entry in self._entries if ids[: len(entry)] == entry]:
                del self._entries[entry]  # the new one holds all of it
            self._entries[ids] = layers
            while len(self._entries) > self.max_entries or sum(map(len, self._entries)) > self.max_tokens:
                self._entries.popitem(last=False)

    def holds(self, tokens: Sequence[int]) -> bool:
        """Whether all of `tokens` is known."""
        ids = tuple(tokens)
        with self._lock:
            return any(entry[: len(ids)] == ids for entry in self._entries)

    def _serve(self, network: Any) -> None:
        if self._network is None:
            self._network = weakref.ref(network)
        elif self._network() is not network:
            raise DecodeError("a PrefixCache serves one model: make another for this one")


def common_prefix(*sequences: Sequence[int]) -> int:
    """The number of leading items that all sequences share; 0 without any.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5]), common_prefix([1, 2], [1, 2, 3], [1])
    (2, 1)
    """
    for index, items in enumerate(zip(*sequences, strict=False)):
        if items.count(items[0]) < len(items):
            return index
    return min(map(len, sequences), default=0)
