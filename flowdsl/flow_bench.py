"""IBM Flow-Bench (arXiv 2505.11646): its catalogue as an instance, its cases as pairs, its figures.

The folder is laid out as the public repository has it: YAML files with `tests`, each naming its catalogue
(`actions: - $ref: ....json`). Nothing of the benchmark comes with this package.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from flowdsl.bench_script import RECORD, RECORDS, TASK_INPUT, USER_TASK, InvalidScript, script_flow
from flowdsl.check import check_flow
from flowdsl.decompile import decompile
from flowdsl.errors import FlowError
from flowdsl.instance import Instance
from flowdsl.model import Component, Flow
from flowdsl.pairs import Pair

NAME = "flow_bench"
#: Words that its identifiers run together.
_WORDS = {"retrievewithwhere": "retrieve", "updatewithwhere": "update", "deletewithwhere": "delete",
          "upsertwithwhere": "update or create"}  # fmt: skip
_VERSION = re.compile(r"__\d+_\d+_\d+__")


#: A condition on a pill: its last field if it has one, the operator, the value.
_TERM = re.compile(r"\{\{\d+\.\w+(?:\.[\w.]*?)??(?:\.(\w+))?\}\}([A-Z ]+|[=<>!]+)([^^]*)")
#: The longest name of a step; some identifiers are longer.
_LONGEST = 200


class InvalidBenchmark(FlowError):
    """The folder does not hold what it should."""


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        pair: the utterance with the first expected flow; a case with a prior sequence is an edit.
        expected: all flows that count as right.
    """

    pair: Pair
    expected: tuple[Flow, ...]

    @property
    def activities(self) -> frozenset[str]:
        """Those of the expected flow that are in the catalogue."""
        return frozenset(c.definition for c in self.expected[0].components if not c.is_logic) - {USER_TASK}


@dataclass(frozen=True)
class Benchmark:
    """The catalogue and the cases; `skipped` says which cases could not be read, and why."""

    instance: Instance
    cases: tuple[Case, ...]
    skipped: tuple[str, ...]


def catalogue_instance(catalogue: Sequence[Mapping[str, Any]], name: str = NAME) -> Instance:
    """The instance of a catalogue: each activity is a step of its name, without inputs.

    The catalogue says nothing of outputs, so each gives one record and many; there are no tables, and
    fields are open names. One step more is `user_task`, for what a person does.

    >>> instance = catalogue_instance([{"id": "Box_File__3_0_0__create_File", "description": "Create a file in Box"}])
    >>> [(step.name, step.label) for step in instance.steps]
    [('Box_File__3_0_0__create_File', 'Box File create'), ('user_task', 'User task')]
    """
    outputs = [
        {"name": RECORD, "label": "Record", "type": "record"},
        {"name": RECORDS, "label": "Records", "type": "records"},
    ]
    seen: dict[str, Mapping[str, Any]] = {}
    for item in catalogue:
        seen.setdefault(step_name(str(item["id"])), item)
    steps: list[dict[str, Any]] = [
        {"name": key, "label": _label(key), "description": str(item.get("description", "")), "outputs": outputs}
        for key, item in seen.items()
    ]
    task = {"name": TASK_INPUT, "label": "Task", "type": "string", "mandatory": True}
    steps.append({
        "name": USER_TASK,
        "label": "User task",
        "description": "A task that a person does by hand, when no other step does it",
        "inputs": [task],
        "outputs": outputs,
    })  # fmt: skip
    return Instance.from_json(
        {"name": name, "label": "Flow-Bench", "attribution": "IBM Flow-Bench, Apache-2.0", "steps": steps}
    )


def step_name(activity: str) -> str:
    """What an activity is called as a step: its identifier, shortened where it is too long for a name.

    >>> step_name("Box_File__3_0_0__create_File"), len(step_name("x" * 314))
    ('Box_File__3_0_0__create_File', 200)
    """
    if len(activity) <= _LONGEST:
        return activity
    return f"{activity[: _LONGEST - 9]}_{sha256(activity.encode()).hexdigest()[:8]}"


def _flow(script: str) -> Flow:
    flow = script_flow(script)
    named = (c.model_copy(update={"definition": step_name(c.definition)}) for c in flow.components)
    return flow.model_copy(update={"components": tuple(named)})


def _label(key: str) -> str:
    words = [word for part in _VERSION.split(key) for word in part.split("_") if word]
    return " ".join(dict.fromkeys(_WORDS.get(word, word) for word in words if word != "model"))[:100]


