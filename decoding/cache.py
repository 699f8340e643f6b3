"""Keys and values of prompts that were read before, so that a shared prefix is read once."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from decoding.errors import DecodeError

#: One pair of (keys, values) for each layer, each of shape (1, heads, tokens, width).
Layers = list[tuple[torch.Tensor, torch.Tensor]]


class PrefixCache:
    """Remembers the keys and values of whole prompts; a new prompt starts from the longest common prefix.

    Serves one model. Bounded, the least recently used prompt goes first. Threads may share it: entries are
    never written to (a cache that is continued concatenates into new tensors). For models whose layers
    are not plain attention over all positions (sliding windows, state spaces) it keeps nothing.

    Args:
        max_tokens: prompt tokens kept in all (23 kB each for the embedded model, 160 kB for a 12B).
        max_entries: prompts kept.
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

    def start(self, network: Any, prompt: Sequence[int]) -> tuple[Any, int]:
        """A cache to go on from for `prompt`, and how many of its tokens that cache already holds.

        At least the last token is left to be read, since its logits are needed. ``(None, 0)`` when nothing fits.

        Raises:
            DecodeError: this object has served another model.
        """
        ids = tuple(prompt)
        with self._lock:
            self._serve(network)
            best, length = None, 0
            for entry in self._entries:
                common = common_prefix(entry, ids)
                if common > length:
                    best, length = entry, common
            if best is None:
                return None, 0
            self._entries.move_to_end(best)
            layers = self._entries[best]
        length = min(length, len(ids) - 1)
        if length == 0:
            return None, 0
        cache = DynamicCache(config=network.config)
        for index, (keys, values) in enumerate(layers):
            layer: Any = cache.layers[index]
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys[:, :, :length], values[:, :, :length]  # no copy: see the class
        return cache, length

    def keep(self, network: Any, prompt: Sequence[int], cache: Any) -> None:
        """Remember `prompt`, the first tokens that `cache` holds."""
        ids = tuple(prompt)
        if len(ids) > self.max_tokens or not _plain(cache):
            return
        with self._lock:
            self._serve(network)
            layers = [(layer.keys[:, :, : len(ids)], layer.values[:, :, : len(ids)]) for layer in cache.layers]
            for entry in [entry for entry in self._entries if ids[: len(entry)] == entry]:
                del self._entries[entry]  # the new prompt holds all of it
            self._entries[ids] = layers
            while len(self._entries) > self.max_entries or sum(map(len, self._entries)) > self.max_tokens:
                self._entries.popitem(last=False)

    def _serve(self, network: Any) -> None:
        if self._network is None:
            self._network = weakref.ref(network)
        elif self._network() is not network:
            raise DecodeError("a PrefixCache serves one model: make another for this one")


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """The number of leading items two sequences share.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return index
    return min(len(first), len(second))


def _plain(cache: Any) -> bool:
    return isinstance(cache, DynamicCache) and all(
        type(layer) is DynamicLayer and layer.is_initialized for layer in cache.layers
    )
