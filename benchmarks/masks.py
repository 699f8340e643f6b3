"""Masks and grammars as the catalogue grows: the Mistral-Nemo vocabulary, no model.

Reference flows are written token by token, in both stages, as decoding does. How long a grammar takes until it
is ready for its first mask is one figure, what each mask takes after that is the other. Between them stands the
rehearsal, which `generate_flow` does beside the passes that write the outline.
"""

import contextlib
import gc
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.ours import stage_texts
from benchmarks.teach import Strayed, next_token
from decoding import Constraint, DecodingError, Matcher, Vocabulary, rehearse, with_drafts
from decoding.matcher import Mask
from decoding.output import Bits, Output
from flowdsl import Flow, FlowError, Instance, check_flow
from flowdsl.inputs_drafts import inputs_drafts
from flowdsl.outline import Limits, Outline, read_outline
from flowdsl.pairs import instance_for
from flowdsl.requirement import forms_of
from flowdsl.retrieve import Search
from flowdsl.specialise import inputs_constraint, is_asked

Case = tuple[str, Flow]

INSTANCES = ("smart_home", "bank", "servicenow")
SIZES = (10_000, 100_000)
COLUMNS = 20
_PARTS = "asset audit batch case claim cost device group item ledger member order plan queue rate site task".split()


def measure_masks(cases: Mapping[str, Sequence[Case]], vocabulary: Vocabulary | None = None) -> list[dict[str, Any]]:
    """One row a size: the smaller instances, the bundled one, and that with more and more tables.

    Args:
        cases: requirements and their flows, by the name of the instance.
    """
    words = vocabulary or Vocabulary.from_tekken()
    makers = [(name, lambda name=name: instance_for(name)) for name in INSTANCES]
    makers += [(INSTANCES[-1], lambda size=size: enlarged(size)) for size in SIZES]
    return [_row(words, make, cases[name]) for name, make in makers if cases.get(name)]


def names_of(instance: Instance) -> int:
    """Steps, tables and columns."""
    return len(instance.steps) + len(instance.tables) + sum(len(table.columns) for table in instance.tables)


def enlarged(size: int) -> Instance:
    """The bundled instance with tables added until it has about `size` names."""
    bundled = instance_for(INSTANCES[-1])
    data = bundled.model_dump(mode="json", by_alias=True)
    rng = random.Random(size)
    for number in range((size - names_of(bundled)) // (COLUMNS + 1)):
        columns = [
            {"name": f"u_{rng.choice(_PARTS)}_{rng.choice(_PARTS)}_{number}_{index}", "label": "", "type": "string"}
            for index in range(COLUMNS)
        ]
        name, label = f"u_{rng.choice(_PARTS)}_{number}", f"Table {number}"
        data["tables"].append({"name": name, "label": label, "columns": columns})
    return Instance.model_validate(data | {"name": f"enlarged_{size}"})


def _row(words: Vocabulary, make: Callable[[], Instance], cases: Sequence[Case]) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    instance = make()
    loaded = time.perf_counter() - begun
    Search.of(instance).__dict__["_encoder"] = None  # the drafts go by words alone: no index is made for this
    masks: list[float] = []
    outlines: list[float] = []
    inputs: list[float] = []
    rehearsals: list[float] = []
    written = 0
    gc.collect()
    for requirement, flow in cases:
        if check_flow(flow, instance):
            continue
        with contextlib.suppress(Strayed, DecodingError, FlowError):
            _write(words, instance, requirement, flow, outlines, inputs, rehearsals, masks)
            written += 1
    spent = np.array(masks or [float("nan")])
    return {
        "names": names_of(instance),
        "flows": written,
        "instance_seconds": loaded,
        "first_outline_ms": outlines[0] * 1e3 if outlines else None,
        "outline_ms": statistics.median(outlines) * 1e3 if outlines else None,
        "inputs_ms": statistics.median(inputs) * 1e3 if inputs else None,
        "rehearsal_ms": statistics.median(rehearsals) * 1e3 if rehearsals else None,
        "masks": len(masks),
        "mask_p50_us": float(np.percentile(spent, 50)) * 1e6,
        "mask_p99_us": float(np.percentile(spent, 99)) * 1e6,
        "mask_max_us": float(spent.max()) * 1e6,
        "memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


@contextlib.contextmanager
def _timed_masks(spent: list[float]) -> Iterator[None]:
    """Note what each mask of an output takes; the one that building a grammar ends with belongs to building."""
    settle, mask = Output.settle, Matcher.mask

    def timed(matcher: Matcher) -> Mask:
        started = time.perf_counter()
        found = mask(matcher)
        spent.append(time.perf_counter() - started)
        return found

    def settled(output: Output, limit: int) -> Bits | None:
        with mock.patch.object(Matcher, "mask", timed):
            return settle(output, limit)

    with mock.patch.object(Output, "settle", settled):
        yield


def _write(
    words: Vocabulary,
    instance: Instance,
    requirement: str,
    flow: Flow,
    outlines: list[float],
    inputs: list[float],
    rehearsals: list[float],
    masks: list[float],
) -> None:
    """Both stages of a flow; how long each took until its first mask is noted, and how long a rehearsal after it."""
    outline, *rest = stage_texts(flow, instance)
    begun = time.perf_counter()
    start = Outline(
        instance, requirement=requirement, forms=forms_of(requirement), limits=Limits.for_requirement(requirement)
    )
    with _timed_masks(masks):
        outlines.append(_written(words, start.constraint(), outline, begun))
    scope = read_outline(outline, start).scope()
    asked = [at for at in flow.owners if is_asked(scope, at)]
    for at, text in zip(asked, rest, strict=True):
        begun = time.perf_counter()
        constraint = inputs_constraint(scope, at)
        Output(words, constraint).settle(10_000)
        inputs.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        rehearse(words, with_drafts(constraint, inputs_drafts(requirement, scope, at)))
        rehearsals.append(time.perf_counter() - begun)
        with _timed_masks(masks):
            _written(words, constraint, text, begun)


def _written(words: Vocabulary, constraint: Constraint, text: str, begun: float) -> float:
    """Write `text`; the seconds from `begun` to the first mask."""
    output, raw = Output(words, constraint), text.encode()
    first = None
    while (bits := output.settle(10_000)) is not None:
        first = first or time.perf_counter() - begun
        done = words.decode_bytes(output.tokens)
        if not raw.startswith(done):
            raise Strayed(done.decode("utf-8", "replace")[-40:])
        output.append(next_token(words, raw[len(done) :], bits))
    return first or time.perf_counter() - begun
