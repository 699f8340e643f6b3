"""Reading instances: everything that is wrong, at once, each with its JSON path; nothing half-loaded."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import instance_jsons
from work import lines_run

from flowdsl.errors import FlowError, InvalidInstance
from flowdsl.instance import Instance, bundled_instances

JSON = dict[str, Any]


def problems(data: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidInstance) as caught:
        Instance.from_json(data)
    error = caught.value
    assert isinstance(error, FlowError) and error.exit_code == 1
    assert error.problems and error.problems[0] in str(error)
    return error.problems


def instance(**parts: Any) -> JSON:
    return {"name": "t", **parts}


# -- what is bundled ---------------------------------------------------------------------------


def test_the_bundled_instance(servicenow: Instance) -> None:
    assert "servicenow" in bundled_instances()
    assert len([step for step in servicenow.steps if step.category == "action"]) == 33
    assert len(servicenow.triggers) == 13
    assert len(servicenow.tables) == 178


def test_every_bundled_step_and_trigger_is_described(servicenow: Instance) -> None:
    for item in (*servicenow.steps, *servicenow.triggers):
        assert item.description.strip() and item.label.strip(), item.name


def test_every_bundled_table_and_column_has_a_label(servicenow: Instance) -> None:
    unlabelled = [table.name for table in servicenow.tables if not table.label.strip()]
    unlabelled += [f"{t.name}.{c.name}" for t in servicenow.tables for c in t.columns if not c.label.strip()]
    assert unlabelled == []


def test_bundled_inheritance(servicenow: Instance) -> None:
    assert servicenow.is_a("incident", "task") and not servicenow.is_a("task", "incident")
    assert servicenow.columns("incident")["short_description"].type == "string"
    assert servicenow.columns("incident")["caller_id"].reference == "sys_user"
    assert servicenow.columns("unicorn") == {}


@pytest.mark.parametrize("name", ["bank.json", "smart_home.json"])
def test_the_examples(name: str) -> None:
    loaded = Instance.load(Path(__file__).parent.parent / "examples" / name)
    assert loaded.steps and loaded.triggers
    assert all(item.description.strip() for item in (*loaded.steps, *loaded.triggers))


# -- small and large ones ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        instance(),
        instance(steps=[], triggers=[], tables=[]),
        instance(steps=None, tables=None),  # null is absent everywhere else
        instance(steps=[{"name": "x"}]),
        instance(steps=[{"name": "x", "inputs": None, "outputs": None, "label": None, "scope": None}]),
        instance(triggers=[{"name": "x"}]),
        instance(tables=[{"name": "x", "extends": None}]),
        instance(steps=[{"name": "x" * 200}]),
        instance(steps=[{"name": 'naïve `quoted` "name" .*'}, {"name": "END"}]),
        instance(tables=[{"name": "t", "columns": [{"name": "c", "type": "no such type"}]}], more="ignored"),
    ],
)
def test_valid(data: JSON) -> None:
    assert Instance.from_json(data).name == "t"


@given(instance_jsons())
def test_what_is_drawn_loads(data: JSON) -> None:
    loaded = Instance.from_json(data)
    assert [step.name for step in loaded.steps] == [step["name"] for step in data["steps"]]
    for table in loaded.tables:
        own = {column.name for column in table.columns}
        assert own <= set(loaded.columns(table.name))


def test_numbers_and_booleans_of_choices_are_read_as_text() -> None:
    choices = [{"value": 1, "label": "One"}, {"value": True, "label": "Yes"}]
    data = instance(tables=[{"name": "t", "columns": [{"name": "c", "type": "choice", "choices": choices}]}])
    assert [choice.value for choice in Instance.from_json(data).columns("t")["c"].choices] == ["1", "true"]


def test_names_load_in_linear_time() -> None:
    def lines(n: int) -> int:
        data = instance(steps=[{"name": f"s{i}"} for i in range(n)],
                        tables=[{"name": f"t{i}", "columns": [{"name": "c"}]} for i in range(n)])  # fmt: skip
        return lines_run(lambda: Instance.from_json(data))

    assert lines(4000) < 9 * lines(500)


def test_a_hundred_thousand_names_load() -> None:
    data = instance(steps=[{"name": f"s{i}"} for i in range(50_000)],
                    tables=[{"name": f"t{i}", "columns": [{"name": "c"}]} for i in range(50_000)])  # fmt: skip
    assert len(Instance.from_json(data).tables) == 50_000


def test_many_choices_load_in_linear_time() -> None:
    def lines(n: int) -> int:
        choices = [{"value": f"v{i}", "label": f"l{i}"} for i in range(n)]
        data = instance(tables=[{"name": "t", "columns": [{"name": "c", "type": "choice", "choices": choices}]}])
        return lines_run(lambda: Instance.from_json(data))

    assert lines(4000) < 9 * lines(500)


def test_a_deep_line_of_tables() -> None:
    """2,000 tables that each extend the one before, deeper than Python recurses."""
    tables = [
        {"name": f"t{i}", **({"extends": f"t{i - 1}"} if i else {"columns": [{"name": "c"}]})} for i in range(2000)
    ]
    loaded = Instance.from_json(instance(tables=tables))
    assert "c" in loaded.columns("t1999")
    assert loaded.is_a("t1999", "t0")


# -- what is wrong -----------------------------------------------------------------------------

COLUMN: JSON = {"name": "c", "type": "string"}


@pytest.mark.parametrize(
    ("data", "path", "word"),
    [
        ([], "$", ""),
        (None, "$", ""),
        ("x", "$", ""),
        ({}, "$.name", "required"),
        ({"name": 7}, "$.name", "string"),
        (instance(steps={}), "$.steps", ""),
        (instance(steps=[7]), "$.steps[0]", ""),
        (instance(steps=[{}]), "$.steps[0].name", "required"),
        (instance(steps=[{"name": "x", "category": "thing"}]), "$.steps[0].category", ""),
        (instance(steps=[{"name": "x", "inputs": "y"}]), "$.steps[0].inputs", ""),
        (instance(steps=[{"name": "x", "inputs": [{"name": "y", "mandatory": "maybe"}]}]), "$.steps[0].inputs[0].mandatory", ""),
        (instance(steps=[{"name": "x"}, {"name": "x"}]), "$.steps[1].name", "steps[0]"),
        (instance(triggers=[{"name": "x"}, {"name": "x"}]), "$.triggers[1].name", "triggers[0]"),
        (instance(tables=[{"name": "x"}, {"name": "x"}]), "$.tables[1].name", "tables[0]"),
        (instance(tables=[{"name": "x", "columns": [COLUMN, COLUMN]}]), "$.tables[0].columns[1].name", "twice"),
        (instance(steps=[{"name": "x", "inputs": [COLUMN, COLUMN]}]), "$.steps[0].inputs[1].name", "twice"),
        (instance(steps=[{"name": "x", "outputs": [COLUMN, COLUMN]}]), "$.steps[0].outputs[1].name", "twice"),
        (instance(steps=[{"name": ""}]), "$.steps[0].name", "empty"),
        (instance(steps=[{"name": " x"}]), "$.steps[0].name", "space"),
        (instance(steps=[{"name": "a\nb"}]), "$.steps[0].name", "control"),
        (instance(steps=[{"name": "a\ud800b"}]), "$.steps[0].name", ""),
        (instance(steps=[{"name": "x" * 201}]), "$.steps[0].name", "200"),
        (instance(tables=[{"name": "x", "columns": [{"name": "y" * 201}]}]), "$.tables[0].columns[0].name", "200"),
        (instance(steps=[{"name": "placeholder"}]), "$.steps[0].name", "reserved"),
        (instance(tables=[{"name": "x", "extends": "y"}]), "$.tables[0].extends", "'y'"),
        (instance(tables=[{"name": "x", "extends": "x"}]), "$.tables[0].extends", "cycle"),
        (instance(tables=[{"name": "x", "columns": [{"name": "c", "reference": "y"}]}]), "$.tables[0].columns[0].reference", "'y'"),
        (instance(steps=[{"name": "x", "outputs": [{"name": "y", "reference": "$z"}]}]), "$.steps[0].outputs[0].reference", "'z'"),
        (instance(triggers=[{"name": "x", "outputs": [{"name": "y", "reference": "$z"}]}]), "$.triggers[0].outputs[0].reference", "'z'"),
        *((instance(tables=[{"name": "x", "columns": [{"name": f"a{bad}b"}]}]), "$.tables[0].columns[0].name", bad)
          for bad in "{}^=<>!@"),
        *((instance(steps=[{"name": "x", "outputs": [{"name": f"a{bad}b"}]}]), "$.steps[0].outputs[0].name", bad)
          for bad in "{}"),
        (instance(tables=[{"name": "x", "columns": [{"name": "a", "type": "reference"}, {"name": "a.b"}]}]),
         "$.tables[0].columns[1].name", "dot-walk"),
        (instance(tables=[{"name": "x", "columns": [{"name": "c", "choices": [{"value": "a^b", "label": "x"}]}]}]),
         "$.tables[0].columns[0].choices[0]", "^"),
        (instance(tables=[{"name": "x", "columns": [{"name": "c", "choices": [{"value": "1", "label": "x"}] * 2}]}]),
         "$.tables[0].columns[0].choices", "twice"),
        (instance(tables=[{"name": "x", "columns": [{"name": "c", "choices": [{"value": "1"}]}]}]),
         "$.tables[0].columns[0].choices[0].label", "required"),
    ],
)  # fmt: skip
def test_invalid(data: Any, path: str, word: str) -> None:
    found = problems(data)
    assert any(problem.startswith(f"{path}: ") and word in problem for problem in found), found


def test_every_problem_at_once() -> None:
    data = instance(
        steps=[{"name": "x"}, {"name": "x"}, {"name": "y", "outputs": [{"name": "o", "reference": "$t"}]}],
        triggers=[{"name": "a\tb"}],
        tables=[{"name": "t", "extends": "u"}, {"name": "v", "columns": [{"name": "c", "reference": "w"}]}],
    )
    starts = {problem.split(": ")[0] for problem in problems(data)}
    assert starts == {
        "$.steps[1].name",
        "$.steps[2].outputs[0].reference",
        "$.triggers[0].name",
        "$.tables[0].extends",
        "$.tables[1].columns[0].reference",
    }


def test_every_shape_problem_at_once() -> None:
    data = instance(steps=[{"label": "no name"}, {"name": 7}], triggers="x", tables=[{"name": "t", "columns": [{}]}])
    starts = {problem.split(": ")[0] for problem in problems(data)}
    assert starts == {"$.steps[0].name", "$.steps[1].name", "$.triggers", "$.tables[0].columns[0].name"}


def test_shape_and_meaning_are_reported_together() -> None:
    """A problem of shape anywhere hides every problem of meaning ("every problem found")."""
    data = instance(steps=[{"name": "x"}, {"name": "x"}, {"label": "no name"}])
    starts = {problem.split(": ")[0] for problem in problems(data)}
    assert {"$.steps[1].name", "$.steps[2].name"} <= starts


@pytest.mark.parametrize("length", [2, 3, 500])
def test_cycles(length: int) -> None:
    tables = [{"name": f"t{i}", "extends": f"t{(i + 1) % length}"} for i in range(length)]
    found = problems(instance(tables=[*tables, {"name": "u", "extends": "t0"}]))
    assert len([problem for problem in found if "cycle" in problem]) == 1


@given(instance_jsons(), st.data())
def test_damaged_instances_never_crash(data: JSON, draw: st.DataObject) -> None:
    data = copy.deepcopy(data)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            places.append((value, key))
            walk(inner)

    walk(data)
    for container, key in draw.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        container[key] = draw.draw(st.sampled_from([None, 7, "", "x", [], {}, [{}], True, -1.5, "$x", "a^b", "\ud800"]))
    try:
        Instance.from_json(data)
    except InvalidInstance as error:
        assert error.problems and all(problem.startswith("$") for problem in error.problems)


# -- files -------------------------------------------------------------------------------------


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"name": "a", "steps": [{"name": "x"}]}), encoding="utf-8")
    (tmp_path / "b.json").write_text(
        json.dumps({"steps": [{"name": "naïve"}], "triggers": [{"name": "z"}]}), encoding="utf-8"
    )
    (tmp_path / "notes.txt").write_text("not JSON", encoding="utf-8")
    assert [step.name for step in Instance.load(tmp_path / "a.json").steps] == ["x"]
    merged = Instance.load(str(tmp_path))
    assert [step.name for step in merged.steps] == ["x", "naïve"]
    assert [trigger.name for trigger in merged.triggers] == ["z"]


def test_a_folder_with_the_same_name_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": "n", "steps": [{"name": "x"}]}), encoding="utf-8")
    with pytest.raises(InvalidInstance, match="also the name"):
        Instance.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1", b"nothing", b"\xff\xfe", b"[]", b"null", b"7", b'"x"', b"{}", b"NaN", b"[" * 100_000]
)
def test_bad_files(tmp_path: Path, content: bytes) -> None:
    """A RecursionError escapes."""
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInstance):
        Instance.load(path)
    if content != b"{}":  # a folder has a name of its own
        with pytest.raises(InvalidInstance):
            Instance.load(tmp_path)


def test_a_byte_order_mark_is_borne(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"name": "x"}).encode())
    assert Instance.load(path).name == "x"


@pytest.mark.parametrize("name", ["no_such", "./no/such.json", "", " ", "a\x00b", "x" * 5000, "servicenow.json"])
def test_missing(name: str) -> None:
    """For an empty name (it means the current folder) and an overlong one (OSError)."""
    with pytest.raises(InvalidInstance) as caught:
        Instance.load(name)
    assert "servicenow" in str(caught.value)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInstance, match=r"no \.json"):
        Instance.load(tmp_path)


def test_an_instance_is_frozen(servicenow: Instance) -> None:
    with pytest.raises(Exception, match="frozen"):
        servicenow.name = "other"  # type: ignore[misc]
