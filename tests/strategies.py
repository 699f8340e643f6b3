"""Hypothesis strategies: instances, valid flows, broken flows, junk.

Everything is drawn as plain JSON. Of the package only the data of an `Instance` and the tables of
kinds and operators are used: what a step sees, what a pill is and what fits where is written here
a second time, from the documentation, so that the two can disagree.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from flowdsl.check import check_flow
from flowdsl.instance import Instance
from grammars.kinds import kind_of
from grammars.operators import OPERATORS, PERIODS, WEEKDAYS

JSON = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent

# -- texts and names --------------------------------------------------------------------------

_ALPHABET = "abzAZ09 _-.,:;/|()[]*+?$&%#~@=<>!'\"`\\{}\n\tä中é\u00a0\u2028😀"
_TEXTS = [
    "", " ", "x", "true", "false", "NONE", "END", "AND", "7", "-1.50", "07:00", "10 days", "today", "last month",
    "3 days ago", "Monday", "Service Desk", "it's \"quoted\"", "back\\slash", "\\n", "\\", "'", '"', "`", "{", "}", "}}",
    "{x}", "a{b", "line\nline", "tab\there", "a TO b", "(a, b)", "a.b.c", "# no comment", "ORx", "NQx", "IN", "LIKE",
    "_HIERARCHY", "_DYNAMIC", "x=y", "a,b", "a@b.example", "日本語", "e\u0301", "EQ", "javascript:gs.x()", "ON \"x\" daily",
]  # fmt: skip
#: Names that a sloppy lexer, a regular expression or a path would trip over.
NAMES = [
    "plain", "state", "state2", "state_name", "state name", "s", "st", "sta", "END", "IF", "AND", "OR", "ON", "NONE",
    "true", "TO", "BY", "NQ", "IN", "STOP", "BRANCH", "SUBFLOW", "INPUT", "item", "Records", "trigger", "inputs", "today",
    "Look Up", "dot.ted", "ver.1.2", 'say "hi"', "back`tick", "back\\slash", "it's", "reg(ex)*[a-z]+?", ".*$|x", "naïve",
    "日本語", "😀", "#hash", "1st", "123", "a,b", "k:v", "(x)", "%d", "~", "3 days ago", "ORder", "NQty", "stateIN", "-",
    "isEMPTY", "record", "end", "a&b", "tab/le", "A" * 60,
]  # fmt: skip
_BRACED = ["br{ace", "cu}rl", "eq=ual", "ha^t", "a<b", "wow!", "me@home"]  # not in pills or queries
_OPEN_COLUMNS = ["name", "state", "state2", "owner", "due_at", "order", "x1", "a_b", "deviceId", "Owner2", "_x", "1st"]
_LABELS = ["New", "In Progress", "AND", "true", "NONE", "3 days ago", 'say "hi"', "a`b", "2", "1", "{{1.Count}}", "a, b",
           "日本語", "TO", "back\\slash", "today", "x TO y", "New state", "it's", "TRUE", "On Hold", "#1"]  # fmt: skip
_CHOICES = ["1", "2", "-5", "new", "New", "in progress", "a/b", "OR", "IN", "true", "é", "x y z", "NQ1", "'q'", "[x]"]
_SCALARS = ["string", "integer", "decimal", "boolean", "date", "date_time", "duration", "time", "choice", "html",
            "journal", "guid", "never_heard_of"]  # fmt: skip


def _kinds_without(*names: str) -> frozenset[str]:
    """The kinds that none of these operators fits (no names: no operator at all)."""
    kinds = ["table", "field", "conditions", "template", "approval", "records"]
    usable = [operator for operator in OPERATORS if not names or operator.name in names]
    return frozenset(kind for kind in kinds if not any(kind in operator.kinds for operator in usable))


#: Kinds that are not compared, or not set, because the table of operators has nothing for them. The contract
#: says otherwise: test_check.py, test_every_pill_takes_isempty and test_a_column_of_any_type_can_be_compared.
NOT_COMPARED = _kinds_without()
NOT_SET = _kinds_without("=")


@lru_cache(maxsize=1)
def spans_are_refused() -> bool:
    """Whether the checker refuses the documented `RELATIVELT@hour@ago@1`; then flows are drawn without it.

    test_check.py, test_documented_operands fails in that case.
    """
    inputs = [{"name": "table", "value": "incident"}, {"name": "conditions", "value": "opened_atRELATIVELT@hour@ago@1"}]
    step = {"category": "action", "definition": "look_up_records", "order": 1, "inputs": inputs}
    return bool(check_flow({"trigger": None, "components": [step]}, fixed_instances()[0]))


_SPAN_UNITS = ["minute", "hour", "dayofweek", "month", "year"]


# -- what is known of a value ------------------------------------------------------------------


@dataclass(frozen=True)
class T:
    """What a pill, a column or an input is."""

    kind: str
    table: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Root:
    """An output in scope."""

    path: str
    type: T


def type_of(item: Any, table: str | None = None) -> T:
    """Of a column, input or output of an instance."""
    kind = "choice" if item.choices else kind_of(item.type)
    return T(kind, table if table is not None else item.reference, tuple(choice.value for choice in item.choices))


class World:
    """An instance, looked up the slow and simple way."""

    def __init__(self, instance: Instance):
        self.instance = instance
        self.tables = {table.name: table for table in instance.tables}
        self.steps = {step.name: step for step in instance.steps}
        self.triggers = {trigger.name: trigger for trigger in instance.triggers}
        self.open = not instance.tables
        self._columns: dict[str, dict[str, T]] = {}

    def ancestors(self, table: str) -> list[str]:
        chain = []
        name: str | None = table
        while name is not None:
            chain.append(name)
            name = self.tables[name].extends if name in self.tables else None
        return chain

    def is_a(self, table: str, ancestor: str) -> bool:
        return ancestor in self.ancestors(table)

    def columns(self, table: str) -> dict[str, T]:
        if table not in self._columns:
            found: dict[str, T] = {"sys_id": T("guid")}
            for name in reversed(self.ancestors(table)):
                for column in self.tables[name].columns if name in self.tables else ():
                    found[column.name] = type_of(column)
            self._columns[table] = found
        return self._columns[table]

    def walkable(self, type_: T) -> bool:
        return type_.kind in {"record", "reference"} and type_.table in self.tables

    def fits(self, pill: T, slot: T) -> bool:
        """The contract's "What fits where", no more."""
        related = pill.table is None or slot.table is None or self.open or self.is_a(pill.table, slot.table)
        if pill.kind == "any":
            return slot.kind == "text"
        if slot.kind == "text":
            return pill.kind not in {"record", "reference", "list", "records"}
        if slot.kind in {"reference", "guid", "record"}:
            return pill.kind in {"record", "reference"} and related
        if slot.kind == "records":
            return pill.kind == "records" and related
        if slot.kind == "list":
            return pill.kind == "list" and pill.table is not None and related
        return pill.kind == slot.kind and slot.kind in {
            "integer",
            "number",
            "boolean",
            "date",
            "date_time",
            "duration",
            "time",
        }


@lru_cache(maxsize=64)
def world_of(instance: Instance) -> World:
    return World(instance)


#: Names of inputs that name the table, best first.
TABLE_NAMES = ("table", "table_name", "task_table", "record_table", "ah_table_name")


def table_field(definition: Any) -> Any:
    fields = {item.name: item for item in definition.inputs if item.type == "table_name"}
    for name in TABLE_NAMES:
        if name in fields:
            return fields[name]
    return next(iter(fields.values()), None)


def record_field(definition: Any) -> Any:
    """The record input that may hold a record of any table."""
    return next((item for item in definition.inputs if item.type == "record" and item.reference is None), None)


# -- drawing -----------------------------------------------------------------------------------


