"""Effort "best": of several outlines the one that is most like all of them."""

from typing import Any

import pytest

from decoding import Model, decode, load_tuned
from flowdsl import check_flow, flow_similarity, generate_flow
from flowdsl.ask import Prompts
from flowdsl.generate import ADAPTER, SAMPLES, WARMTH
from flowdsl.outline import Limits, Outline, read_outline
from flowdsl.pairs import instance_for
from flowdsl.requirement import forms_of

#: Not easy, so that what is sampled differs.
ASKED = (
    "if it rains tomorrow or the wind is strong close everything that is open, otherwise water the garden and "
    "let everybody know"
)


@pytest.fixture(scope="module")
def model() -> Model:
    import torch

    torch.set_num_threads(1)
    return load_tuned(ADAPTER, dtype=torch.float32)


def test_the_outline_most_like_all_is_filled_in(model: Model) -> None:
    house = instance_for("smart_home")
    told: list[Any] = []
    best = generate_flow(ASKED, house, model, effort="best", seed=5, on_event=told.append)
    start = Outline(house, requirement=ASKED, forms=forms_of(ASKED), limits=Limits.for_requirement(ASKED))
    prompt = Prompts(model, ASKED, house, house).outline
    drawn = [decode(model, prompt, start.constraint(), max_tokens=1500)]
    for seed in range(6, 6 + SAMPLES):
        drawn.append(decode(model, prompt, start.constraint(), max_tokens=1500, temperature=WARMTH, seed=seed))
    flows = [read_outline(one.text, start).flow for one in drawn]
    assert len({one.text for one in drawn}) > 1
    risks = [sum(1 - flow_similarity(flow, other, inputs=False) for other in flows) for flow in flows]
    chosen = drawn[risks.index(min(risks))]
    lines = [event["text"] for event in told if event["event"] in {"trigger", "step"}]
    assert lines == chosen.text.splitlines()
    assert flow_similarity(best.flow, flows[risks.index(min(risks))], inputs=False) == 1.0
    assert check_flow(best.flow, house) == []


def test_best_keeps_to_its_budget(model: Model) -> None:
    house = instance_for("smart_home")
    for budget in (60, 90):
        result = generate_flow(ASKED, house, model, effort="best", seed=1, max_tokens=budget)
        assert result.stats.output_tokens <= budget and check_flow(result.flow, house) == []


def test_best_passes_are_more(model: Model) -> None:
    house = instance_for("smart_home")
    fast, best = (generate_flow(ASKED, house, model, effort=effort) for effort in ("fast", "best"))
    assert best.stats.passes > fast.stats.passes
    assert best.dsl == generate_flow(ASKED, house, model, effort="best").dsl


def test_no_time_left_is_no_reason_to_give_up_an_outline(model: Model) -> None:
    house = instance_for("smart_home")
    result = generate_flow(ASKED, house, model, effort="best", deadline=0.0)
    assert check_flow(result.flow, house) == [] and result.stats.finish_reason == "stop"
    assert result.dsl == generate_flow(ASKED, house, model, deadline=0.0).dsl
