"""DSL text to a flow: nesting, derived values, and everything that is wrong, with its place.

>>> from flowdsl.instance import Instance
>>> servicenow = Instance.load("servicenow")
>>> flow = compile_dsl('''
... ON "When a user becomes inactive" record_update sys_user
...   condition: active CHANGESTO false
... "find the incidents they own" look_up_records incident
...   conditions: assigned_to = {{trigger.current}}
... ''', servicenow)
>>> flow.components[0].get("conditions")
'assigned_to={{trigger.current}}'
>>> compile_dsl('ON daily', servicenow)
Traceback (most recent call last):
...
flowdsl.errors.InvalidFlow: 1:1 missing_input trigger: daily needs the input 'time'
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowdsl.check import check_flow
from flowdsl.errors import FlowIssue, InvalidFlow
from flowdsl.instance import Field, Instance, Step, TriggerType, table_input
from flowdsl.logic import LOGIC
from flowdsl.model import PLACEHOLDER, Category, Component, Flow, Input, Item, Items, Trigger
from flowdsl.query import Columns, clause_problem, encode_query, read_clauses
from flowdsl.scope import Scope, record_input
from flowdsl.syntax import InputLine, Line, OutlineLine, Place, Value, parse_lines
from flowdsl.tables import columns_for, header_inputs, header_table, owner_of, table_place
from flowdsl.typed import Typed, typed_of
from flowdsl.values import read_value
from grammars.kinds import kind_of

#: Flow logic whose name in the JSON is not its DSL word.
WORDS = {"BRANCH": "PARALLEL_BRANCH", "STOP": "END"}
_OPENS = frozenset({"IF", "FOREACH", "DOUNTIL", "PARALLEL", "TRY"})
_CHAINS = {"ELSEIF": ("IF", "ELSEIF", "ELSE"), "ELSE": ("IF", "ELSEIF", "ELSE"), "CATCH": ("TRY", "CATCH")}


def compile_dsl(text: str, instance: Instance) -> Flow:
    """The flow that a DSL text describes.

    Raises:
        InvalidFlow: `errors` lists every issue, each with line and column.
    """
    flow, issues = read_dsl(text, instance)
    if issues:
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        raise InvalidFlow(f"{issues[0]}{more}", tuple(issues))
    return flow


def read_dsl(text: str, instance: Instance) -> tuple[Flow, list[FlowIssue]]:
    """The flow of a DSL text as far as it can be read, and every issue in reading order."""
    lines, issues = parse_lines(text)
    draft = _Draft(instance)
    for line in lines:
        draft.add(line)
    flow, places = draft.finish()
    unread = {draft.owner_of_line(issue.line) for issue in issues if issue.line is not None}
    issues += draft.issues
    # An input whose line could not be read is not missing as well.
    found = (
        issue for issue in check_flow(flow, instance) if (issue.kind, issue.where in unread) != ("missing_input", True)
    )
    issues += [_placed(issue, places) for issue in found]
    issues.sort(key=lambda issue: (issue.line or 0, issue.column or 0))
    return flow, issues


#: By owner, input and part of it; the last line of an input that is there twice has a part of its own.
_LAST = -1
_Places = dict[tuple[int | str, str | None, int | None], Place]


def _placed(issue: FlowIssue, places: _Places) -> FlowIssue:
    where, name = issue.where, issue.input
    last = _LAST if issue.kind == "duplicate_input" else issue.part
    keys = ((where, name, last), (where, name, None), (where, None, None))
    line, column = next((places[key] for key in keys if key in places), (1, 1))
    return replace(issue, line=line, column=column)


@dataclass
class _Part:
    """The trigger or a step while it is being read."""

    line: OutlineLine
    definition: Step | TriggerType | None
    category: Category = "action"
    name: str = ""
    order: int = 0
    block: int | None = None
    inputs: list[InputLine] = field(default_factory=list)

    @property
    def where(self) -> int | str:
        return self.order or "trigger"

    @property
    def fields(self) -> dict[str, Field]:
        return {item.name: item for item in self.definition.inputs} if self.definition else {}


class _Draft:
    """A flow while it is being read, line by line."""

    def __init__(self, instance: Instance):
        self.instance = instance
        self.issues: list[FlowIssue] = []
        self.trigger: _Part | None = None
        self.items: dict[str, list[Item]] | None = None
        self.parts: list[_Part] = []
        self.stack: list[_Part] = []
        self.current: _Part | None = None

    def problem(self, kind: str, message: str, at: Place, where: int | str = "flow") -> None:
        self.issues.append(FlowIssue(kind, message, where, None, None, *at))

    def owner_of_line(self, number: int) -> int | str:
        """The step, or the trigger, that an input on this line belongs to."""
        parts = [*([self.trigger] if self.trigger else []), *self.parts]
        return next((part.where for part in reversed(parts) if part.line.at[0] < number), "flow")

    # -- lines ---------------------------------------------------------------------------------

    def add(self, line: Line) -> None:
        if isinstance(line, InputLine):
            if self.current is None:
                self.problem("syntax", f"the input {line.name!r} belongs to no step", line.at)
            else:
                self.current.inputs.append(line)
            return
        match line.form:
            case "trigger" | "subflow":
                self._header(line)
            case "input" | "output":
                self._declaration(line)
            case "end":
                self._end(line)
            case _:
                self._step(line)

    def _header(self, line: OutlineLine) -> None:
        if self.trigger is not None or self.items is not None:
            self.problem("trigger_count", "a flow has one trigger", line.at, "trigger")
        elif self.parts:
            self.problem("syntax", "the trigger stands before the first step", line.at, "trigger")
        if line.form == "subflow":
            self.items = self.items or {"input": [], "output": []}
            return
        part = _Part(line, self.instance.trigger_by_name.get(line.names[0]), name=line.names[0])
        self.trigger = self.trigger or part
        self.current = part

    def _declaration(self, line: OutlineLine) -> None:
        if self.items is None:
            self.problem("syntax", "inputs and outputs are declared below SUBFLOW", line.at)
            return
        name, kind, *reference = line.names
        self.items[line.form].append(Item(name=name, type=kind, reference=reference[0] if reference else None))

    def _end(self, line: OutlineLine) -> None:
        if not self.stack:
            self.problem("syntax", "END closes nothing", line.at)
            return
        closed = self.stack.pop()
        if closed.name == "PARALLEL_BRANCH" and self.stack and self.stack[-1].name == "PARALLEL":
            self.stack.pop()
        self.current = None

    def _step(self, line: OutlineLine) -> None:
        part = self._part(line)
        name = part.name
        top = self.stack[-1] if self.stack else None
        if part.category == "flowlogic" and top is not None and top.category == "flowlogic":
            if top.name in _CHAINS.get(name, ()) or (name, top.name) == ("PARALLEL_BRANCH", "PARALLEL_BRANCH"):
                self.stack.pop()
        part.order = len(self.parts) + 1
        part.block = self.stack[-1].order if self.stack else None
        if line.number is not None and line.number != part.order:
            self.problem("order", f"this is step {part.order}, not {line.number}", line.at, part.order)
        self.parts.append(part)
        if part.category == "flowlogic" and (name in _OPENS or name in _CHAINS or name == "PARALLEL_BRANCH"):
            self.stack.append(part)
        self.current = part

    def _part(self, line: OutlineLine) -> _Part:
        if line.form == "logic":
            name = WORDS.get(line.names[0], line.names[0])
            return _Part(line, LOGIC[name], "flowlogic", name)
        if line.form == "placeholder":
            return _Part(line, None, "action", PLACEHOLDER)
        step = self.instance.step_by_name.get(line.names[0])
        return _Part(line, step, step.category if step else "action", line.names[0])

    # -- the flow ------------------------------------------------------------------------------

    def finish(self) -> tuple[Flow, _Places]:
        """The flow read so far, and where each of its parts and inputs stands."""
        for part in self.stack:
            if part.name != "PARALLEL_BRANCH":
                self.problem("syntax", f"{part.name} is not closed by END", part.line.at, part.order)
        # What a condition means depends on the pills and tables of other steps: read those first.
        scope = Scope.of(self._flow(None), self.instance)
        places: _Places = {("flow", None, None): (1, 1), ("trigger", None, None): (1, 1)}
        for part in [*([self.trigger] if self.trigger else []), *self.parts]:
            places[part.where, None, None] = part.line.at
            for line in part.inputs:
                places.setdefault((part.where, line.name, None), line.at)
                places[part.where, line.name, _LAST] = line.at
                for i, clause in enumerate(line.value if isinstance(line.value, tuple) else ()):
                    places.setdefault((part.where, line.name, i), clause.at)
        return self._flow(scope), places

    def _flow(self, scope: Scope | None) -> Flow:
        head, items = self.trigger, self.items
        trigger = None
        if head is not None:
            trigger = Trigger(type=head.name, annotation=head.line.annotation, inputs=self._inputs(head, None, scope))
        components = tuple(
            Component(
                category=part.category,
                definition=part.name,
                scope=getattr(part.definition, "scope", "global"),
                order=part.order,
                block=part.block,
                annotation=part.line.annotation,
                inputs=self._inputs(part, at, scope),
            )
            for at, part in enumerate(self.parts)
        )
        return Flow(
            trigger=trigger,
            inputs=Items(items=tuple(items["input"])) if items is not None else None,
            outputs=Items(items=tuple(items["output"])) if items is not None else None,
            components=components,
        )

    def _inputs(self, part: _Part, at: int | None, scope: Scope | None) -> tuple[Input, ...]:
        on_line = part.line.names[1] if len(part.line.names) > 1 else None
        if scope is not None and on_line is not None:
            self._check_table(part, at, on_line, scope)

        def problem(kind: str, message: str, line: InputLine) -> None:
            self.problem(kind, message, line.at, part.where)

        loop = part.category == "flowlogic"
        return read_inputs(part.inputs, part.definition, None if loop else on_line, scope, at, problem)

    def _check_table(self, part: _Part, at: int | None, on_line: str, scope: Scope) -> None:
        """The table on an outline line against what its inputs say."""
        if part.category == "flowlogic":
            item = scope.loop_item(at) if at is not None and part.name == "FOREACH" else None
            if item is None:
                self.problem("unknown_input", f"{part.name} takes no table", part.line.at, part.where)
            elif item.table is not None and item.table != on_line:
                message = f"the line says {on_line}, the items are of {item.table}"
                self.problem("table_mismatch", message, part.line.at, part.where)
            return
        named = table_input(part.definition.inputs) if part.definition else None
        if named is None and part.definition is not None:
            self.problem("unknown_input", f"{part.name} takes no table", part.line.at, part.where)
        for line in part.inputs:
            if named is not None and line.name == named.name:
                said = line.value.text if isinstance(line.value, Value) else "NONE"
                if said != on_line:
                    message = f"the line says {on_line}, the input says {said}"
                    self.problem("table_mismatch", message, line.at, part.where)


_Problem = Callable[[str, str, InputLine], None]


def read_inputs(
    lines: Sequence[InputLine],
    definition: Step | TriggerType | None,
    table: str | None,
    scope: Scope | None,
    at: int | None,
    problem: _Problem,
) -> tuple[Input, ...]:
    """The inputs of written lines, with the table that the outline line names or the record implies.

    Args:
        table: what the outline line names.
        scope: of the flow with its plain inputs; None: conditions are left empty for now.
        problem: is told of what cannot be read.
    """
    fields = {item.name: item for item in definition.inputs} if definition else {}
    inputs = [
        Input(name=line.name, value=_read_input(line, fields.get(line.name), scope, at, problem))
        for line in lines
        if line.value is not None
    ]
    named = table_input(definition.inputs) if definition is not None else None
    if definition is None or named is None or any(line.name == named.name for line in lines):
        return tuple(inputs)
    if table is None and record_input(definition) is not None and scope is not None and at is not None:
        table = scope.implied_table(at)
    if table is not None:
        place = table_place(definition, named, [item.name for item in inputs])
        inputs.insert(place, Input(name=named.name, value=table))
    return tuple(inputs)


def _read_input(line: InputLine, field: Field | None, scope: Scope | None, at: int | None, problem: _Problem) -> str:
    assert line.value is not None
    if isinstance(line.value, Value):
        return read_value(line.value, typed_of(field) if field is not None else Typed("text"))
    if scope is None:
        return ""
    if field is not None and kind_of(field.type) not in {"conditions", "template"}:
        problem("bad_value", f"{line.name} takes one value, not conditions", line)
        return ""
    columns = columns_for(scope, at, field) if field is not None else Columns(scope.instance, is_open=True)
    terms = read_clauses(line.value, columns)
    for clause, term in zip(line.value, terms, strict=True):
        if message := clause_problem(clause, term, columns):
            problem("bad_value", message, replace(line, at=clause.at))
    return encode_query(terms)


def fill(flow: Flow, at: int | None, text: str, instance: Instance, loops: Mapping[int, str | None]) -> Flow:
    """A flow with the inputs of one step (by index; None: the trigger) read from their lines.

    Args:
        loops: as in `Scope.of`.

    Raises:
        InvalidFlow: the lines cannot be read.
    """
    read, issues = parse_lines(text)
    lines = [line for line in read if isinstance(line, InputLine)]

    def problem(kind: str, message: str, line: InputLine) -> None:
        issues.append(FlowIssue(kind, message, flow.where(at), line.name, None, *line.at))

    scope = None
    for _ in range(2):
        before = scope or Scope.of(flow, instance, loops)
        owner, definition = owner_of(before, at)
        table = header_table(before, at)
        inputs = read_inputs(lines, definition, table, scope, at, problem)
        flow = replaced(flow, at, owner.model_copy(update={"inputs": inputs}))
        scope = Scope.of(flow, instance, loops)
    if issues:
        raise InvalidFlow(str(issues[0]), tuple(issues))
    return flow


def without_inputs(flow: Flow, instance: Instance, wanted: Sequence[int | None]) -> Flow:
    """The flow without the inputs of the wanted steps, but for the tables on their outline lines."""
    scope = Scope.of(flow, instance)
    for at in wanted:
        owner, _ = owner_of(scope, at)
        flow = replaced(flow, at, owner.model_copy(update={"inputs": header_inputs(scope, at)}))
    return flow


def replaced(flow: Flow, at: int | None, owner: Trigger | Component) -> Flow:
    """The flow with another step at this index (None: another trigger)."""
    if at is None:
        return flow.model_copy(update={"trigger": owner})
    components = (*flow.components[:at], owner, *flow.components[at + 1 :])
    return flow.model_copy(update={"components": components})