class _Drawer:
    def __init__(self, draw: Callable[[Any], Any]):
        self.draw = draw

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self, percent: int) -> bool:
        """True in about so many cases; shrinks to False."""
        return self.number(0, 99) >= 100 - percent

    def pick(self, items: Any) -> Any:
        items = items if isinstance(items, list | tuple) else list(items)
        return items[self.number(0, len(items) - 1)]

    def some(self, items: Any, low: int, high: int) -> list[Any]:
        """A few different ones, in the order given."""
        items = list(items)
        wanted = self.number(min(low, len(items)), min(high, len(items)))
        chosen: set[int] = set()
        while len(chosen) < wanted:
            start = self.number(0, len(items) - 1)
            while start in chosen:
                start = (start + 1) % len(items)
            chosen.add(start)
        return [items[i] for i in sorted(chosen)]

    def text(self, query: bool = False) -> str:
        """Any text that holds no pill; `query`: that can stand in an encoded query."""
        text = self.draw(_TEXT)
        while "{{" in text:
            text = text.replace("{{", "{")
        return text.replace("^", "") if query else text

    def stamp(self, date: bool = True, time: bool = True) -> str:
        day = f"{self.number(1971, 2098)}-{self.number(1, 12):02}-{self.number(1, 28):02}" if date else "1970-01-01"
        clock = f"{self.number(0, 23):02}:{self.number(0, 59):02}:{self.pick(['00', '00', '09', '59'])}"
        return f"{day} {clock}" if time else day


_TEXT = st.one_of(st.sampled_from(_TEXTS), st.text(st.sampled_from(_ALPHABET), max_size=12))


# -- instances ---------------------------------------------------------------------------------


class _InstanceDrawer(_Drawer):
    """Draws the JSON of a small instance."""

    def instance(self, tables: bool) -> JSON:
        self.tables = self.some([*NAMES, "incident", "sc_thing"], 1, 5) if tables else []
        data: JSON = {"name": "drawn"}
        data["tables"] = [
            {"name": name, "label": name.title(), "columns": self.columns(),
             **({"extends": self.pick(self.tables[:i])} if i and self.chance(50) else {})}
            for i, name in enumerate(self.tables)
        ]  # fmt: skip
        names = self.some([*NAMES, *_BRACED, "log", "look_up_records", "create_task"], 1, 7)
        data["steps"] = [self.step(name) for name in names]
        data["triggers"] = self.triggers()
        return data

    def columns(self) -> list[JSON]:
        types = [*_SCALARS, "reference", "reference", "reference", "list", "table_name"]
        return [self.field(name, self.pick(types)) for name in self.some(NAMES, 0, 7)]

    def field(self, name: str, kind: str) -> JSON:
        data: JSON = {"name": name, "type": kind}
        if kind == "choice" or (kind in {"string", "integer"} and self.chance(15)):
            values = self.some(_CHOICES if kind != "integer" else ["1", "2", "-5", "30"], 1, 5)
            labels = self.some(_LABELS, len(values), len(values))
            data["choices"] = [
                {"value": value, "label": label} for value, label in zip(values, reversed(labels), strict=True)
            ]
        if kind in {"reference", "list", "records", "record"} and self.tables and self.chance(90):
            data["reference"] = self.pick(self.tables)
        return data

    def step(self, name: str) -> JSON:
        inputs: list[JSON] = []
        names = iter(self.some([*NAMES, *_BRACED], 12, 12))
        table = self.pick([*TABLE_NAMES, "which table"]) if self.chance(60) else None
        record = self.chance(50)
        if table is not None:
            inputs.append({"name": table, "type": "table_name", "mandatory": self.chance(60)})
        if record:
            inputs.append({"name": "the record", "type": "record", "mandatory": self.chance(60)})
        if table is not None or record:
            for kind in self.some(["conditions", "template_value", "field_name", "template_value"], 0, 3):
                inputs.append({"name": next(names), "type": kind, "mandatory": self.chance(40)})
        kinds = [*_SCALARS, "reference", "list", "records"]
        for _ in range(self.number(0, 4)):
            inputs.append({**self.field(next(names), self.pick(kinds)), "mandatory": self.chance(30)})
        if self.tables and self.chance(30):
            fixed = {"name": next(names), "type": "record", "reference": self.pick(self.tables)}
            inputs.append({**fixed, "mandatory": self.chance(50)})
        if self.chance(40):
            inputs = self.draw(st.permutations(inputs))
        outputs = []
        for output in self.some(NAMES, 0, 4):
            kind = self.pick([*_SCALARS, "record", "records", "records", "reference", "list", "table_name"])
            data = self.field(output, kind)
            if table is not None and kind in {"record", "records"} and self.chance(70):
                data["reference"] = f"${table}"
            outputs.append(data)
        category = "subflow" if self.chance(20) else "action"
        scope = self.pick(["global", "global", "x_app"])
        return {"name": name, "category": category, "scope": scope, "inputs": inputs, "outputs": outputs}

    def triggers(self) -> list[JSON]:
        table: JSON = {"name": "table", "type": "table_name", "mandatory": True}
        condition: JSON = {"name": "condition", "type": "conditions"}
        strategy = self.field("Run when", "choice")
        current: JSON = {"name": "current", "type": "record", "reference": "$table"}
        name_of: JSON = {"name": "table_name", "type": "table_name"}
        records = [
            {"name": "record_create", "inputs": [table, condition], "outputs": [current, name_of]},
            {"name": "record_update", "inputs": [table, condition, strategy],
             "outputs": [current, {"name": "changed_fields", "type": "list"}]},
        ]  # fmt: skip
        others = [
            {"name": "daily", "inputs": [{"name": "time", "type": "time", "mandatory": True}],
             "outputs": [{"name": "run_start_time", "type": "date_time"}]},
            {"name": self.pick(["Inbound Email", "END", "naïve", "e.mail"]), "inputs": [self.field("how", "boolean")],
             "outputs": [self.field("user", "reference"), self.field("subject", "string"),
                         self.field("all of them", "records"), self.field("dot.ted", "integer")]},
            {"name": "bare", "inputs": [], "outputs": []},
        ]  # fmt: skip
        return self.some([*records, *others], 1, 5)


@st.composite
def instance_jsons(draw: Any) -> JSON:
    """The JSON of small valid instances."""
    drawer = _InstanceDrawer(draw)
    return drawer.instance(tables=not drawer.chance(25))


@lru_cache(maxsize=1)
def fixed_instances() -> tuple[Instance, ...]:
    """The bundled instance and those of the examples."""
    files = [ROOT / "examples" / name for name in ("bank.json", "smart_home.json")]
    return (Instance.load("servicenow"), *map(Instance.load, files))


def instances() -> st.SearchStrategy[Instance]:
    """Bundled, example and drawn instances, all valid."""
    return st.one_of(st.sampled_from(fixed_instances()), instance_jsons().map(Instance.from_json))


# -- flows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Env:
    """What a place in a flow can use.

    Attributes:
        roots: the outputs in scope.
        back: the orders that stand before the current sequence, in it or around it.
        goback: what a GOBACKTO here may name; None outside of branches.
        loop: whether a loop is around; branch: whether BREAK may stand here.
    """

    roots: tuple[Root, ...] = ()
    back: tuple[int, ...] = ()
    goback: tuple[int, ...] | None = None
    loop: bool = False
    branch: bool = False

    def plus(self, roots: Any) -> "Env":
        return replace(self, roots=(*self.roots, *roots))


@dataclass
class Site:
    """Where a value stands: the columns it may use, if any."""

    env: Env
    table: str | None = None
    pills: bool = True
    changes: bool = False
    own: bool = False
    open: bool = False


