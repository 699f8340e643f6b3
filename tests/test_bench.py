"""What the benchmarks compare is comparable: everybody can write every flow, and writes the one asked for."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "decoding"))
from tiny import tiny_llama

from benchmarks import ours
from benchmarks.formats import json_schema, lark_grammar, plain_dsl, plain_json
from benchmarks.masks import enlarged, measure_masks, names_of
from benchmarks.meter import metered
from benchmarks.peers import Peer
from benchmarks.report import markdown
from benchmarks.run import reference_cases
from benchmarks.teach import Strayed, taught
from decoding import Constraint, Model, Vocabulary, compile_grammar, decode, load_model
from flowdsl import Flow, Instance, compile_dsl


@pytest.fixture(scope="module")
def tiny() -> Model:
    model = load_model(dtype=torch.float32)
    return Model.of(tiny_llama(model.vocabulary.size, 4096), model.tokenizer, "tiny")


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, Flow]]:
    return reference_cases("servicenow", 25)


def test_peers_can_write_every_flow(tiny: Model, servicenow: Instance, cases: list[tuple[str, Flow]]) -> None:
    vocabulary, schema = tiny.vocabulary, json.loads(json_schema(servicenow))
    dsl = compile_grammar(vocabulary, lark_grammar(servicenow))
    for _, flow in cases:
        tokens = vocabulary.encode(plain_dsl(flow, servicenow))
        assert dsl.accepts(tokens) == len(tokens)
        assert compile_dsl(plain_dsl(flow, servicenow), servicenow) == flow
        written = json.loads(plain_json(flow))
        jsonschema.validate(written, schema)
        assert {name: written[name] for name in ("trigger", "components")}.keys() == flow.to_json().keys()


def test_a_taught_model_writes_the_flow(tiny: Model, servicenow: Instance, cases: list[tuple[str, Flow]]) -> None:
    requirement, flow = cases[0]
    result, meter, trace = ours.run(requirement, servicenow, tiny, flow)
    assert result.flow == flow
    decoded = [one for outputs in trace.outputs for one in outputs]
    assert [one.text for one in decoded] == ours.stage_texts(flow, servicenow)
    assert meter.passes > 0 and meter.tokens >= meter.passes and 0 < meter.inside < meter.seconds


def test_what_a_grammar_refuses_is_not_taught(tiny: Model) -> None:
    constraint = Constraint('start: "a" | "b"')
    with taught(tiny.vocabulary, ["b"]):
        assert decode(tiny, [5], constraint, max_tokens=5).text == "b"
    with pytest.raises(Strayed), taught(tiny.vocabulary, ["c"]):
        decode(tiny, [5], constraint, max_tokens=5)


def test_passes_are_counted_at_the_model(tiny: Model) -> None:
    peer = Peer("free", lambda flow, instance: "", list, {})
    meter = peer.run(tiny, [5, 6, 7], None, [8, 9, 10, 11])
    assert (meter.passes, meter.tokens) == (4, 6)
    with metered(tiny.network) as nothing:
        pass
    assert nothing.passes == 0


def test_masks_of_a_larger_catalogue(cases: list[tuple[str, Flow]]) -> None:
    large = enlarged(5_000)
    assert 4_900 < names_of(large) <= 5_000
    [row] = measure_masks({"smart_home": reference_cases("smart_home", 2)}, Vocabulary.from_tekken())
    assert row["flows"] == 2 and row["masks"] > 20
    assert 0 < row["mask_p50_us"] <= row["mask_p99_us"] <= row["mask_max_us"]
    assert "| 40 |" in markdown({"machine": {}, "masks": [row]})
