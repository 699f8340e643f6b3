"""An installation: its steps, triggers, tables and columns, read from data.

Swapping the instance swaps the vocabulary; nothing else in the package knows a step by name,
except for the few rules that the platform ties to a name (they are in `check`).

>>> instance = Instance.load("servicenow")
>>> instance.columns("incident")["caller_id"].reference
'sys_user'
>>> instance.is_a("incident", "task")
True
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from flowdsl.errors import InvalidInstance
from flowdsl.model import PLACEHOLDER

#: Inputs that name the table of a step, best first (`docs/language.md`, "Tables").
TABLE_INPUTS = ("table", "table_name", "task_table", "record_table", "ah_table_name")

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
# Names that end up inside a pill or an encoded query may not hold their delimiters.
_QUERY = re.compile(r"[{}^=<>!@]")
_MAX_NAME = 200


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("*", mode="before")
    @classmethod
    def _none_is_default(cls, value: Any, info: Any) -> Any:
        field = cls.model_fields[info.field_name]
        if value is None and not field.is_required():
            return field.get_default(call_default_factory=True)
        return tuple(value) if isinstance(value, list) else value


class Choice(_Frozen):
    value: str
    label: str

    @field_validator("value", "label", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, bool | int | float) else value


class Field(_Frozen):
    """A column, an input, or an output: a name with a type."""

    name: str
    label: str = ""
    type: str = "string"
    mandatory: bool = False
    default: Any = None
    choices: tuple[Choice, ...] = ()
    reference: str | None = None


class Step(_Frozen):
    name: str
    label: str = ""
    description: str = ""
    category: Literal["action", "subflow"] = "action"
    scope: str = "global"
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()


class TriggerType(_Frozen):
    name: str
    label: str = ""
    description: str = ""
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()


#: Every table has it, also where an instance does not list it: a record pill stands for it.
SYS_ID = Field(name="sys_id", label="Sys ID", type="guid")


class Table(_Frozen):
    name: str
    label: str = ""
    extends: str | None = None
    columns: tuple[Field, ...] = ()


class Instance(_Frozen):
    """One installation. Frozen; look-ups are cached."""

    model_config = ConfigDict(frozen=True, extra="ignore", ignored_types=(cached_property,))

    name: str
    label: str = ""
    attribution: str = ""
    steps: tuple[Step, ...] = ()
    triggers: tuple[TriggerType, ...] = ()
    tables: tuple[Table, ...] = ()

    def __hash__(self) -> int:
        return id(self)

    @classmethod
    def load(cls, source: str | Path) -> "Instance":
        """The bundled instance of that name, or the one in a JSON file or folder of JSON files.

        A folder is merged: `steps`, `triggers` and `tables` of all its files together.

        Raises:
            InvalidInstance: missing, unreadable, or with problems (all of them are listed).
        """
        if not str(source).strip() or len(str(source)) > 4000 or "\0" in str(source):
            raise _missing(str(source))
        path = Path(source)
        if len(path.name) > 255:
            raise _missing(str(source))
        if not path.exists() and re.fullmatch(r"[A-Za-z0-9_-]+", str(source)):
            bundled = resources.files("flowdsl") / "instances" / f"{source}.json"
            if bundled.is_file():
                return cls.from_json(_read(bundled.read_bytes(), str(source)))
        if not path.exists():
            raise _missing(str(source))
        if path.is_dir():
            files = sorted(path.glob("*.json"))
            if not files:
                raise InvalidInstance(f"the folder {path} holds no .json file")
            return cls.from_json(_merge(path.name, [_read_path(file) for file in files]))
        return cls.from_json(_read_path(path))

    @classmethod
    def from_json(cls, data: Any) -> "Instance":
        """An instance of its JSON.

        Raises:
            InvalidInstance: with every problem found, each with its JSON path.
        """
        try:
            instance = cls.model_validate(data)
        except ValidationError as error:
            problems = (
                *(f"{_path(part['loc'])}: {part['msg']}" for part in error.errors()),
                *_more_problems(data, {part["loc"][:2] for part in error.errors()}),
            )
        else:
            problems = tuple(_problems(instance))
            if not problems:
                return instance
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise InvalidInstance(f"not a valid instance: {problems[0]}{more}", problems)

    # -- look-ups -----------------------------------------------------------------------------

    @cached_property
    def step_by_name(self) -> Mapping[str, Step]:
        return {step.name: step for step in self.steps}

    @cached_property
    def trigger_by_name(self) -> Mapping[str, TriggerType]:
        return {trigger.name: trigger for trigger in self.triggers}

    @cached_property
    def table_by_name(self) -> Mapping[str, Table]:
        return {table.name: table for table in self.tables}

    @property
    def is_open(self) -> bool:
        """Without tables, tables and fields are open names."""
        return not self.tables

    @cached_property
    def _columns(self) -> dict[str, Mapping[str, Field]]:
        return {}

    @cached_property
    def _lineage(self) -> dict[str, tuple[str, ...]]:
        return {}

    def lineage(self, table: str) -> tuple[str, ...]:
        """The table and what it extends, nearest first."""
        if table not in self._lineage:
            chain = [table]
            while (known := self.table_by_name.get(chain[-1])) is not None and known.extends is not None:
                chain.append(known.extends)
            self._lineage[table] = tuple(chain)
        return self._lineage[table]

    def is_a(self, table: str, ancestor: str) -> bool:
        """Whether `table` is `ancestor` or extends it."""
        return ancestor in self.lineage(table)

    def columns(self, table: str) -> Mapping[str, Field]:
        """The table's columns by name, its own before the inherited; empty for an unknown table."""
        if table not in self._columns:
            merged: dict[str, Field] = {}
            for ancestor in self.lineage(table):
                if ancestor in self.table_by_name:
                    for column in self.table_by_name[ancestor].columns:
                        merged.setdefault(column.name, column)
            if merged or table in self.table_by_name:
                merged.setdefault(SYS_ID.name, SYS_ID)
            self._columns[table] = merged
        return self._columns[table]

    def prefixes(self, table: str, text: str) -> Iterator[tuple[Field, str]]:
        """The columns of a table that `text` begins with, longest first, each with what is left."""
        columns = self.columns(table)
        for length in range(min(len(text), self._longest(table)), 0, -1):
            if column := columns.get(text[:length]):
                yield column, text[length:]

    def _longest(self, table: str) -> int:
        return max(map(len, self.columns(table)), default=0)