class _FlowDrawer(_Drawer):
    def __init__(
        self, draw: Any, instance: Instance, requirement: str | None, annotated: bool, canonical: bool, size: int
    ):
        super().__init__(draw)
        self.world = world_of(instance)
        self.requirement, self.annotated, self.canonical = requirement, annotated, canonical
        self.left = self.number(1, size)
        self.components: list[JSON] = []
        self.percentage = 0
        self.sla = False

    # -- the whole -----------------------------------------------------------------------------

    def flow(self) -> JSON:
        form = self.pick(["flow", "flow", "flow", "flow", "subflow", "fragment"])
        if form == "flow" and not self.world.triggers:
            form = "fragment"
        data: JSON = {"trigger": None}
        env = Env()
        if form == "flow":
            data["trigger"], roots = self.trigger()
            env = env.plus(roots)
        elif form == "subflow":
            data["inputs"], data["outputs"] = {"items": self.items()}, {"items": self.items()}
            for item in data["inputs"]["items"]:
                kind = kind_of(item["type"])
                env = env.plus([Root(f"inputs.{item['name']}", T(kind, item.get("reference")))])
        self.sequence(env, None, 0, top=True)
        data["components"] = self.components
        return data

    def items(self) -> list[JSON]:
        items = []
        for name in self.some([name for name in NAMES if "." not in name], 0, 4):
            kind = self.pick(["string", "integer", "boolean", "date_time", "reference", "records", "record"])
            item: JSON = {"name": name, "type": kind}
            if kind in {"reference", "records", "record"} and self.world.tables:
                item["reference"] = self.pick(self.world.tables)
            items.append(item)
        return items

    def annotate(self, data: JSON) -> JSON:
        if self.annotated or self.chance(50):
            if self.requirement:
                start = self.number(0, len(self.requirement) - 1)
                data["annotation"] = self.requirement[start : self.number(start + 1, len(self.requirement))]
            else:
                data["annotation"] = self.draw(_TEXT)
        return data

    def trigger(self) -> tuple[JSON, list[Root]]:
        definition = self.world.triggers[self.pick(sorted(self.world.triggers))]
        self.sla = definition.name == "sla_task"
        update = definition.name in {"record_update", "record_create_or_update"}
        inputs = self.inputs(definition, Env(), pills=False, changes=update)
        assert inputs is not None, definition.name
        data = self.annotate({"type": definition.name, "inputs": inputs})
        return data, self.outputs("trigger", definition, inputs)

    def outputs(self, source: str, definition: Any, inputs: list[JSON]) -> list[Root]:
        given = {item["name"]: item["value"] for item in inputs}
        roots = []
        for output in definition.outputs:
            if (output.reference or "").startswith("$"):
                type_ = replace(type_of(output), table=given.get(output.reference[1:]))
            else:
                type_ = type_of(output)
            roots.append(Root(f"{source}.{output.name}", type_))
        return roots

    # -- steps ---------------------------------------------------------------------------------

    def put(self, category: str, definition: str, block: int | None, inputs: list[JSON], scope: str = "global") -> int:
        order = len(self.components) + 1
        data: JSON = {"category": category, "definition": definition, "scope": scope, "order": order}
        if block is not None:
            data["block"] = block
        self.components.append(self.annotate({**data, "inputs": inputs}))
        self.left -= 1
        return order

    def sequence(self, env: Env, block: int | None, depth: int, top: bool = False) -> list[Root]:
        """Some steps one after the other; what they leave visible behind them."""
        given: list[Root] = []
        for _ in range(self.number(1, 6 if top else 3)):
            order, roots, ended = self.element(env.plus(given), block, depth)
            given += roots
            env = replace(env, back=(*env.back, order))
            if ended or self.left <= 0:
                break
        return given

    def element(self, env: Env, block: int | None, depth: int) -> tuple[int, list[Root], bool]:
        """A step or a block: its order, what it leaves visible, whether the sequence ends here."""
        lists = [root for root in env.roots if root.type.kind in {"list", "records"}]
        options = ["step"] * 8 + ["timer", "placeholder"]
        if depth < 4 and self.left > 1:
            options += ["if", "if", "try", "parallel"] + ["each"] * (6 if lists else 0)
            options += ["until"] * any(root.type.kind not in NOT_COMPARED for root in env.roots)
        if env.branch:
            options += ["BREAK", "CONTINUE"]
        if env.goback:
            options += ["goback"]
        options += ["END"] if depth else []
        kind = self.pick(options)
        if kind == "step":
            return self.step(env, block)
        if kind == "timer":
            order = self.put("flowlogic", "TIMER", block, self.timer(env))
            outputs = [Root(f"{order}.total_duration", T("duration"))]
            return order, [*outputs, Root(f"{order}.scheduled_end_date_time", T("date_time"))], False
        if kind == "goback":
            inputs = [{"name": "step", "value": str(self.pick(env.goback))}]
            return self.put("flowlogic", "GOBACKTO", block, inputs), [], True
        if kind in {"BREAK", "CONTINUE", "END"}:
            return self.put("flowlogic", kind, block, []), [], True
        if kind == "if":
            return self.chain(env, block, depth), [], False
        if kind == "each":
            root = self.pick(lists)
            order = self.put("flowlogic", "FOREACH", block, [{"name": "items", "value": f"{{{{{root.path}}}}}"}])
            item = T("record", root.type.table) if root.type.table or root.type.kind == "records" else T("opaque")
            inner = replace(env, loop=True, branch=False, goback=None).plus([Root(f"{order}.item", item)])
            self.sequence(inner, order, depth + 1)
            return order, [], False
        if kind == "until":
            order = self.put("flowlogic", "DOUNTIL", block, [])
            given = self.sequence(replace(env, loop=True, branch=False, goback=None), order, depth + 1)
            condition = self.pill_condition(env.plus(given))
            assert condition is not None
            self.components[order - 1]["inputs"] = [{"name": "conditions", "value": condition}]
            return order, [], False
        if kind == "try":
            order = self.put("flowlogic", "TRY", block, [])
            given = self.sequence(replace(env, branch=False, goback=None), order, depth + 1)
            self.catch(env, given, block, depth)
            return order, given, False
        if kind == "parallel":
            order = self.put("flowlogic", "PARALLEL", block, [])
            given = []
            for _ in range(self.number(2, 3)):
                branch = self.put("flowlogic", "PARALLEL_BRANCH", order, [])
                inner = Env(roots=env.roots)
                given += self.sequence(inner, branch, depth + 1)
            return order, given, False
        return self.put("action", "placeholder", block, []), [], False

    def catch(self, env: Env, given: list[Root], block: int | None, depth: int) -> None:
        inside = replace(env.plus(given), branch=False, goback=env.back)
        self.sequence(inside, self.put("flowlogic", "CATCH", block, []), depth + 1)

    def chain(self, env: Env, block: int | None, depth: int) -> int:
        inside = replace(env, branch=env.loop, goback=env.back)
        first: int | None = None
        kinds = ["IF", *["ELSEIF"] * self.number(0, 2), *["ELSE"] * self.number(0, 1)]
        for kind in kinds:
            inputs = []
            if kind != "ELSE":
                condition = self.pill_condition(env)
                if condition is None:
                    if first is None:
                        return self.put("action", "placeholder", block, [])
                    break
                inputs = [{"name": "condition", "value": condition}]
            order = self.put("flowlogic", kind, block, inputs)
            first = first or order
            self.sequence(inside, order, depth + 1)
        assert first is not None
        return first

    def timer(self, env: Env) -> list[JSON]:
        when = self.pill(env, T("date_time")) or self.stamp()
        kind = self.pick(["explicit_duration", "relative_duration", "percentage_duration"])
        values = {
            "explicit_duration": {"duration": self.duration()},
            "relative_duration": {
                "duration": self.duration(),
                "relative_operator": self.pick(["before", "after"]),
                "relative_datetime": when,
            },
            "percentage_duration": {"percentage": str(self.number(0, 100)), "percentage_datetime": when},
        }[kind]
        return self.shuffled(
            [{"name": name, "value": value} for name, value in {"duration_type": kind, **values}.items()]
        )

    def step(self, env: Env, block: int | None) -> tuple[int, list[Root], bool]:
        names = sorted(self.world.steps)
        while names:
            name = self.pick(names)
            definition = self.world.steps[name]
            inputs = self.inputs(definition, env) if name != "sla_percentage_timer" or self.sla else None
            if inputs is not None:
                order = self.put(definition.category, name, block, inputs, definition.scope)
                return order, self.outputs(str(order), definition, inputs), False
            names = [other for other in names if other != name][:4]
        return self.put("action", "placeholder", block, []), [], False

    # -- inputs --------------------------------------------------------------------------------

    def shuffled(self, inputs: list[JSON]) -> list[JSON]:
        return inputs if self.canonical or self.chance(50) else self.draw(st.permutations(inputs))

    def inputs(self, definition: Any, env: Env, pills: bool = True, changes: bool = False) -> list[JSON] | None:
        """Values for the mandatory inputs and some others; None if that cannot be done here."""
        named, taken = table_field(definition), record_field(definition)
        chosen: dict[str, str] = {}
        table: str | None = None
        if taken is not None and pills and (taken.mandatory or self.chance(60)):
            pill = self.pill_of(env, T("record"))
            if pill is None and taken.mandatory:
                return None
            if pill is not None:
                chosen[taken.name], type_ = pill
                table = type_.table
        elif taken is not None and taken.mandatory:
            return None
        written = None
        if named is not None:
            written = self.table(definition, named, table, taken is not None and taken.name in chosen)
            if written is not None:
                chosen[named.name] = written
                table = written
            elif table is None and named.default:
                table = str(named.default)
        for item in definition.inputs:
            if item is taken or item is named:
                continue
            if not item.mandatory and not self.chance(40):
                continue
            value = self.value(definition, item, table, env, pills, changes, written is not None)
            if value is not None and (value or not item.mandatory):
                chosen[item.name] = value
            elif item.mandatory:
                return None
        inputs = [{"name": item.name, "value": chosen[item.name]} for item in definition.inputs if item.name in chosen]
        return self.shuffled(inputs)

    def table(self, definition: Any, named: Any, pill_table: str | None, has_pill: bool) -> str | None:
        """The value of the table input, None to leave it out."""
        world = self.world
        if has_pill:
            if pill_table is None:
                return (self.pick(sorted(world.tables)) if world.tables else "things") if named.mandatory else None
            if not self.canonical and not named.mandatory and self.chance(40):
                return None
            return self.pick(world.ancestors(pill_table)) if self.chance(20) else pill_table
        if not named.mandatory and self.chance(40):
            return None
        names = sorted(world.tables) or ["things", "other things", "END", "it's"]
        if definition.name.startswith("record_"):
            names = [name for name in names if not name.startswith("sc_")] or names
        return self.pick(names)

    def value(
        self, definition: Any, item: Any, table: str | None, env: Env, pills: bool, changes: bool, written: bool
    ) -> str | None:
        kind, world = kind_of(item.type), self.world
        fixed = {"email_conditions": "sys_email", "ah_fields": "sc_task"}.get(item.name)
        table = fixed if fixed in world.tables else table
        site = Site(env, table, pills, changes, own=definition.name == "wait_for_condition", open=world.open)
        if kind in {"conditions", "template", "field"}:
            if table is None or (not world.open and table not in world.tables):
                return None
            if kind == "conditions":
                return self.conditions(site) if item.mandatory or not self.chance(5) else ""
            if kind == "template":
                return self.template(site)
            return self.pick(_OPEN_COLUMNS) if world.open else self.pick(sorted(world.columns(table)))
        if kind == "table":
            return self.pick(sorted(world.tables) or ["things", "a b"])
        if kind == "approval":
            rules = [self.approval(env) for _ in range(self.number(1, 3))]
            return "".join(f"{self.pick(['Or', '&']) if i else ''}{rule}" for i, rule in enumerate(rules))
        if definition.name == "sla_percentage_timer" and item.name == "percentage":
            self.percentage += self.number(1, 30)
            return str(self.percentage)
        type_ = type_of(item)
        if pills and self.chance(50) and (pill := self.pill(env, type_)):
            return pill
        if type_.kind in {"record", "records"}:
            return self.pill(env, type_) if pills else None
        if type_.kind == "text" and pills:
            return self.prose(env) or "some text"
        return self.literal(type_) or "some text"

    def approval(self, env: Env) -> str:
        users = T("reference", "sys_user" if "sys_user" in self.world.tables else None)
        who = (self.pill(env, users) if self.world.tables and self.chance(60) else None) or "Some One"
        return f"Approves{self.pick(['Any', 'All', 'Res', '2#', '50%'])}U[{who}]"

    def prose(self, env: Env, query: bool = False) -> str:
        """Text with pills in it."""
        text = self.text(query)
        for _ in range(self.pick([0, 0, 1, 2])):
            if pill := self.pill(env, T("text")):
                text = text.rstrip("{") + pill + self.text(query)
        return text

    def literal(self, type_: T, query: bool = False) -> str:
        if type_.choices:
            return self.pick(type_.choices)
        match type_.kind:
            case "integer":
                return self.pick(["0", "1", "-7", "1000", "007", "123456789012345678901234567890"])
            case "number":
                return self.pick(["0", "1", "-7", "1000", "2.50", "-0.125"])
            case "boolean":
                return self.pick(["true", "false"])
            case "date":
                return self.pick([self.stamp(time=False), "2024-02-29", "0001-01-01", "9999-12-31"])
            case "date_time":
                return self.pick([self.stamp(), "2024-02-29 00:00:00", "9999-12-31 23:59:59"])
            case "time":
                return self.stamp(date=False)
            case "duration":
                return self.duration()
        return self.text(query)

    def duration(self) -> str:
        known = ["1970-01-01 00:00:00", "1970-01-11 00:00:00", "1970-01-01 00:15:00", "1970-01-02 01:01:01"]
        later = ["1970-01-11 04:00:00", "1970-03-01 23:59:59", "2069-12-31 00:00:01", "9999-12-31 23:59:59"]
        return self.pick([*known, *later])

    # -- pills ---------------------------------------------------------------------------------

    def pill(self, env: Env, slot: T) -> str | None:
        found = self.pill_of(env, slot)
        return found[0] if found else None

    def pill_of(self, env: Env, slot: T) -> tuple[str, T] | None:
        """A pill in scope that fits, walked up to three columns."""
        world = self.world
        direct = [(root.path, root.type) for root in env.roots if world.fits(root.type, slot)]
        starts = [root for root in env.roots if world.walkable(root.type)]
        loose = [root for root in env.roots if world.open and root.type.kind in {"record", "reference"}]
        if loose and slot.kind == "text" and self.chance(50):
            names = [self.pick(_OPEN_COLUMNS) for _ in range(self.number(1, 3))]
            return f"{{{{{'.'.join([self.pick(loose).path, *names])}}}}}", T("any")
        if starts and (not direct or self.chance(50)):
            root = self.pick(starts)
            path, here = root.path, root.type
            for depth in range(3):
                columns = world.columns(here.table or "")
                fitting = [name for name, type_ in columns.items() if world.fits(type_, slot)]
                walks = [name for name, type_ in columns.items() if world.walkable(type_)]
                if fitting and (depth == 2 or not walks or self.chance(50)):
                    name = self.pick(fitting)
                    return f"{{{{{path}.{name}}}}}", columns[name]
                if not walks:
                    break
                name = self.pick(walks)
                path, here = f"{path}.{name}", columns[name]
        if not direct:
            return None
        path, type_ = self.pick(direct)
        return f"{{{{{path}}}}}", type_

    def any_pill(self, env: Env) -> tuple[str, T] | None:
        """Any pill in scope, for the left side of a condition."""
        roots = [root for root in env.roots if root.type.kind not in NOT_COMPARED]
        if not roots:
            return None
        root = self.pick(roots)
        path, here = root.path, root.type
        for _ in range(self.number(0, 3)):
            if not self.world.walkable(here):
                break
            columns = self.world.columns(here.table or "")
            name = self.pick(sorted(name for name, type_ in columns.items() if type_.kind not in NOT_COMPARED))
            path, here = f"{path}.{name}", columns[name]
        return f"{{{{{path}}}}}", here

    # -- conditions and templates --------------------------------------------------------------

    def pill_condition(self, env: Env) -> str | None:
        """The condition of an IF or a DOUNTIL."""
        query = ""
        site = Site(env)
        for _ in range(self.number(1, 3)):
            found = self.any_pill(env)
            if found is None:
                return None
            left, type_ = found
            query += (self.pick(["^", "^", "^OR", "^NQ"]) if query else "") + left + self.comparison(left, type_, site)
        return query

    def conditions(self, site: Site) -> str:
        query = ""
        for _ in range(self.number(1, 4)):
            left, type_ = self.column(site, 0 if site.own else 2)
            join = self.pick(["^", "^", "^OR", "^NQ"]) if query else ""
            if join == "^" and left.startswith(("OR", "NQ")):
                join = "^NQ"  # whether `^ORder` is an OR depends on there being a column `der`
            query += join + left + self.comparison(left, type_, site)
        return query

    def column(self, site: Site, walk: int) -> tuple[str, T]:
        """A column of the table, or a dot-walk from it."""
        if site.open:
            return ".".join(self.pick(_OPEN_COLUMNS) for _ in range(self.number(1, walk + 1))), T("any")
        assert site.table is not None
        path, table = "", site.table
        while True:
            columns = self.world.columns(table)
            name = self.pick(sorted(name for name, type_ in columns.items() if type_.kind not in NOT_COMPARED))
            path += name
            if not walk or not self.world.walkable(columns[name]) or not self.chance(50):
                return path, columns[name]
            walk -= 1
            path, table = f"{path}.", columns[name].table or ""

    def template(self, site: Site) -> str:
        """Own columns, each once, each with its value."""
        if site.open:
            names = dict.fromkeys(self.some(_OPEN_COLUMNS, 1, 3), T("any"))
        else:
            assert site.table is not None
            columns = self.world.columns(site.table)
            usable = sorted(name for name, type_ in columns.items() if type_.kind not in NOT_SET)
            names = {name: columns[name] for name in self.some(usable, 1, 4)}
        parts: list[str] = []
        for name, type_ in names.items():
            if parts and name.startswith(("OR", "NQ")):
                parts.insert(0, f"{name}={self.operand(name, type_, '=', site)}")
            else:
                parts.append(f"{name}={self.operand(name, type_, '=', site)}")
        starts = [part for part in parts if part.startswith(("OR", "NQ"))]
        return "^".join([*starts[:1], *(part for part in parts if not part.startswith(("OR", "NQ")))])

    def comparison(self, left: str, type_: T, site: Site) -> str:
        """An operator that fits, with its operand."""
        pill = left.startswith("{{")
        fitting = [
            operator for operator in OPERATORS
            if type_.kind in operator.kinds
            and (site.changes or not operator.on_change)
            and not (pill and operator.operand in {"field", "offset"})
            and not (operator.operand == "span" and spans_are_refused())
            and not (site.own and operator.operand in {"period", "span", "offset", "field"})
            and not (type_.kind in {"record", "list"} and operator.operand in {"value", "list"} and operator.on_change)
        ]  # fmt: skip
        if type_.kind in {"record", "list", "records", "opaque"}:
            fitting = [operator for operator in fitting if operator.operand in {"none", "text"} or operator.name == "="]
        operator = self.pick(fitting) if fitting else None
        if operator is None or operator.operand == "none":
            return operator.name if operator else self.pick(["ISEMPTY", "ISNOTEMPTY"])
        name = operator.name
        match operator.operand:
            case "value":
                operand = self.operand(left, type_, name, site)
                if operand == "" and type_.kind in {"record", "list"}:
                    return "ISEMPTY"
            case "text":
                # what a list contains is not text, and the contract does not say which pills it may be
                plain = replace(site, pills=False) if type_.kind == "list" else site
                operand = self.operand(left, T("text"), name, plain)
                if operand == "":
                    return "ISEMPTY"
            case "list":
                items = [self.literal(type_, query=True) for _ in range(self.number(1, 3))]
                operand = ",".join(item for item in items if "," not in item) or "x"
                if type_.choices and operand == "x":
                    return "ISEMPTY"
                if not self.reads_back(left, name, operand, site):
                    return "ISNOTEMPTY"
            case "range":
                items = [self.literal(type_, query=True) for _ in range(2)]
                if any("@" in item for item in items) or not self.reads_back(left, name, items[0] + "@", site):
                    return "ISEMPTY"
                operand = "@".join(items)
            case "field":
                other, other_type = self.column(site, 1)
                same = other_type.kind == type_.kind
                operand = other if same and self.reads_back(left, name, other, site) else left
                if site.table is not None and not site.open and not self.reads_back(left, name, operand, site):
                    return "ISEMPTY"
                if type_.kind in {"date", "date_time"} and self.chance(30):
                    operand += f"@{self.pick(['minute', 'day', 'year'])}"
            case "period":
                words = self.pick(sorted(PERIODS))
                script = words.title().replace(" ", "")
                label = words.capitalize()
                operand = f"{label}@javascript:gs.beginningOf{script}()@javascript:gs.endOf{script}()"
            case "span":
                operand = f"@{self.pick(_SPAN_UNITS)}@{self.pick(['ago', 'ahead'])}@{self.number(0, 100)}"
            case "offset":
                dated = [name for name, of in self.world.columns(site.table or "").items()
                         if of.kind in {"date", "date_time"}]  # fmt: skip
                other = self.pick(sorted(dated)) if dated else left
                unit = self.pick(["minute", "hour", "day", "month", "year"])
                operand = f"{other}@{unit}@{self.pick(['before', 'after'])}@{self.number(0, 100)}"
                if not self.reads_back(left, name, operand, site):
                    return "ISEMPTY"
            case "weekday":
                day = self.pick(WEEKDAYS)
                operand = f"{day}@javascript:gs.datePart('dayofweek','{day.lower()}','GE')"
        return name + operand

    def operand(self, left: str, type_: T, operator: str, site: Site) -> str:
        """What is compared with or set: a pill, a value, text with pills; "" if nothing will do."""
        slot = T("text") if type_.kind == "any" else type_
        if type_.kind == "list":
            site = replace(site, pills=False)
        if site.pills and self.chance(40) and (pill := self.pill(site.env, slot)):
            return pill
        if type_.kind in {"record", "list"} and type_.kind == "record":
            return (self.pill(site.env, slot) if site.pills else None) or ""
        if type_.kind in {"date", "date_time"} and operator in {"<", ">"} and not site.own and self.chance(40):
            words = self.pick(sorted(PERIODS)).title().replace(" ", "")
            return f"javascript:gs.{'beginningOf' if operator == '<' else 'endOf'}{words}()"
        if type_.kind in {"date", "date_time"} and not site.own and self.chance(10):
            return self.pick(["javascript:gs.daysAgoStart(7)", "javascript:gs.dateGenerate('2027-01-31','start')"])
        if slot.kind == "text" and not slot.choices and site.pills:
            value = self.prose(site.env, query=True)
        else:
            value = self.literal(slot, query=True)
        if not self.reads_back(left, operator, value, site):
            value = {"text": "plain text", "reference": "Some One"}.get(slot.kind, "") if not slot.choices else ""
            value = value if self.reads_back(left, operator, value, site) else ""
        return value

    def reads_back(self, left: str, operator: str, value: str, site: Site) -> bool:
        """Whether left, operator and value, run together, can be told apart again."""
        whole = operator + value
        if value.startswith(("=", "!=", "<", ">")) or (value == "" and operator not in {"=", "!="}):
            return False
        if any(len(o.name) > len(operator) and whole.startswith(o.name) for o in OPERATORS):
            return False
        if left.startswith("{{") or site.open or site.table is None:
            return True
        names = {name for table in self.world.tables for name in self.world.columns(table)}
        return not any((left + whole).startswith(prefix + name) and len(prefix + name) > len(left)
                       for name in names for prefix in _prefixes(left))  # fmt: skip


