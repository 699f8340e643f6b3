"""What the equivalence-aware FlowSim takes for equal, and what it does not; spans; features."""

import itertools
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.authored import read_authored
from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.decompile import decompile
from flowdsl.equivalence import equivalent_similarity, normal_form
from flowdsl.features import FEATURES, GROUPS, features
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.pairs import Pair, instance_for
from flowdsl.similarity import flow_similarity
from flowdsl.spans import span_f1, word_f1

CORPUS = Path(__file__).resolve().parent / "corpus"


@cache
def corpus() -> tuple[Pair, ...]:
    names = ("servicenow", "bank", "smart_home")
    return tuple(pair for name in names for pair in read_authored(CORPUS / f"{name}.flow", "dev", name))


ON = "ON record_update incident\n  condition: {}\n"
LOOK = "look_up_records incident\n  conditions: {}\n"
LOG, SMS = 'log\n  log_message: "a"\n', 'send_sms\n  recipients: "1"\n  message: "b"\n'
CLOSE = "update_record incident\n  record: {{trigger.current}}\n  values: state = Closed\n"
EQUAL = {
    "AND": (LOOK.format("active = true AND priority = Critical"), LOOK.format("priority = Critical AND active = true")),
    "OR": (
        LOOK.format("active = true OR priority = Critical AND state = New"),
        LOOK.format("state = New AND priority = Critical OR active = true"),
    ),
    "boolean": (LOOK.format("active = true"), LOOK.format("active != false")),
    "empty": (LOOK.format('assigned_to = ""'), LOOK.format("assigned_to ISEMPTY")),
    "not empty": (LOOK.format('assigned_to != ""'), LOOK.format("assigned_to ISNOTEMPTY")),
    "IN": (LOOK.format("state = New OR state = Closed"), LOOK.format("state IN (Closed, New)")),
    "NQ": (LOOK.format("active = true NQ state = New"), LOOK.format("state = New NQ active = true")),
    "twice": (LOOK.format("active = true AND active = true"), LOOK.format("active = true")),
    "sys_id": (
        ON.format("priority = Critical") + LOOK.format("sys_id = {{trigger.current}}"),
        ON.format("priority = Critical") + LOOK.format("sys_id = {{trigger.current.sys_id}}"),
    ),
    "order": (LOG + SMS, SMS + LOG),
    "order, renumbered": (
        LOG + LOOK.format("active = true") + "FOREACH\n  items: {{2.Records}}\nBREAKABLE END\n".replace("BREAKABLE ", LOG),
        LOOK.format("active = true") + LOG + "FOREACH\n  items: {{1.Records}}\n" + LOG + "END\n",
    ),
    "branches": (
        f"PARALLEL\nBRANCH\n{LOG}BRANCH\n{SMS}END\n",
        f"PARALLEL\nBRANCH\n{SMS}BRANCH\n{LOG}END\n",
    ),
    "the end": (LOG + "STOP\n", LOG),
}  # fmt: skip
ASSIGN = "update_record incident\n  record: {{{{trigger.current}}}}\n  values: {}\n"
DIFFERENT = {
    "another value": (LOOK.format("active = true"), LOOK.format("active = false")),
    "AND and OR": (
        LOOK.format("active = true AND priority = Critical"),
        LOOK.format("active = true OR priority = Critical"),
    ),
    "OR of other pairs": (
        LOOK.format("active = true OR priority = Critical AND state = New"),
        LOOK.format("active = true OR state = New AND priority = Critical"),
    ),
    "two logs": (LOG + LOG.replace('"a"', '"b"'), LOG.replace('"a"', '"b"') + LOG),
    "one table": (
        ON.format("active = true") + CLOSE + LOOK.format("active = true"),
        ON.format("active = true") + LOOK.format("active = true") + CLOSE,
    ),
    "reads what was set": (
        ON.format("active = true") + CLOSE + LOG.replace('"a"', "{{trigger.current.state}}"),
        ON.format("active = true") + LOG.replace('"a"', "{{trigger.current.state}}") + CLOSE,
    ),
    "a wait between": (
        LOG + "TIMER\n  duration_type: explicit_duration\n  duration: 1 hour\n" + SMS,
        SMS + "TIMER\n  duration_type: explicit_duration\n  duration: 1 hour\n" + LOG,
    ),
    "in and out of a block": (f"TRY\n{LOG}CATCH\n{SMS}END\n", f"TRY\n{SMS}CATCH\n{LOG}END\n"),
}


