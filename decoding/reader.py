"""Forward passes: everything that all rows need next, read at once where the model allows it."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from decoding.cache import Layers, PrefixCache
from decoding.errors import DecodeError
from decoding.lane import Draft, Lane, Logits, Node
from decoding.model import Model, keeps_logits
from decoding.store import Store, is_plain

Rows = npt.NDArray[np.float32]

#: Tokens that one pass reads together, whose rows are one after the other: begin, end, whose they are, and the
#: index of the token that the first of them follows (-1: what its lane has read so far).
Block = tuple[int, int, Lane | None, int]


@dataclass(frozen=True)
class Job:
    """What one row wants from the next pass: `tokens` read, and `drafts` that may follow the last of them."""

    lane: Lane
    tokens: list[int]
    drafts: tuple[Draft, ...] = ()


class Reader(Protocol):
    """Reads rows that share a prefix.

    Attributes:
        held: tokens of the prefix that have been read; the lanes are to begin with the others.
        cached: those of them that were read by an earlier call.
        passes: forward passes so far.
        drafts: whether it can read drafts, that is, forget tokens again.
    """

    held: int
    cached: int
    passes: int
    drafts: bool

    def read(self, jobs: Sequence[Job]) -> None:
        """Read what each job wants, and grow its lane."""

    def retire(self, lane: Lane) -> None:
        """The row has ended: nothing of it will be read again."""

    def keep(self, prefixes: PrefixCache, lane: Lane, output: Sequence[int]) -> None:
        """Leave the prefix, and what was read of a row after it, for later calls."""


def open_reader(model: Model, prefix: Sequence[int], prefixes: PrefixCache | None, rows: int) -> Reader:
    """A reader for `rows` rows after `prefix`; it has read all of that for several rows, what it finds for one."""
    plain = is_plain(model.network)
    start: Layers = []
    known = 0
    if prefixes is not None and plain and prefix:
        start, known = prefixes.find(model.network, prefix)
    kind = PackedReader if plain and packs(model) else ColumnReader
    reader: PackedReader | ColumnReader = kind(model, list(prefix), start, known)
    if rows > 1 and known < len(prefix):
        reader.fill()
        if prefixes is not None:
            reader.keep_prefix(prefixes)
    return reader


class PackedReader:
    """All rows in one sequence, told apart by the mask: no padding, the prefix stored once, any drafts."""

    drafts = True

    def __init__(self, model: Model, prefix: list[int], start: Layers, known: int):
        self.model = model
        self.prefix = prefix
        self.held = self.cached = known
        self.passes = 0
        self.store = Store(model.network, start)
        self.lanes: list[Lane] = []

    def fill(self) -> None:
        """Read the rest of the prefix."""
        tokens = self.prefix[self.held :]
        node = Node(tokens[0])
        self._pass(tokens, list(range(self.held, len(self.prefix))), [], [(0, len(tokens), None, -1)], [node])
        self.held = len(self.prefix)

    def read(self, jobs: Sequence[Job]) -> None:
        self._compact([job.lane for job in jobs])
        tokens: list[int] = []
        positions: list[int] = []
        blocks: list[Block] = []
        wanted: list[Node] = []
        places: list[int] = []
        grown: list[tuple[Lane, list[Node], int]] = []
        base = self.store.used
        for lane, certain, drafts in ((job.lane, job.tokens, job.drafts) for job in jobs):
            if lane not in self.lanes:
                self.lanes.append(lane)
            begin, depth = len(tokens), self.held + len(lane.slots)
            nodes = [Node(token, base + begin + index) for index, token in enumerate(certain)]
            tokens += certain
            positions += range(depth, depth + len(certain))
            blocks.append((begin, len(tokens), lane, -1))
            wanted.append(nodes[-1])
            places.append(len(tokens) - 1)
            stack = [(nodes[-1], len(tokens) - 1, draft) for draft in reversed(drafts)]
            while stack:
                parent, before, draft = stack.pop()
                place = len(tokens)
                node = Node(draft.token, base + place, drafted=True)
                parent.children[draft.token] = node
                tokens.append(draft.token)
                positions.append(positions[before] + 1)
                blocks.append((place, place + 1, lane, before))
                if draft.wanted:
                    wanted.append(node)
                    places.append(place)
                stack += [(node, place, child) for child in reversed(draft.children.values())]
            grown.append((lane, nodes, len(tokens) - begin - len(certain)))
        self._pass(tokens, positions, places, blocks, wanted)
        for lane, nodes, drafted in grown:
            lane.grow(nodes, drafted)

    def retire(self, lane: Lane) -> None:
        if lane in self.lanes:
            self.lanes.remove(lane)

    def keep(self, prefixes: PrefixCache, lane: Lane, output: Sequence[int]) -> None:
        tokens = [*self.prefix[: self.held], *lane.read(output)]
        if not prefixes.holds(tokens):
            slots = np.array([*range(self.held), *lane.slots], dtype=np.int64)
            prefixes.keep(self.model.network, tokens, self.store.copy(slots))

    def keep_prefix(self, prefixes: PrefixCache) -> None:
        """Leave the prefix for later calls."""
        prefixes.keep(self.model.network, self.prefix, self.store.copy(np.arange(self.held)))

    def _compact(self, reading: Sequence[Lane]) -> None:
        """Give up the slots of drafts that did not come, and of rows that have ended.

        Drafts of rows that are not read now may still come.
        """
        ahead = [node for lane in self.lanes if lane not in reading for node in lane.ahead()]
        slots = [*(slot for lane in self.lanes for slot in lane.slots), *(node.slot for node in ahead)]
        live = np.sort(np.array(slots, dtype=np.int64))
        if self.held + len(live) == self.store.used:
            return
        live = np.concatenate([np.arange(self.held), live])
        self.store.compact(live)
        for lane in self.lanes:
            lane.slots = np.searchsorted(live, lane.slots).tolist()
        for node in ahead:
            node.slot = int(np.searchsorted(live, node.slot))

    def _pass(
        self,
        tokens: list[int],
        positions: list[int],
        places: list[int],
        blocks: list[Block],
        wanted: list[Node],
    ) -> None:
        """One forward pass; `wanted` get the logits of `places`."""
        mask = None
        if len(blocks) > 1 or self.store.used:
            mask = self._mask(len(tokens), blocks)
        self.passes += 1
        rows = forward(self.model, tokens, positions, self.store, mask, places or [len(tokens) - 1])
        for node, row in zip(wanted, rows, strict=True):
            node.row = row

    def _mask(self, count: int, blocks: Iterable[Block]) -> torch.Tensor:
        base = self.store.used
        seen = np.zeros((count, base + count), dtype=bool)
        seen[:, : self.held] = True
        for begin, end, lane, before in blocks:
            if before >= 0:
                seen[begin] = seen[before]
                seen[begin, base + begin] = True
                continue
            if lane is not None:
                seen[begin:end, lane.slots] = True
            seen[begin:end, base + begin : base + end] = np.tri(end - begin, dtype=bool)
        hidden = torch.zeros(1, 1, count, base + count, dtype=self.model.dtype)
        return hidden.masked_fill_(torch.from_numpy(~seen), float("-inf"))


class ColumnReader:
    """One row after the other, each with a cache of its own: for models of which nothing is known."""

    drafts = False

    def __init__(self, model: Model, prefix: list[int], start: Layers, known: int):
        self.model = model
        self.prefix = prefix
        self.held = self.cached = known
        self.passes = 0
        self._start = past_of(model.network, start) if known else None
        self._pasts: dict[int, Any] = {}

    def fill(self) -> None:
        """Read the rest of the prefix."""
        _, self._start = self.model.read(self.prefix[self.held :], self._start)
        self.passes += 1
        self.held = len(self.prefix)

    def read(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            past = self._pasts.get(id(job.lane))
            row, past = self.model.read(job.tokens, copy.deepcopy(self._start) if past is None else past)
            self.passes += 1
            self._pasts[id(job.lane)] = past
            nodes = [Node(token) for token in job.tokens]
            nodes[-1].row = _checked(row.numpy()[None], self.model)[0]
            job.lane.grow(nodes, 0)

    def retire(self, lane: Lane) -> None:
        self._pasts.pop(id(lane), None)

    def keep(self, prefixes: PrefixCache, lane: Lane, output: Sequence[int]) -> None:
        past = self._pasts.get(id(lane))
        if past is not None and is_plain(self.model.network):
            tokens = [*self.prefix[: self.held], *lane.read(output)]
            prefixes.keep(self.model.network, tokens, _layers(past))

    def keep_prefix(self, prefixes: PrefixCache) -> None:
        """Leave the prefix for later calls."""
        if is_plain(self.model.network):
            prefixes.keep(self.model.network, self.prefix, _layers(self._start))


def past_of(network: Any, layers: Layers) -> DynamicCache:
    """An ordinary cache that goes on from `layers`."""
    past = DynamicCache(config=network.config)
    kept: Any
    for kept, (keys, values) in zip(past.layers, layers, strict=True):
        kept.lazy_initialization(keys, values)
        kept.keys, kept.values = keys, values  # continuing concatenates, so these are not written to
    return past


def _layers(past: Any) -> Layers:
    return [(layer.keys, layer.values) for layer in past.layers]


@torch.inference_mode()
def forward(
    model: Model,
    tokens: list[int],
    positions: list[int],
    store: Store,
    mask: torch.Tensor | None,
    places: list[int],
) -> Rows:
    """One pass over tokens of several rows; the logits after those at `places`, (places, vocabulary).

    Raises:
        DecodeError: out of memory, or the logits are not numbers.
    """
    place = model.device
    wanted = torch.tensor(places, device=place)
    few = {"logits_to_keep": wanted} if keeps_logits(type(model.network).forward) else {}
    try:
        out = model.network(
            input_ids=torch.tensor([tokens], device=place),
            position_ids=torch.tensor([positions], device=place),
            attention_mask=None if mask is None else mask.to(place),
            past_key_values=store,
            use_cache=True,
            **few,
        )
    except torch.OutOfMemoryError:
        raise DecodeError(
            f"out of memory on {place} while reading {len(tokens)} tokens: shorten the prompts, decode fewer rows at "
            "once, or use a smaller model"
        ) from None
    logits = out.logits[0] if few else out.logits[0, wanted]
    return _checked(logits.float().cpu().numpy(), model)


def _checked(rows: Rows, model: Model) -> Rows:
    if not np.isfinite(rows.max(axis=1)).all():
        raise DecodeError(
            "the model returned logits that are not numbers: its weights are damaged, or its numbers "
            f"overflow in {model.dtype} (try dtype=torch.float32)"
        )
    return rows


_PACKS: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def packs(model: Model) -> bool:
    """Whether the model reads several rows in one sequence as it reads each alone.

    Architectures differ in what they make of a mask and of positions (ALiBi, flash attention, own caches), so
    this is tried once for each model, on a few tokens.
    """
    with _LOCK:
        if model.network not in _PACKS:
            _PACKS[model.network] = _tried(model)
        return _PACKS[model.network]


@torch.inference_mode()
def _tried(model: Model) -> bool:
    ids = np.linspace(5, model.vocabulary.size - 1, 12).astype(int).tolist()
    prefix, first, second, more = ids[:5], ids[5:8], ids[8:10], ids[10:]
    reader = PackedReader(model, prefix, [], 0)
    lanes = [Lane(first), Lane(second)]
    draft = Draft(more[0], True, {more[1]: Draft(more[1], True)})
    try:
        reader.fill()
        reader.read([Job(lanes[0], first, (Draft(more[1], True), draft)), Job(lanes[1], second)])
        found = [lanes[0].logits(more), lanes[1].logits([])]
        reader.read([Job(lanes[1], more[:1])])
        found.append(lanes[1].logits(more[:1]))
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False
    except DecodeError:
        return True  # the first real pass will say it
    whole = [[*prefix, *first, *more], [*prefix, *second], [*prefix, *second, more[0]]]
    exact = model.dtype in (torch.float32, torch.float64)
    for row, tokens in zip(found, whole, strict=True):
        plain = model.read(tokens)[0].numpy()
        if row is None or not np.allclose(row, plain, rtol=0, atol=_spread(plain) * (1e-3 if exact else 0.1)):
            return False
    return True


def _spread(row: Logits) -> float:
    finite = row[np.isfinite(row)]
    return float(finite.max() - finite.min())