def _prefixes(path: str) -> list[str]:
    return [path[: match.end()] for match in re.finditer(r"\.|^", path)]


@st.composite
def flows(
    draw: Any,
    instance: Instance,
    *,
    requirement: str | None = None,
    annotated: bool = True,
    canonical: bool = True,
    size: int = 12,
) -> JSON:
    """The JSON of valid flows.

    Args:
        requirement: annotations are spans of it (default: any text).
        annotated: every step and trigger has one (default), or about half of them.
        canonical: inputs stand in catalogue order and a table comes with each record pill (default).
        size: about how many steps at most.
    """
    return _FlowDrawer(draw, instance, requirement, annotated, canonical, size).flow()


class Drawn(tuple[Instance, Any]):
    """An instance and a JSON value, shown briefly: bundled instances are large."""

    def __repr__(self) -> str:
        instance, value = self
        named = instance in fixed_instances()
        shown = instance.name if named else instance.model_dump_json(exclude_defaults=True)
        return f"({shown}, {value!r})"


@st.composite
def instances_with_flows(draw: Any, **options: Any) -> Drawn:
    """An instance, and a valid flow over it."""
    instance = draw(instances())
    return Drawn((instance, draw(flows(instance, **options))))


@st.composite
def instances_with_junk(draw: Any) -> Drawn:
    """An instance, and any JSON or a damaged flow over it."""
    instance = draw(st.sampled_from(fixed_instances()))
    return Drawn((instance, draw(junk_json(instance))))