@pytest.mark.parametrize("name", EQUAL)
def test_declared_rewrites_are_equal(name: str, servicenow: Instance) -> None:
    first, second = (compile_dsl(text, servicenow) for text in EQUAL[name])
    assert equivalent_similarity(first, second, servicenow) == 1.0
    assert equivalent_similarity(second, first, servicenow) == 1.0
    assert normal_form(first, servicenow) == normal_form(second, servicenow)


def test_assignments_come_sorted(servicenow: Instance) -> None:
    base = ON.format("active = true")
    first, second = (
        compile_dsl(base + ASSIGN.format(text), servicenow)
        for text in ("state = Closed, active = false", "active = false, state = Closed")
    )
    assert first != second and normal_form(first, servicenow) == normal_form(second, servicenow)


def test_the_rewrites_are_told_apart_by_the_published_measure(servicenow: Instance) -> None:
    """Else there would be no need for them; it sorts conditions by itself."""
    told = {
        name
        for name, (first, second) in EQUAL.items()
        if flow_similarity(compile_dsl(first, servicenow), compile_dsl(second, servicenow)) < 1
    }
    assert told >= {
        "boolean",
        "empty",
        "not empty",
        "IN",
        "sys_id",
        "order",
        "order, renumbered",
        "branches",
        "the end",
    }


@pytest.mark.parametrize("name", DIFFERENT)
def test_nothing_else_is_equal(name: str, servicenow: Instance) -> None:
    first, second = (compile_dsl(text, servicenow) for text in DIFFERENT[name])
    assert normal_form(first, servicenow) != normal_form(second, servicenow)


def test_defaults_may_be_left_out() -> None:
    field = {"name": "level", "type": "string", "default": "info"}
    instance = Instance.from_json({"name": "x", "steps": [{"name": "log", "inputs": [field]}]})
    texts = ("log\n", 'log\n  level: "info"\n', 'log\n  level: "error"\n')
    plain, default, other = (normal_form(compile_dsl(text, instance), instance) for text in texts)
    assert plain == default != other


@pytest.mark.parametrize("pair", [pytest.param(pair, id=pair.id) for pair in corpus()])
def test_normal_form_is_a_valid_flow_of_the_same_parts(pair: Pair) -> None:
    flow, instance = pair.compiled(), instance_for(pair.instance)
    normal = normal_form(flow, instance)
    assert check_flow(normal, instance) == []
    assert normal_form(normal, instance) == normal
    assert compile_dsl(decompile(normal, instance), instance) == normal
    assert equivalent_similarity(normal, flow, instance) == 1.0
    before, after = (Counter((c.definition, c.annotation) for c in f.components) for f in (flow, normal))
    assert after <= before and (before - after).total() <= 1  # but for a STOP at the end


@given(st.sampled_from(corpus()), st.randoms(use_true_random=False))
def test_order_of_conditions_never_matters(pair: Pair, random: object) -> None:
    instance, flow = instance_for(pair.instance), pair.compiled()

    def shuffled(owner: object) -> object:
        inputs = []
        for item in owner.inputs:  # type: ignore[attr-defined]
            parts = item.value.split("^")
            plain = len(parts) > 1 and not any(part.startswith(("OR", "NQ")) for part in parts)
            if plain:
                random.shuffle(parts)  # type: ignore[attr-defined]
            inputs.append(item.model_copy(update={"value": "^".join(parts)}))
        return owner.model_copy(update={"inputs": tuple(inputs)})  # type: ignore[attr-defined]

    change = {"components": tuple(map(shuffled, flow.components)), "trigger": flow.trigger and shuffled(flow.trigger)}
    assert normal_form(flow.model_copy(update=change), instance) == normal_form(flow, instance)


def test_never_less_than_flowsim_and_safe_for_what_is_no_flow(servicenow: Instance) -> None:
    pairs = [pair for pair in corpus() if pair.instance == "servicenow"][:12]
    for first, second in itertools.pairwise(pairs):
        mine, wanted = first.compiled(), second.compiled()
        assert flow_similarity(mine, wanted) <= equivalent_similarity(mine, wanted, servicenow) <= 1
    wanted = pairs[0].compiled()
    for broken in ({"components": 3}, "no JSON", {"trigger": {"type": "never"}, "components": []}):
        assert equivalent_similarity(broken, wanted, servicenow) == flow_similarity(broken, wanted)


