"""Seconds, passes and tokens a flow: flowdsl and its peers on the same requirements and flows, in turns."""

import contextlib
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks import ours
from benchmarks.formats import plain_dsl
from benchmarks.meter import Meter
from benchmarks.peers import Peer, peers
from benchmarks.teach import Strayed
from decoding import DecodingError, Model
from decoding.cache import common_prefix
from flowdsl import Flow, FlowError, Instance, check_flow
from flowdsl.retrieve import Search

OURS = "flowdsl"


@dataclass(frozen=True)
class Case:
    """A requirement, and the flow that everybody is to write; None: whatever flowdsl makes of it."""

    requirement: str
    flow: Flow | None


@dataclass(frozen=True)
class Measure:
    """One contender on one case. Tokens are those of the text that was written; times are seconds."""

    contender: str
    case: int
    seconds: float
    passes: int
    read_tokens: int
    text_tokens: int
    outside: float
    components: int
    valid: bool
    parts: dict[str, float]


def measure_speed(model: Model, instance: Instance, cases: Sequence[Case], say: Any = print) -> dict[str, Any]:
    """Every contender on every case, one after the other, in another order each time."""
    Search.of(instance).steps("warm up")
    others = peers(model, instance)
    prompts = []
    measures: list[Measure] = []
    skipped: list[str] = []
    for case in cases[:2]:  # twice, so that nothing is met for the first time afterwards
        try:
            prompts.append(ours.run(case.requirement, instance, model, case.flow)[2].prompts[0])
        except (Strayed, DecodingError, FlowError):
            continue
    shared = _read(model, prompts[0][: common_prefix(*prompts[:2])] if len(prompts) > 1 else [])
    for peer in others:  # some compile kernels at their first token
        with contextlib.suppress(ValueError, AssertionError):
            peer.run(model, model.vocabulary.encode("Hello"), None, model.vocabulary.encode('ON "a')[:2])
    for number, case in enumerate(cases):
        try:
            result, meter, trace = ours.run(case.requirement, instance, model, case.flow)
        except (Strayed, DecodingError, FlowError) as error:
            skipped.append(f"{case.requirement[:60]}: {error}")
            say(f"{number + 1:3} skipped: {error}")
            continue
        flow = result.flow
        count = len(model.vocabulary.encode(plain_dsl(flow, instance)))
        valid = not check_flow(flow, instance)
        measures.append(_measure(OURS, number, meter, count, flow, valid, _parts(trace, meter)))
        turns = [others[(number + turn) % len(others)] for turn in range(len(others))]
        for peer in turns:
            measures.append(_peer(model, instance, peer, number, trace.prompts[0], shared, flow))
        say(f"{number + 1:3} {_line(measures, number)}  {case.requirement[:50]}")
    return {
        "measures": [asdict(one) for one in measures],
        "skipped": skipped,
        "compile_seconds": {peer.name: peer.compiled for peer in others},
        "table": table(measures),
    }


def _peer(
    model: Model, instance: Instance, peer: Peer, number: int, prompt: list[int], shared: Any, flow: Flow
) -> Measure:
    tokens = model.vocabulary.encode(peer.text(flow, instance))
    try:
        meter = peer.run(model, prompt, shared, tokens)
    except (ValueError, AssertionError) as error:
        print(f"    {peer.name}: {error}", file=sys.stderr)
        return _measure(peer.name, number, Meter(float("nan")), len(tokens), flow, False, {})
    return _measure(peer.name, number, meter, len(tokens), flow, True, {})


def _measure(
    name: str, number: int, meter: Meter, tokens: int, flow: Flow, valid: bool, parts: dict[str, float]
) -> Measure:
    components = len(flow.components) + (flow.trigger is not None)
    outside = meter.seconds - meter.inside
    return Measure(name, number, meter.seconds, meter.passes, meter.tokens, tokens, outside, components, valid, parts)


def _parts(trace: ours.Trace, meter: Meter) -> dict[str, float]:
    """Where flowdsl's time went, and what each stage took."""
    outlines, inputs = trace.outputs[:1], trace.outputs[1:]
    decoded = [one for outputs in trace.outputs for one in outputs]
    return {
        "outline_tokens": sum(len(one.tokens) for outputs in outlines for one in outputs),
        "outline_passes": sum(one.stats.passes for outputs in outlines for one in outputs),
        "inputs_tokens": sum(len(one.tokens) for outputs in inputs for one in outputs),
        "inputs_passes": sum(max((one.stats.passes for one in outputs), default=0) for outputs in inputs),
        "row_passes": sum(one.stats.row_passes for one in decoded),
        "drafted": sum(one.stats.drafted_tokens for one in decoded),
        "accepted": sum(one.stats.accepted_tokens for one in decoded),
        "forced": sum(one.stats.forced_tokens for one in decoded),
        "prompt_tokens": sum(one.stats.prompt_tokens for one in decoded),
        "decode_python": sum(one.stats.mask_seconds for one in decoded),
        "model": meter.inside,
    }


def _read(model: Model, tokens: list[int]) -> DynamicCache:
    cache = DynamicCache(config=model.network.config)
    if tokens:
        with torch.inference_mode():
            model.network(input_ids=torch.tensor([tokens], device=model.device), past_key_values=cache, use_cache=True)
    return cache


def _line(measures: Sequence[Measure], number: int) -> str:
    return ", ".join(f"{one.contender} {one.seconds:.1f} s" for one in measures if one.case == number)


def table(measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """One row a contender: medians over the cases, and of the ratios to flowdsl case by case."""
    base = {one.case: one for one in measures if one.contender == OURS}
    rows = []
    for name in dict.fromkeys(one.contender for one in measures):
        mine = [one for one in measures if one.contender == name and one.seconds == one.seconds]
        if not mine:
            continue
        ratios = [one.seconds / base[one.case].seconds for one in mine]
        rows.append(
            {
                "contender": name,
                "flows": len(mine),
                "seconds": statistics.median(one.seconds for one in mine),
                "ratio": statistics.median(ratios),
                "tokens": statistics.median(one.text_tokens for one in mine),
                "passes": statistics.median(one.passes for one in mine),
                "tokens_per_pass": sum(one.text_tokens for one in mine) / sum(one.passes for one in mine),
                "passes_per_component": sum(one.passes for one in mine) / sum(one.components for one in mine),
                "tokens_per_component": sum(one.text_tokens for one in mine) / sum(one.components for one in mine),
                "outside_share": sum(one.outside for one in mine) / sum(one.seconds for one in mine),
                "valid": sum(one.valid for one in mine) / len(mine),
            }
        )
    return rows