# -- mutations ---------------------------------------------------------------------------------


def mutations(flow: JSON, instance: Instance) -> Iterator[tuple[JSON, str]]:
    """Every way to break a valid flow that applies to it: the broken JSON, and the kind of issue expected."""
    for mutate in _MUTATIONS:
        broken = copy.deepcopy(flow)
        kind = mutate(broken, world_of(instance))
        if kind is not None:
            yield broken, kind


Mutation = Callable[[JSON, World], str | None]
_MUTATIONS: list[Mutation] = []


def _mutation(function: Mutation) -> Mutation:
    _MUTATIONS.append(function)
    return function


def _steps(flow: JSON, world: World) -> Iterator[tuple[JSON, Any]]:
    for component in flow["components"]:
        if component["category"] != "flowlogic" and component["definition"] in world.steps:
            yield component, world.steps[component["definition"]]


def _logic(flow: JSON, *names: str) -> list[JSON]:
    return [c for c in flow["components"] if c["category"] == "flowlogic" and c["definition"] in names]


def _owners(flow: JSON, world: World) -> Iterator[tuple[JSON, Any, Any]]:
    """Every input with its owner and its definition."""
    owners = [(flow["trigger"], world.triggers[flow["trigger"]["type"]])] if flow["trigger"] else []
    for owner, definition in [*owners, *_steps(flow, world)]:
        fields = {item.name: item for item in definition.inputs}
        for item in owner["inputs"]:
            yield owner, item, fields[item["name"]]