# -- spans -------------------------------------------------------------------------------------


def _flow(*steps: tuple[str, str]) -> Flow:
    parts = [{"definition": name, "annotation": text, "order": i} for i, (name, text) in enumerate(steps, start=1)]
    return Flow.from_json({"trigger": None, "components": parts})


def test_span_f1_by_hand() -> None:
    wanted = _flow(("log", "log it"), ("send_sms", "text the caller"))
    assert span_f1(wanted, wanted) == word_f1(wanted, wanted) == 1.0
    # one of two spans right, and one of one: P = 1, R = 1/2
    assert span_f1(_flow(("log", "log it")), wanted) == pytest.approx(2 / 3)
    # two of two words right, of five
    assert word_f1(_flow(("log", "log it")), wanted) == pytest.approx(2 * 2 / (2 + 5))
    # the right words at the wrong step are wrong, in any order
    assert span_f1(_flow(("send_sms", "log it"), ("log", "text the caller")), wanted) == 0.0
    assert span_f1(_flow(("send_sms", "text the caller"), ("log", "log it")), wanted) == 1.0
    assert span_f1("no JSON", wanted) == 0.0 and span_f1("no JSON", Flow()) == 1.0
    # without annotations the steps are there all the same
    assert span_f1(_flow(("log", "")), _flow(("log", "log it"))) == 0.0


@given(st.sampled_from(corpus()), st.sampled_from(corpus()))
def test_span_f1_is_symmetric_and_bounded(first: Pair, second: Pair) -> None:
    mine, wanted = first.compiled(), second.compiled()
    for measure in (span_f1, word_f1):
        assert 0 <= measure(mine, wanted) == measure(wanted, mine) <= 1
        assert measure(mine, mine) == 1.0


# -- features ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (LOG, {"no trigger"}),
        (f"TRY\n{LOG}CATCH\n{SMS}END\n", {"TRY", "STRUCTURE", "no trigger"}),
        (f"PARALLEL\nBRANCH\n{LOG}BRANCH\n{SMS}END\n", {"PARALLEL", "STRUCTURE", "no trigger"}),
        (ON.format("priority = Critical") + LOG, {"trigger conditions", "INPUT"}),
        (
            ON.format("priority = Critical AND state = New") + LOG,
            {"trigger conditions", "multiple conditions", "INPUT"},
        ),
        (
            ON.format("active = true") + ASSIGN.format('work_notes = "x"'),
            {"trigger conditions", "work notes or description", "INPUT"},
        ),
        (
            ON.format("active = true") + ASSIGN.format('short_description = "x"'),
            {"trigger conditions", "INPUT"},
        ),
        (LOOK.format("sys_created_on ON today"), {"date-time", "ENTERPRISE", "no trigger"}),
        ("ON daily\n  time: 07:00\n" + LOG, set()),
        ("ON sla_task\n" + LOG, {"SLA", "ENTERPRISE"}),
        ("ON service_catalog\n" + LOG, {"service catalog", "ENTERPRISE"}),
        ("TIMER\n  duration_type: explicit_duration\n  duration: 1 hour\n" + LOG,
         {"other logic", "date-time", "ENTERPRISE", "no trigger"}),
        ('"a b" log\n  log_message: "a"\n"b" log\n  log_message: "a"\n', {"implicit", "no trigger"}),
    ],
)  # fmt: skip
def test_features(text: str, wanted: set[str], servicenow: Instance) -> None:
    assert features(compile_dsl(text, servicenow), servicenow) == wanted


def test_features_of_the_corpus() -> None:
    rows = [features(pair.compiled(), instance_for(pair.instance), pair.tags) for pair in corpus()]
    assert all(row <= set(FEATURES) for row in rows)
    for group, members in GROUPS.items():
        assert all((group in row) == bool(row & set(members)) for row in rows)
        assert all(any(member in row for row in rows) for member in members)
    assert "edit" in features(Flow(), instance_for("servicenow"), prior=Flow())
    assert "implicit" in features(Flow(), instance_for("servicenow"), ("implicit",))