def table_input(inputs: Iterable[Field]) -> Field | None:
    """The input that names the table of a step or trigger, if there is one.

    It is the first of `TABLE_INPUTS` present, else the first of type ``table_name``.
    """
    named = {field.name: field for field in inputs if field.type == "table_name"}
    for name in TABLE_INPUTS:
        if name in named:
            return named[name]
    return next(iter(named.values()), None)


def bundled_instances() -> tuple[str, ...]:
    """The names of the instances that come with the package."""
    folder = resources.files("flowdsl") / "instances"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".json")))


def _missing(source: str) -> InvalidInstance:
    bundled = ", ".join(bundled_instances())
    return InvalidInstance(f"no instance {source[:80]!r}: neither a bundled one ({bundled}) nor a path")


# -- reading ----------------------------------------------------------------------------------


def _read_path(path: Path) -> Any:
    try:
        return _read(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInstance(f"cannot read the instance {path}: {error.strerror}") from None


def _read(content: bytes, name: str) -> Any:
    try:
        return json.loads(content)
    except RecursionError:
        raise InvalidInstance(f"the instance {name} is nested too deeply") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidInstance(f"the instance {name} is not JSON: {error}") from None


def _merge(name: str, parts: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {"name": name}
    for part in parts:
        if not isinstance(part, dict):
            raise InvalidInstance(f"a file of the instance folder {name} is not a JSON object")
        for key, value in part.items():
            if isinstance(value, list) and isinstance(merged.get(key, []), list):
                merged[key] = merged.get(key, []) + value
            else:
                merged[key] = value
    return merged


def _path(parts: Iterable[int | str]) -> str:
    text = "$"
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


# -- validation -------------------------------------------------------------------------------


def _problems(instance: Instance) -> Iterator[str]:
    tables = {table.name for table in instance.tables}
    yield from _names("steps", instance.steps)
    yield from _names("triggers", instance.triggers)
    yield from _names("tables", instance.tables)
    for kind in ("steps", "triggers"):
        for i, step in enumerate(getattr(instance, kind)):
            path = f"$.{kind}[{i}]"
            if step.name == PLACEHOLDER and kind == "steps":
                yield f"{path}.name: {PLACEHOLDER!r} is reserved"
            inputs = {field.name for field in step.inputs}
            yield from _fields(f"{path}.inputs", step.inputs, tables, inputs=None, walked=False)
            yield from _fields(f"{path}.outputs", step.outputs, tables, inputs=inputs, walked=True)
    for i, table in enumerate(instance.tables):
        path = f"$.tables[{i}]"
        yield from _fields(f"{path}.columns", table.columns, tables, inputs=None, walked=True)
        if table.extends is not None and table.extends not in tables:
            yield f"{path}.extends: no table {table.extends!r}"
    yield from _cycles(instance)


def _more_problems(data: Any, broken: set[tuple[int | str, ...]]) -> Iterator[str]:
    """Problems of meaning of what has the right shape, so that all are told at once."""
    if not isinstance(data, Mapping):
        return
    kept = {
        kind: [i for i in range(len(data[kind])) if (kind, i) not in broken]
        for kind in ("steps", "triggers", "tables")
        if isinstance(data.get(kind), list)
    }
    try:
        part = Instance.model_validate({"name": "", **{kind: [data[kind][i] for i in kept[kind]] for kind in kept}})
    except ValidationError:
        return
    for problem in _problems(part):
        kind, _, rest = problem.removeprefix("$.").partition("[")
        i, _, rest = rest.partition("]")
        yield f"$.{kind}[{kept[kind][int(i)]}]{rest}"


def _names(kind: str, items: Iterable[Step | TriggerType | Table]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for i, item in enumerate(items):
        yield from _bad_name(f"$.{kind}[{i}].name", item.name)
        if item.name in seen:
            yield f"$.{kind}[{i}].name: {item.name!r} is also the name of {kind}[{seen[item.name]}]"
        seen.setdefault(item.name, i)


def _bad_name(path: str, name: str) -> Iterator[str]:
    if not name.strip() or name != name.strip():
        yield f"{path}: a name may not be empty or begin or end with space: {name!r}"
    elif _CONTROL.search(name):
        yield f"{path}: {name!r} holds a control character"
    elif len(name) > _MAX_NAME:
        yield f"{path}: a name may have {_MAX_NAME} characters, this one has {len(name)}"


def _fields(
    path: str, fields: tuple[Field, ...], tables: set[str], inputs: set[str] | None, walked: bool
) -> Iterator[str]:
    """Problems of columns, inputs or outputs; `walked` ones can stand in a pill or a query."""
    names = {field.name for field in fields}
    seen: set[str] = set()
    for i, field in enumerate(fields):
        place = f"{path}[{i}]"
        yield from _bad_name(f"{place}.name", field.name)
        if field.name in seen:
            yield f"{place}.name: {field.name!r} is there twice"
        seen.add(field.name)
        if walked:
            if bad := _QUERY.search(field.name):
                yield f"{place}.name: {field.name!r} may not hold {bad.group()!r}"
            head, dot, _ = field.name.partition(".")
            while dot:
                if head in names:
                    yield f"{place}.name: {field.name!r} reads as a dot-walk from {head!r}"
                rest = field.name[len(head) + 1 :]
                more, dot, _ = rest.partition(".")
                head = f"{head}.{more}"
        reference = field.reference
        if reference is not None and reference.startswith("$") and inputs is not None:
            if reference[1:] not in inputs:
                yield f"{place}.reference: the step has no input {reference[1:]!r}"
        elif reference is not None and tables and reference not in tables:
            yield f"{place}.reference: no table {reference!r}"
        for what in ("value", "label"):
            texts = [getattr(choice, what) for choice in field.choices]
            if twice := [text for text, count in Counter(texts).items() if count > 1]:
                yield f"{place}.choices: the {what} {min(twice)!r} is there twice"
        for j, choice in enumerate(field.choices):
            if "^" in choice.value or _CONTROL.search(choice.value + choice.label):
                yield f"{place}.choices[{j}]: {choice.value!r} may not hold '^' or control characters"


def _cycles(instance: Instance) -> Iterator[str]:
    parents = {table.name: table.extends for table in instance.tables}
    done: set[str] = set()
    for i, table in enumerate(instance.tables):
        chain: list[str] = []
        name: str | None = table.name
        while name is not None and name not in done and name not in chain:
            chain.append(name)
            name = parents.get(name)
        if name is not None and name in chain:
            yield f"$.tables[{i}].extends: {' -> '.join([*chain, name])} is a cycle"
        done.update(chain)
