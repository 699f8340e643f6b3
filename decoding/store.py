"""Keys and values of one call, all rows in one sequence of slots, written in place.

    slot   0 .. P-1    P ..                                   used
           prefix      a a a b b c c c | a b b c   (rows as they were read)

Which slots a token sees is said by the mask of its pass, so rows of different lengths need no padding, the
prefix is stored once for all rows, and a draft may branch. `transformers` concatenates new tensors at each
pass instead; measured with the embedded model in bf16 behind 500 tokens, one thread, a pass over one token
takes 31 ms here and 42 ms there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from decoding.cache import Layers

Slots = npt.NDArray[np.int64]

#: Slots that a store has room for at first, and grows by at least.
ROOM = 256


class SlotLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # of transformers
    """One layer's keys and values, with room for more behind them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.used = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.key_room, self.value_room = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write behind what is there; all keys and values so far, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin, end = self.used, self.used + key_states.shape[2]
        if end > self.key_room.shape[2]:
            size = max(end + ROOM, end * 5 // 4)
            self.key_room = self._larger(self.key_room, size)
            self.value_room = self._larger(self.value_room, size)
        self.key_room[:, :, begin:end] = key_states
        self.value_room[:, :, begin:end] = value_states
        self.crop(end)
        return self.keys, self.values  # type: ignore[return-value]  # set by crop

    def crop(self, used: int) -> None:
        """Keep the first `used` slots."""
        self.used = used
        self.keys, self.values = self.key_room[:, :, :used], self.value_room[:, :, :used]

    def get_seq_length(self) -> int:
        return self.used

    def _larger(self, room: torch.Tensor, size: int) -> torch.Tensor:
        larger = room.new_empty(*room.shape[:2], size, room.shape[3])
        larger[:, :, : self.used] = room[:, :, : self.used]
        return larger


class Store(Cache):
    """The slots of all layers.

    Args:
        network: a model that `is_plain`.
        start: keys and values of the first slots; copied.
    """

    @torch.inference_mode()
    def __init__(self, network: Any, start: Layers):
        layers = [SlotLayer() for _ in DynamicCache(config=network.config).layers]
        super().__init__(layers=layers)  # type: ignore[arg-type]
        self.slots = layers
        for layer, (keys, values) in zip(layers, start, strict=False):
            layer.update(keys, values)

    @property
    def used(self) -> int:
        """Slots in use."""
        return self.slots[0].used

    @torch.inference_mode()
    def compact(self, live: Slots) -> None:
        """Keep the slots `live` (rising), moved to the front: the first of them becomes slot 0, and so on."""
        stays = int(np.argmin(np.append(live == np.arange(len(live)), False)))  # as many lie right already
        if stays < len(live):
            index = torch.from_numpy(live[stays:]).to(self.slots[0].device)
            for layer in self.slots:
                for room in (layer.key_room, layer.value_room):
                    room[:, :, stays : len(live)] = room.index_select(2, index)
        for layer in self.slots:
            layer.crop(len(live))

    @torch.inference_mode()
    def copy(self, slots: Slots) -> Layers:
        """The keys and values of some slots, in that order."""
        index = torch.from_numpy(slots).to(self.slots[0].device)
        return [
            (layer.key_room.index_select(2, index), layer.value_room.index_select(2, index)) for layer in self.slots
        ]


def is_plain(network: Any) -> bool:
    """Whether every layer is attention over all positions, so that a slot holds all that a token leaves behind."""
    layers = DynamicCache(config=network.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