def read_benchmark(folder: str | Path) -> Benchmark:
    """The benchmark in a folder, or of one YAML file.

    Raises:
        InvalidBenchmark: it holds no cases, or no catalogue.
    """
    import yaml

    folder = Path(folder)
    files = [folder] if folder.is_file() else sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])
    catalogue: dict[str, Mapping[str, Any]] = {}
    tests: list[tuple[Path, Mapping[str, Any]]] = []
    for file in files:
        try:
            data = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidBenchmark(f"cannot read {file}: {' '.join(str(error).split())[:200]}") from None
        if isinstance(data, Mapping) and isinstance(data.get("tests"), list):
            tests += ((file, test) for test in data["tests"] if isinstance(test, Mapping))
            for item in _actions(file, data.get("actions")):
                catalogue.setdefault(item["id"], item)
    if not tests or not catalogue:
        missing = "cases (YAML files with `tests`)" if not tests else "catalogue (`actions: - $ref: FILE.json`)"
        raise InvalidBenchmark(f"{folder} holds no {missing}: give the folder of a checkout of IBM/flow-bench")
    instance = catalogue_instance(list(catalogue.values()))
    cases: dict[str, Case] = {}
    skipped = []
    for file, test in tests:
        try:
            case = _case(file, test, instance)
            cases.setdefault(case.pair.id, case)
        except (InvalidScript, KeyError, TypeError, ValueError, IndexError) as error:
            uid = test.get("_metadata", {}).get("uid", "?") if isinstance(test.get("_metadata"), Mapping) else "?"
            skipped.append(f"{file.name}, uid {uid}: {error}")
    return Benchmark(instance, tuple(cases.values()), tuple(skipped))


def _actions(file: Path, actions: Any) -> Iterator[Mapping[str, Any]]:
    for item in actions if isinstance(actions, list) else ():
        if isinstance(item, Mapping) and "$ref" in item:
            path = file.parent / str(item["$ref"])
            try:
                listed = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise InvalidBenchmark(f"cannot read the catalogue {path}: {error}") from None
            yield from (one for one in listed if isinstance(one, Mapping) and "id" in one)
        elif isinstance(item, Mapping) and "id" in item:
            yield item


def _case(file: Path, test: Mapping[str, Any], instance: Instance) -> Case:
    metadata, asked, wanted = test["_metadata"], test["input"], test["expected_output"]
    tags = tuple(str(tag) for tag in metadata.get("tags", []) if not str(tag).isdigit())
    expected = tuple(_flow(text) for text in _scripts(wanted["sequence"]))
    prior = [_flow(text) for text in _scripts(asked.get("prior_sequence"))]
    for flow in (*expected, *prior):
        if issues := check_flow(flow, instance):
            raise ValueError(str(issues[0]))
    pair = Pair(
        id=f"{file.stem}-{metadata['uid']}",
        requirement=" ".join(str(asked["utterance"]).split()),
        flow=decompile(expected[0], instance),
        instance=instance.name,
        tags=tags,
        split=NAME,
        prior=decompile(annotated(prior[0], instance), instance) if prior else None,
    )
    return Case(pair, expected)


def annotated(flow: Flow, instance: Instance) -> Flow:
    """A flow with words for its steps, since every flow of ours says what its steps are for.

    Of an activity its description, of a user task what it says, of a condition its fields and values.
    """

    def words(component: Component) -> str:
        if not component.is_logic:
            step = instance.step_by_name.get(component.definition)
            return component.get(TASK_INPUT) or (step.description or step.label if step else component.definition)
        said = _TERM.sub(
            lambda m: f"{m[1] or 'it'} {m[2]} {m[3]}", component.inputs[0].value if component.inputs else ""
        )
        said = said.replace("^OR", " or ").replace("^NQ", " or ").replace("^", " and ")
        word = {"FOREACH": "for each of the records", "ELSE": "otherwise"}.get(component.definition)
        return word or f"{component.definition.lower()} {said}".strip()

    told = (c.model_copy(update={"annotation": " ".join(words(c).split())[:200]}) for c in flow.components)
    return flow.model_copy(update={"components": tuple(told)})


def _scripts(value: Any) -> list[str]:
    """A script, or a list of them."""
    texts = value if isinstance(value, list) else [value]
    return [text for text in texts if isinstance(text, str) and text.strip()]


# -- figures -----------------------------------------------------------------------------------


def recalls(benchmark: Benchmark, limit: int) -> dict[str, float]:
    """Of each case the share of its activities that are among the first `limit` suggested steps.

    The query is the utterance alone. Of an edit only those activities count that its prior flow does not
    have; cases without such are left out.
    """
    from flowdsl.retrieve import Search

    search = Search.of(benchmark.instance)
    found = {}
    for case in benchmark.cases:
        wanted = case.activities - _prior_activities(case, benchmark.instance)
        if wanted:
            names = {step.name for step in search.steps(case.pair.requirement, limit)}
            found[case.pair.id] = len(wanted & names) / len(wanted)
    return found


def _prior_activities(case: Case, instance: Instance) -> frozenset[str]:
    if case.pair.prior is None:
        return frozenset()
    from flowdsl.compile import compile_dsl

    return frozenset(c.definition for c in compile_dsl(case.pair.prior, instance).components)