def _append(
    flow: JSON, definition: str, *, block: int | None = None, category: str = "flowlogic", inputs: Any = ()
) -> JSON:
    data: JSON = {"category": category, "definition": definition, "scope": "global",
                  "order": len(flow["components"]) + 1, "inputs": list(inputs)}  # fmt: skip
    if block is not None:
        data["block"] = block
    flow["components"].append(data)
    return data


def _ends_open(flow: JSON) -> bool:
    """Whether something may be added at the end of the top level."""
    return not any(c["definition"] == "END" and "block" not in c for c in flow["components"])


@_mutation
def _shape(flow: JSON, world: World) -> str:
    flow["components"] = {"not": "a list"}
    return "syntax"


@_mutation
def _not_an_object(flow: JSON, world: World) -> str:
    flow["components"].append("a step")
    return "syntax"


@_mutation
def _other_trigger(flow: JSON, world: World) -> str | None:
    if flow["trigger"] is None:
        return None
    flow["trigger"]["type"] += "_nobody_knows"
    return "unknown_trigger"


@_mutation
def _two_triggers(flow: JSON, world: World) -> str | None:
    if flow["trigger"] is None:
        return None
    flow["trigger"] = [flow["trigger"], flow["trigger"]]
    return "trigger_count"


@_mutation
def _subflow_with_trigger(flow: JSON, world: World) -> str | None:
    if flow["trigger"] is None:
        return None
    flow["inputs"] = flow["outputs"] = {"items": []}
    return "trigger_count"


@_mutation
def _other_step(flow: JSON, world: World) -> str | None:
    for component, _ in _steps(flow, world):
        component["definition"] += "_nobody_knows"
        return "unknown_step"
    return None


@_mutation
def _not_included(flow: JSON, world: World) -> str:
    _append(flow, "DECISION")
    return "unknown_step"


@_mutation
def _other_input(flow: JSON, world: World) -> str | None:
    for component, _ in _steps(flow, world):
        component["inputs"].append({"name": "nobody knows", "value": "x"})
        return "unknown_input"
    return None


@_mutation
def _placeholder_input(flow: JSON, world: World) -> str:
    _append(flow, "placeholder", category="action", inputs=[{"name": "x", "value": "y"}])
    return "unknown_input"


@_mutation
def _twice(flow: JSON, world: World) -> str | None:
    for owner, item, _ in _owners(flow, world):
        owner["inputs"].append(dict(item))
        return "duplicate_input"
    return None


@_mutation
def _missing(flow: JSON, world: World) -> str | None:
    for owner, item, definition in _owners(flow, world):
        implied = definition.type == "table_name"
        if definition.mandatory and not implied:
            owner["inputs"].remove(item)
            return "missing_input"
    return None


@_mutation
def _empty_mandatory(flow: JSON, world: World) -> str | None:
    for _, item, definition in _owners(flow, world):
        if definition.mandatory:
            item["value"] = ""
            return "missing_input"
    return None


@_mutation
def _no_condition(flow: JSON, world: World) -> str | None:
    for component in _logic(flow, "IF", "DOUNTIL", "FOREACH", "TIMER", "GOBACKTO"):
        component["inputs"] = []
        return "goback_target" if component["definition"] == "GOBACKTO" else "missing_input"
    return None


@_mutation
def _other_table(flow: JSON, world: World) -> str | None:
    for _, item, definition in _owners(flow, world):
        if definition.type == "table_name" and world.tables:
            item["value"] += "_nobody_knows"
            return "unknown_table"
    return None


def _governed(flow: JSON, world: World, kind: str) -> Iterator[tuple[JSON, JSON, str]]:
    """Inputs of a kind in steps whose table is written."""
    for owner, item, definition in _owners(flow, world):
        step = world.triggers.get(owner["type"]) if "type" in owner else world.steps[owner["definition"]]
        named = table_field(step)
        given = {other["name"]: other["value"] for other in owner["inputs"]}
        if definition.name in {"email_conditions", "ah_fields"} or named is None or not world.tables:
            continue
        if kind_of(definition.type) == kind and item["value"] and given.get(named.name) in world.tables:
            yield owner, item, given[named.name]


@_mutation
def _other_column(flow: JSON, world: World) -> str | None:
    for _, item, _ in _governed(flow, world, "conditions"):
        item["value"] = "nobody_knows=1"
        return "unknown_column"
    return None


@_mutation
def _other_template_column(flow: JSON, world: World) -> str | None:
    for _, item, _ in _governed(flow, world, "template"):
        item["value"] += "^nobody_knows=1"
        return "unknown_column"
    return None


@_mutation
def _other_sort_column(flow: JSON, world: World) -> str | None:
    for _, item, _ in _governed(flow, world, "field"):
        item["value"] += ".nobody_knows"
        return "unknown_column"
    return None


