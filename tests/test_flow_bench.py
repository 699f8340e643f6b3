"""Flow-Bench's layout and notation, on a small benchmark of our own."""

import ast
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowdsl.bench_script import InvalidScript, script_flow
from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.evaluate import evaluate
from flowdsl.flow_bench import Benchmark, InvalidBenchmark, catalogue_instance, read_benchmark, recalls, step_name
from flowdsl.flow_bench_report import flow_bench_tables, hallucinated, right
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.pairs import Pair
from flowdsl.records import Record
from flowdsl.retrieve import Search
from flowdsl.structure import structure
from flowdsl.systems import Answer, Nearest

GET, MAKE, TELL = (
    "Garden_Plot__1_0_0__retrievewithwhere_Plot",
    "Garden_Bed__1_0_0__create_Bed",
    "Post_Card__2_1_0__SEND_Card",
)
LONG = "Very_" + "long_" * 60 + "__1_0_0__create_it"
CATALOGUE = [
    {"id": GET, "description": "Retrieve all plots of the garden"},
    {"id": MAKE, "description": "Create a bed"},
    {"id": TELL, "description": "Send a postcard"},
    {"id": LONG, "description": "Something else"},
    {"id": GET, "description": "the same again"},
]
YAML = f"""
actions:
  - $ref: "catalogue.json"
tests:
  - _metadata: {{tags: ["1", conditional], uid: 1}}
    input:
      utterance: |-
        Look at all plots,
        and make a bed on each that is dry
      prior_sequence: ""
    expected_output:
      sequence:
        - |-
          plots = {GET}()
          for plot in plots:
            if plot.state == "dry":
              bed = {MAKE}()
  - _metadata: {{tags: ["2", linear_update, user_task], uid: 2}}
    input:
      utterance: Then send a postcard
      prior_sequence:
        - |-
          bed = {MAKE}()
          task = user_task("water it")
    expected_output:
      sequence:
        - |-
          bed = {MAKE}()
          task = user_task("water it")
          card = {TELL}()
  - _metadata: {{tags: [linear], uid: 3}}
    input: {{utterance: Fly}}
    expected_output: {{sequence: ["x = Unheard_Of__1_0_0__fly_Of()"]}}
  - _metadata: {{tags: [linear], uid: 4}}
    input: {{utterance: Define}}
    expected_output: {{sequence: ["def f(): pass"]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalogue.json").write_text(json.dumps(CATALOGUE))
    (tmp_path / "data" / "garden.yaml").write_text(YAML)
    (tmp_path / "data" / "other.yml").write_text("a: 1\n")
    return tmp_path


@pytest.fixture
def benchmark_(folder: Path) -> Benchmark:
    return read_benchmark(folder)


# -- the notation ------------------------------------------------------------------------------


def _told(text: str) -> list[tuple[str, int | None, str]]:
    return [(c.definition, c.block, "; ".join(i.value for i in c.inputs)) for c in script_flow(text).components]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A()", [("A", None, "")]),
        ('t = user_task("do it")', [("user_task", None, "do it")]),
        ("  a = A()\n  for x in a:\n    B()", [("A", None, ""), ("FOREACH", None, "{{1.records}}"), ("B", 2, "")]),
        ("a = A()\nfor x in a.parts:\n  B()", [("A", None, ""), ("FOREACH", None, "{{1.record.parts}}"), ("B", 2, "")]),
        (
            "a = A()\nif a.b == 'c' and a.d != 3:\n  B()\nelif not a.e:\n  C()\nelse:\n  D()",
            [
                ("A", None, ""),
                ("IF", None, "{{1.record.b}}=c^{{1.record.d}}!=3"),
                ("B", 2, ""),
                ("ELSEIF", None, "{{1.record.e}}ISEMPTY"),
                ("C", 4, ""),
                ("ELSE", None, ""),
                ("D", 6, ""),
            ],
        ),
        (
            "a = A()\nif a.b == true:\n  B()\nelse:\n  if a.c > 1:\n    C()",
            [
                ("A", None, ""),
                ("IF", None, "{{1.record.b}}=true"),
                ("B", 2, ""),
                ("ELSE", None, ""),
                ("IF", 4, "{{1.record.c}}>1"),
                ("C", 5, ""),
            ],
        ),
        (
            "a = A()\nfor x in a:\n  for y in x.parts:\n    if x.n == y.n:\n      break",
            [
                ("A", None, ""),
                ("FOREACH", None, "{{1.records}}"),
                ("FOREACH", 2, "{{2.item.parts}}"),
                ("IF", 3, "{{2.item.n}}={{3.item.n}}"),
                ("BREAK", 4, ""),
            ],
        ),
        ("a = A()\na = B()\nif a:\n  C()", [("A", None, ""), ("B", None, ""), ("IF", None, "{{2.record}}ISNOTEMPTY"), ("C", 3, "")]),
        ("a = A()\nif a.s in ['x', 'y']:\n  C()", [("A", None, ""), ("IF", None, "{{1.record.s}}INx,y"), ("C", 2, "")]),
        ("a = A()\nif 'x' not in a.s:\n  C()", [("A", None, ""), ("IF", None, "{{1.record.s}}NOT LIKEx"), ("C", 2, "")]),
        ("a = A()\nwhile a.s != 'ok':\n  a = B()", [("A", None, ""), ("DOUNTIL", None, "{{3.record.s}}=ok"), ("B", 2, "")]),
    ],
)  # fmt: skip
def test_scripts(text: str, wanted: list[tuple[str, int | None, str]]) -> None:
    assert _told(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = A(", "line 1: "),
        ("A()\ndef f(): pass", "line 2: a flow cannot say 'def f():'"),
        ("if b.c == 1:\n  A()", "line 1: a flow cannot say 'b'"),
        ("a = 3", "line 1: a flow cannot say '3'"),
        ("a = A()\nif a.f(1) == 2:\n  A()", "line 2: a flow cannot say 'a.f(1)'"),
    ],
)
def test_what_a_flow_cannot_say(text: str, message: str) -> None:
    with pytest.raises(InvalidScript, match=re.escape(message)):
        script_flow(text)


_ATOMS = st.sampled_from([f"a.{name} == '1'" for name in "pqr"] + [f"a.{name} != '1'" for name in "pqr"])
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=6,
)


def _holds(query: str, values: dict[str, str]) -> bool:
    """``^OR`` binds tighter than ``^``, ``^NQ`` loosest."""

    def atom(text: str) -> bool:
        left, operator, right = text.partition("!=") if "!=" in text else text.partition("=")
        return (values[left.strip("{}").rpartition(".")[2]] == right) == (operator == "=")

    return any(all(any(map(atom, part.split("^OR"))) for part in all_of.replace("^OR", "\0").split("^")
                   for part in [part.replace("\0", "^OR")]) for all_of in query.split("^NQ"))  # fmt: skip


@given(_EXPRESSIONS, st.fixed_dictionaries({name: st.sampled_from("12") for name in "pqr"}))
def test_conditions_mean_the_same(expression: str, values: dict[str, str]) -> None:
    try:
        flow = script_flow(f"a = A()\nif {expression}:\n  B()")
    except InvalidScript:
        assume(False)
    query = flow.components[1].inputs[0].value
    record = type("Record", (), values)
    assert _holds(query, values) == eval(compile(ast.parse(expression, mode="eval"), "", "eval"), {"a": record})


# -- the folder --------------------------------------------------------------------------------


def test_the_folder_is_read(benchmark_: Benchmark) -> None:
    instance, (first, second) = benchmark_.instance, benchmark_.cases
    assert [step.name for step in instance.steps] == [GET, MAKE, TELL, step_name(LONG), "user_task"]
    assert first.pair.requirement == "Look at all plots, and make a bed on each that is dry"
    assert first.pair.tags == ("conditional",) and first.pair.prior is None
    assert first.activities == {GET, MAKE} and second.activities == {MAKE, TELL}
    assert compile_dsl(first.pair.flow, instance) == first.expected[0]
    assert [c.definition for c in first.expected[0].components] == [GET, "FOREACH", "IF", MAKE]
    assert second.pair.prior == f'1 "Create a bed" {MAKE}\n2 "water it" user_task\n  task: "water it"\n'
    assert [text.partition(": ")[0] for text in benchmark_.skipped] == ["garden.yaml, uid 3", "garden.yaml, uid 4"]
    assert "Unheard_Of" in benchmark_.skipped[0] and "def f():" in benchmark_.skipped[1]


def test_one_yaml_file_is_enough(folder: Path, benchmark_: Benchmark) -> None:
    assert read_benchmark(folder / "data" / "garden.yaml") == benchmark_


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: (data / "garden.yaml").unlink(), "holds no cases"),
        (lambda data: (data / "garden.yaml").write_text("tests: []\n"), "holds no cases"),
        (lambda data: (data / "garden.yaml").write_text(YAML.replace("actions:", "others:")), "holds no catalogue"),
        (lambda data: (data / "catalogue.json").unlink(), "cannot read the catalogue"),
        (lambda data: (data / "catalogue.json").write_text("{"), "cannot read the catalogue"),
        (lambda data: (data / "garden.yaml").write_text("tests: ["), "cannot read .*garden.yaml"),
    ],
)
def test_what_is_missing_is_told(folder: Path, change: Any, message: str) -> None:
    change(folder / "data")
    with pytest.raises(InvalidBenchmark, match=message):
        read_benchmark(folder)


def test_labels_are_words() -> None:
    labels = [step.label for step in catalogue_instance(CATALOGUE).steps]
    assert labels[:3] == ["Garden Plot retrieve", "Garden Bed create", "Post Card SEND"]


# -- figures -----------------------------------------------------------------------------------


def _record(case: Any, text: str, instance: Instance) -> Record:
    candidate = compile_dsl(text, instance).to_json()
    return Record(case.pair.id, "", {}, candidate, {"outline": 0.5}, {"seconds": 2.0}, tags=case.pair.tags)


def test_exact_structure(benchmark_: Benchmark) -> None:
    case, instance = benchmark_.cases[0], benchmark_.instance
    same = case.pair.flow
    for text, exact, with_conditions in [
        (same, True, True),
        (same.replace('"dry"', '"DRY"'), True, True),
        (same.replace('"dry"', '"wet"'), True, False),
        (same.replace(f"4 {MAKE}", f"4 {TELL}"), False, False),
        (f"{GET}\n{MAKE}\n", False, False),
    ]:
        assert check_flow(compile_dsl(text, instance), instance) == []
        record = _record(case, text, instance)
        assert (right(case, record), right(case, record, True)) == (exact, with_conditions), text
    assert not right(case, replace(_record(case, same, instance), candidate=None))


def test_a_placeholder_is_a_user_task(benchmark_: Benchmark) -> None:
    case, instance = benchmark_.cases[1], benchmark_.instance
    assert right(case, _record(case, f'{MAKE}\n"water it" PLACEHOLDER\n{TELL}\n', instance), True)


def test_order_of_alternatives_and_of_parts() -> None:
    def flow(condition: str) -> Flow:
        part = {
            "category": "flowlogic",
            "definition": "IF",
            "order": 1,
            "inputs": [{"name": "condition", "value": condition}],
        }
        return Flow.from_json({"components": [part]})

    first, second = (
        flow("{{1.record.a}}=1^{{1.record.b}}=2^OR{{1.record.c}}=3"),
        flow("{{1.record.b}}=2^OR{{1.record.c}}=3^{{1.record.a}}=1"),
    )
    assert structure(first, True) == structure(second, True) != structure(flow("{{1.record.a}}=1"), True)
    assert structure(first) == structure(flow("{{1.record.a}}=1"))


def test_hallucinated_activities_are_counted(benchmark_: Benchmark) -> None:
    parts = [
        {"definition": name, "order": i}
        for i, name in enumerate([MAKE, "Fly__1_0_0__x", "placeholder", "user_task"], start=1)
    ]
    record = Record("x", "", {}, {"trigger": None, "components": parts}, {}, {})
    assert hallucinated(benchmark_, record) == (1, 4)
    assert hallucinated(benchmark_, replace(record, candidate=None)) == (0, 0)


def test_recall_counts_what_is_new(benchmark_: Benchmark) -> None:
    found = recalls(benchmark_, 1)
    search = Search.of(benchmark_.instance)
    first = search.steps(benchmark_.cases[0].pair.requirement, 1)[0].name
    assert found["garden-1"] == (0.5 if first in {GET, MAKE} else 0.0)
    assert found["garden-2"] == float(search.steps("Then send a postcard", 1)[0].name == TELL)
    assert set(recalls(benchmark_, 50).values()) <= {0.0, 0.5, 1.0}


def test_a_run_and_its_tables(benchmark_: Benchmark, tmp_path: Path) -> None:
    class Half:
        @property
        def settings(self) -> dict[str, str]:
            return {"system": "half"}

        def answer(self, pair: Pair, instance: Instance) -> Answer:
            return Answer.of(compile_dsl(pair.prior or pair.flow, instance), instance)

    pairs = [case.pair for case in benchmark_.cases]
    run = evaluate(pairs, Half(), tmp_path / "run.jsonl", "half", instances=lambda _: benchmark_.instance)
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:]
        for line in flow_bench_tables(benchmark_, run).splitlines()
        if "|" in line
    }
    assert rows["all"][0].strip() == "2" and rows["all"][1].strip().startswith("0.500 [")
    assert rows["conditional"][1].strip() == rows["conditional"][2].strip() == "1.000 [1.000, 1.000]"
    assert rows["linear_update"][1].strip() == "0.000 [0.000, 0.000]" == rows["user_task"][1].strip()
    assert rows["all"][4].strip() == "100.0%" and rows["all"][5].strip() == "0.0%"
    copied = evaluate(pairs, Nearest(()), tmp_path / "copy.jsonl", instances=lambda _: benchmark_.instance)
    assert right(benchmark_.cases[1], copied.records[1]) is False and copied.records[1].candidate is not None
    assert copied.records[0].error == "there are no pairs to copy"


def test_commands(folder: Path, tmp_path: Path) -> None:
    def flowdsl(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flowdsl", "evaluate", "flow-bench", *map(str, arguments)]
        return subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)

    done = flowdsl(folder, "--recall")
    assert done.returncode == 0 and "2 cases, 4 activities" in done.stdout and "uid 3" in done.stdout, done.stderr
    done = flowdsl(folder, "--export", tmp_path / "catalogue-instance.json")
    assert done.returncode == 0 and Instance.load(tmp_path / "catalogue-instance.json") == catalogue_instance(CATALOGUE)
    done = flowdsl(tmp_path / "nowhere", "--recall")
    assert done.returncode == 1 and "holds no cases" in done.stderr