@_mutation
def _other_choice(flow: JSON, world: World) -> str | None:
    for _, item, definition in _owners(flow, world):
        if definition.choices:
            item["value"] = "nobody knows"
            return "unknown_choice"
    return None


@_mutation
def _column_choice(flow: JSON, world: World) -> str | None:
    for _, item, table in _governed(flow, world, "conditions"):
        for name, type_ in world.columns(table).items():
            if type_.choices and not name.startswith(("OR", "NQ")):
                item["value"] += f"^{name}=nobody knows"
                return "unknown_choice"
    return None


_WRONG = {
    "boolean": "perhaps",
    "number": "many",
    "integer": "1.5",
    "date": "2024-02-30",
    "date_time": "soon",
    "time": "25:00",
    "duration": "x",
}


@_mutation
def _wrong_value(flow: JSON, world: World) -> str | None:
    for _, item, definition in _owners(flow, world):
        if not definition.choices and kind_of(definition.type) in _WRONG:
            item["value"] = _WRONG[kind_of(definition.type)]
            return "bad_value"
    return None


@_mutation
def _not_a_string(flow: JSON, world: World) -> str | None:
    for _, item, _ in _owners(flow, world):
        item["value"] = 7
        return "bad_value"
    return None


@_mutation
def _control(flow: JSON, world: World) -> str | None:
    for _, item, definition in _owners(flow, world):
        if type_of(definition).kind == "text":
            item["value"] = "\x00"
            return "bad_value"
    return None


@_mutation
def _no_operator(flow: JSON, world: World) -> str | None:
    for _, item, _ in _governed(flow, world, "conditions"):
        item["value"] += "^"
        return "bad_value"
    return None


@_mutation
def _wrong_operator(flow: JSON, world: World) -> str | None:
    for _, item, table in _governed(flow, world, "conditions"):
        for name, type_ in world.columns(table).items():
            if type_.kind == "boolean" and not name.startswith(("OR", "NQ")):
                item["value"] += f"^{name}ONToday@javascript:gs.beginningOfToday()@javascript:gs.endOfToday()"
                return "bad_operator"
    return None


@_mutation
def _template_operator(flow: JSON, world: World) -> str | None:
    for _, item, _ in _governed(flow, world, "template"):
        item["value"] = "sys_id!=x"
        return "bad_operator"
    return None


@_mutation
def _change_in_a_step(flow: JSON, world: World) -> str | None:
    for owner, item, _ in _governed(flow, world, "conditions"):
        if "definition" in owner:
            item["value"] = "sys_idVALCHANGES"
            return "bad_operator"
    return None


@_mutation
def _other_output(flow: JSON, world: World) -> str | None:
    text = json.dumps(flow)
    found = re.search(r"\{\{(trigger|[0-9]+)\.", text)
    if found is None or (found[1].isdigit() and flow["components"][int(found[1]) - 1]["definition"] == "placeholder"):
        return None
    flow.update(json.loads(f"{text[: found.end()]}nobody knows.{text[found.end() :]}"))
    return "unknown_pill"


@_mutation
def _other_source(flow: JSON, world: World) -> str | None:
    for owner, item, definition in _owners(flow, world):
        if "definition" in owner and type_of(definition).kind == "text":
            item["value"] = "{{999.Record}}"
            return "unknown_pill"
    return None


@_mutation
def _broken_pill(flow: JSON, world: World) -> str | None:
    for owner, item, definition in _owners(flow, world):
        if "definition" in owner and type_of(definition).kind == "text":
            item["value"] = "before {{1.x} after"
            return "unknown_pill"
    return None


@_mutation
def _later(flow: JSON, world: World) -> str | None:
    for owner, item, definition in _owners(flow, world):
        if "definition" in owner and type_of(definition).kind == "text":
            for component, step in _steps(flow, world):
                if component["order"] >= owner["order"] and step.outputs:
                    item["value"] = f"{{{{{component['order']}.{step.outputs[0].name}}}}}"
                    return "pill_out_of_scope"
    return None


@_mutation
def _out_of_the_branch(flow: JSON, world: World) -> str | None:
    hidden = {c["order"] for c in _logic(flow, "IF", "ELSEIF", "ELSE", "FOREACH", "DOUNTIL")}
    for component, step in _steps(flow, world):
        if component.get("block") in hidden and step.outputs:
            pill = f"{{{{{component['order']}.{step.outputs[0].name}}}}}"
            inputs = [{"name": "condition", "value": f"{pill}ISEMPTY"}]
            order = _append(flow, "IF", inputs=inputs)["order"]
            _append(flow, "placeholder", block=order, category="action")
            return "pill_out_of_scope"
    return None


@_mutation
def _item_after_the_loop(flow: JSON, world: World) -> str | None:
    for component in _logic(flow, "FOREACH"):
        inputs = [{"name": "condition", "value": f"{{{{{component['order']}.item}}}}ISEMPTY"}]
        order = _append(flow, "IF", inputs=inputs)["order"]
        _append(flow, "placeholder", block=order, category="action")
        return "pill_out_of_scope"
    return None


@_mutation
def _wrong_pill(flow: JSON, world: World) -> str | None:
    if flow["trigger"] is None:
        return None
    given = {item["name"]: item["value"] for item in flow["trigger"]["inputs"]}
    outputs = world.triggers[flow["trigger"]["type"]].outputs
    record = next((o for o in outputs if kind_of(o.type) in {"record", "reference"} and not o.choices), None)
    for owner, item, definition in _owners(flow, world):
        if record and "definition" in owner and type_of(definition).kind in {"integer", "number", "boolean", "text"}:
            item["value"] = f"{{{{trigger.{record.name}}}}}"
            return "pill_type" if given is not None else None
    return None


@_mutation
def _not_a_list(flow: JSON, world: World) -> str:
    order = _append(flow, "FOREACH", inputs=[{"name": "items", "value": "all of them"}])["order"]
    _append(flow, "placeholder", block=order, category="action")
    return "not_a_list"


@_mutation
def _loop_over_a_scalar(flow: JSON, world: World) -> str | None:
    for component, step in _steps(flow, world):
        for output in step.outputs:
            if "block" not in component and type_of(output).kind in {
                "integer",
                "number",
                "text",
                "date_time",
                "record",
            }:
                pill = f"{{{{{component['order']}.{output.name}}}}}"
                order = _append(flow, "FOREACH", inputs=[{"name": "items", "value": pill}])["order"]
                _append(flow, "placeholder", block=order, category="action")
                return "not_a_list"
    return None


@_mutation
def _lone_else(flow: JSON, world: World) -> str:
    _append(flow, "placeholder", category="action")
    order = _append(flow, "ELSE")["order"]
    _append(flow, "placeholder", block=order, category="action")
    return "else_without_if"


@_mutation
def _lone_catch(flow: JSON, world: World) -> str:
    _append(flow, "placeholder", category="action")
    order = _append(flow, "CATCH")["order"]
    _append(flow, "placeholder", block=order, category="action")
    return "catch_without_try"


@_mutation
def _lone_try(flow: JSON, world: World) -> str:
    order = _append(flow, "TRY")["order"]
    _append(flow, "placeholder", block=order, category="action")
    return "try_without_catch"


@_mutation
def _one_branch(flow: JSON, world: World) -> str:
    order = _append(flow, "PARALLEL")["order"]
    branch = _append(flow, "PARALLEL_BRANCH", block=order)["order"]
    _append(flow, "placeholder", block=branch, category="action")
    return "parallel_branches"


@_mutation
def _stray_branch(flow: JSON, world: World) -> str:
    branch = _append(flow, "PARALLEL_BRANCH")["order"]
    _append(flow, "placeholder", block=branch, category="action")
    return "parallel_branches"


@_mutation
def _step_in_parallel(flow: JSON, world: World) -> str | None:
    for component in _logic(flow, "PARALLEL"):
        last = flow["components"][-1]
        inside = {component["order"]}
        for other in flow["components"]:
            if other.get("block") in inside:
                inside.add(other["order"])
        if last["order"] in inside:
            _append(flow, "placeholder", block=component["order"], category="action")
            return "parallel_branches"
    return None


@_mutation
def _break(flow: JSON, world: World) -> str:
    _append(flow, "BREAK")
    return "break_outside_loop"


@_mutation
def _break_in_the_loop(flow: JSON, world: World) -> str | None:
    last = flow["components"][-1]
    for component in _logic(flow, "FOREACH", "DOUNTIL"):
        if last.get("block") == component["order"] and last["definition"] != "END":
            _append(flow, "CONTINUE", block=component["order"])
            return "break_outside_loop"
    return None


@_mutation
def _after_end(flow: JSON, world: World) -> str:
    _append(flow, "END")
    _append(flow, "placeholder", category="action")
    return "after_end"


@_mutation
def _goback_outside(flow: JSON, world: World) -> str:
    _append(flow, "GOBACKTO", inputs=[{"name": "step", "value": "1"}])
    return "goback_target"


@_mutation
def _goback_forward(flow: JSON, world: World) -> str | None:
    for component in _logic(flow, "GOBACKTO"):
        component["inputs"] = [{"name": "step", "value": str(component["order"])}]
        return "goback_target"
    return None


@_mutation
def _sla_timer(flow: JSON, world: World) -> str | None:
    if "sla_percentage_timer" not in world.steps or (flow["trigger"] or {}).get("type") == "sla_task":
        return None
    _append(flow, "sla_percentage_timer", category="action", inputs=[{"name": "percentage", "value": "50"}])
    return "sla_timer_outside_sla_flow"


@_mutation
def _sla_order(flow: JSON, world: World) -> str | None:
    if (flow["trigger"] or {}).get("type") != "sla_task" or "sla_percentage_timer" not in world.steps:
        return None
    for percentage in ("75", "50"):
        _append(flow, "sla_percentage_timer", category="action", inputs=[{"name": "percentage", "value": percentage}])
    return "sla_timer_order"


@_mutation
def _catalog_table(flow: JSON, world: World) -> str | None:
    trigger = flow["trigger"] or {}
    if not trigger.get("type", "").startswith("record_") or "service_catalog" not in world.triggers:
        return None
    trigger["inputs"] = [{"name": "table", "value": "sc_req_item"}]
    return "catalog_table_trigger"


@_mutation
def _wait_dotwalk(flow: JSON, world: World) -> str | None:
    for owner, item, table in _governed(flow, world, "conditions"):
        if owner.get("definition") == "wait_for_condition":
            for name, type_ in world.columns(table).items():
                if world.walkable(type_):
                    item["value"] = f"{name}.sys_id=x"
                    return "wait_dotwalk"
    return None


@_mutation
def _field_twice(flow: JSON, world: World) -> str | None:
    for _, item, _ in _governed(flow, world, "template"):
        if not item["value"].startswith(("OR", "NQ")):
            item["value"] += f"^{item['value'].split('^')[0]}"
            return "duplicate_field"
    return None


@_mutation
def _other_table_than_the_pill(flow: JSON, world: World) -> str | None:
    trigger = flow["trigger"] or {}
    current = next((item["value"] for item in trigger.get("inputs", ()) if item["name"] == "table"), None)
    if current not in world.tables or not trigger["type"].startswith("record_"):
        return None
    for component, step in _steps(flow, world):
        named, taken = table_field(step), record_field(step)
        if named is None or taken is None:
            continue
        for table in world.tables:
            if not world.is_a(current, table):
                inputs = [{"name": named.name, "value": table}, {"name": taken.name, "value": "{{trigger.current}}"}]
                component["inputs"] = inputs
                return "table_mismatch"
    return None


@_mutation
def _other_scope(flow: JSON, world: World) -> str | None:
    for component, _ in _steps(flow, world):
        component["scope"] += "_x"
        return "wrong_scope"
    return None


@_mutation
def _logic_scope(flow: JSON, world: World) -> str:
    _append(flow, "END")["scope"] = "x_app"
    return "wrong_scope"


@_mutation
def _other_category(flow: JSON, world: World) -> str | None:
    for component, _ in _steps(flow, world):
        component["category"] = {"action": "subflow", "subflow": "action"}[component["category"]]
        return "wrong_category"
    return None


@_mutation
def _no_category(flow: JSON, world: World) -> str:
    flow["components"][0]["category"] = "thing"
    return "wrong_category"


@_mutation
def _pill_in_the_trigger(flow: JSON, world: World) -> str | None:
    for owner, item, definition in _owners(flow, world):
        if "definition" not in owner and type_of(definition).kind not in {"table", "conditions"}:
            item["value"] = "{{trigger.x}}"
            return "trigger_pill"
    return None


@_mutation
def _pill_in_the_trigger_condition(flow: JSON, world: World) -> str | None:
    for owner, item, _ in _governed(flow, world, "conditions"):
        if "definition" not in owner:
            item["value"] = "sys_id={{trigger.current}}"
            return "trigger_pill"
    return None


@_mutation
def _empty(flow: JSON, world: World) -> str:
    _append(flow, "TRY")
    return "empty_block"


@_mutation
def _order(flow: JSON, world: World) -> str:
    flow["components"][-1]["order"] += 1
    return "order"


@_mutation
def _same_order(flow: JSON, world: World) -> str:
    flow["components"].append(copy.deepcopy(flow["components"][-1]))
    return "order"


@_mutation
def _no_order(flow: JSON, world: World) -> str:
    del flow["components"][0]["order"]
    return "order"


@_mutation
def _no_such_block(flow: JSON, world: World) -> str:
    flow["components"][-1]["block"] = 99999
    return "block"


@_mutation
def _own_block(flow: JSON, world: World) -> str:
    flow["components"][-1]["block"] = flow["components"][-1]["order"]
    return "block"


@_mutation
def _block_of_a_step(flow: JSON, world: World) -> str:
    order = _append(flow, "placeholder", category="action")["order"]
    _append(flow, "placeholder", category="action", block=order)
    return "block"


# -- junk --------------------------------------------------------------------------------------

_WORDS = ["trigger", "components", "inputs", "outputs", "items", "name", "value", "type", "order", "block", "category",
          "definition", "scope", "annotation", "reference", "action", "flowlogic", "IF", "FOREACH", "{{1.Records}}",
          "{{", "{{}}", "{{trigger.current.a.b}}", "a=b^ORc", "^", "^NQ^OR", "\ud800", "x" * 300]  # fmt: skip
_SCALAR_JSON = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(_WORDS),
    st.just(10**40), st.just(-1), st.just(0),
)  # fmt: skip
_ANY_JSON = st.recursive(
    _SCALAR_JSON,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(_WORDS), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=20,
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


@st.composite
def _damaged(draw: Any, instance: Instance) -> Any:
    flow = copy.deepcopy(draw(flows(instance, size=6)))
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(flow))
        if not places:
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        action = draw(st.sampled_from(["replace", "delete", "copy", "mangle"]))
        if action == "replace":
            container[key] = draw(_ANY_JSON)
        elif action == "delete":
            del container[key]
        elif action == "copy":
            other, name = places[draw(st.integers(0, len(places) - 1))]
            container[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
        elif isinstance(container[key], str):
            at = draw(st.integers(0, len(container[key])))
            container[key] = container[key][:at] + draw(st.sampled_from(_WORDS)) + container[key][at:]
    return flow


def junk_json(instance: Instance | None = None) -> st.SearchStrategy[Any]:
    """Any JSON, and flows with something replaced, deleted, copied or mangled."""
    return st.one_of(_ANY_JSON, _damaged(instance or fixed_instances()[0]))


__all__ = [
    "NAMES",
    "Drawn",
    "fixed_instances",
    "flows",
    "instance_jsons",
    "instances",
    "instances_with_flows",
    "instances_with_junk",
    "junk_json",
    "mutations",
]
