"""What can be wrong with the inputs of one trigger or step."""

import re
from collections.abc import Iterator
from dataclasses import replace

from flowdsl.errors import FlowIssue, did_you_mean
from flowdsl.instance import Field, Step, TriggerType, table_input
from flowdsl.logic import TIMER_INPUTS
from flowdsl.model import Component, Input, Trigger
from flowdsl.query import Columns, Term, is_relative, operand_problem, operand_values, parse_query
from flowdsl.scope import PILL, PillError, Scope, record_input
from flowdsl.tables import GOVERNED, columns_for, governing_table
from flowdsl.typed import Typed, typed_of
from flowdsl.values import TEXTUAL, value_problem
from grammars.kinds import LISTS, RECORDS, fits, is_scalar, kind_of

RECORD_TRIGGERS = frozenset({"record_create", "record_update", "record_create_or_update"})
CATALOG_TRIGGER, CATALOG_PREFIX = "service_catalog", "sc_"
WAIT_STEP = "wait_for_condition"

_RULE = r"(?:Approves|Rejects|ApprovesRejects)(?:Any|All|Res|[0-9]{1,3}[#%])[UG]\[[^\[\]^]+\]"
#: Approval rules: who approves, joined by "Or" (either set) and "&" (both).
APPROVAL = re.compile(rf"{_RULE}(?:(?:Or|&){_RULE})*")
_APPROVER = re.compile(r"([UG])\[([^\[\]]+)\]")


def check_inputs(
    scope: Scope, at: int | None, owner: Trigger | Component, definition: Step | TriggerType
) -> Iterator[FlowIssue]:
    """Every issue of the inputs of a step (`at` is its index) or of the trigger (`at` None)."""
    yield from _Inputs(scope, at, owner, definition).issues()


class _Inputs:
    def __init__(self, scope: Scope, at: int | None, owner: Trigger | Component, definition: Step | TriggerType):
        self.scope, self.at, self.owner, self.definition = scope, at, owner, definition
        self.where: int | str = owner.order if isinstance(owner, Component) else "trigger"
        self.fields = {field.name: field for field in definition.inputs}

    def issue(self, kind: str, message: str, name: str | None = None) -> FlowIssue:
        return FlowIssue(kind, message, self.where, name)

    def issues(self) -> Iterator[FlowIssue]:
        yield from self._presence()
        seen: set[str] = set()
        for item in self.owner.inputs:
            field = self.fields.get(item.name)
            if field is None:
                hint = did_you_mean(item.name, self.fields)
                yield self.issue("unknown_input", f"{self.definition.name} has no input {item.name!r}{hint}", item.name)
            elif item.name in seen:
                yield self.issue("duplicate_input", f"the input {item.name!r} is there twice", item.name)
            elif item.value or not field.mandatory:
                yield from self._value(item, field)
            seen.add(item.name)

    # -- presence ------------------------------------------------------------------------------

    def _presence(self) -> Iterator[FlowIssue]:
        name = self.definition.name
        for field in self.definition.inputs:
            if field.mandatory and not self.owner.get(field.name):
                yield self.issue("missing_input", f"{name} needs the input {field.name!r}", field.name)
        if isinstance(self.owner, Component) and self.owner.is_kind("TIMER"):
            yield from self._timer()
        named = table_input(self.definition.inputs)
        if named is None or named.mandatory or self.scope.table(self.at) is not None:
            return
        for item in self.owner.inputs:
            governed = self.fields.get(item.name)
            if governed and kind_of(governed.type) in GOVERNED and not governing_table(self.scope, self.at, governed):
                yield self.issue("missing_input", f"{item.name} needs the input {named.name!r}", named.name)
                return

    def _timer(self) -> Iterator[FlowIssue]:
        kind = self.owner.get("duration_type") or ""
        if kind not in TIMER_INPUTS:
            return
        for name in TIMER_INPUTS[kind]:
            if not self.owner.get(name):
                yield self.issue("missing_input", f"a TIMER with {kind} needs the input {name!r}", name)
        for item in self.owner.inputs:
            if item.name in self.fields and item.name not in {"duration_type", *TIMER_INPUTS[kind]}:
                yield self.issue("unknown_input", f"a TIMER with {kind} has no input {item.name!r}", item.name)

    # -- values --------------------------------------------------------------------------------

    def _value(self, item: Input, field: Field) -> Iterator[FlowIssue]:
        kind = kind_of(field.type)
        value, name = item.value, item.name
        if self.at is None and "{{" in value:
            yield self.issue("trigger_pill", "the inputs of a trigger hold no pills", name)
        elif kind in {"conditions", "template"}:
            if value:
                yield from self._query(value, field, template=kind == "template")
        elif kind in {"field", "table"} and "{{" in value:
            yield self.issue("pill_type", f"{name} takes a name, not a pill", name)
        elif kind == "table":
            yield from self._table(value, field)
        elif kind == "field":
            columns = columns_for(self.scope, self.at, field)
            if not columns.is_open and columns.table is not None and columns.find(value) is None:
                yield self.issue("unknown_column", f"the table {columns.table} has no column {value!r}", name)
        elif kind == "approval":
            yield from self._approval(value, field)
        elif kind != "step":
            typed = typed_of(field)
            if kind == "record" and field is record_input(self.definition):
                typed = Typed("record", None, field.name)
            yield from self._typed(value, typed, name)

    def _typed(self, value: str, typed: Typed, name: str) -> Iterator[FlowIssue]:
        """A value that is a pill, or of a type, or text with pills in it."""
        if match := PILL.fullmatch(value):
            pill = self._resolve(match.group(1), name)
            if isinstance(pill, FlowIssue):
                yield pill
            elif not fits(pill.kind, pill.table, typed.kind, typed.table, self.scope.instance.is_a):
                if typed.kind == "records" and pill.kind not in LISTS:
                    yield self.issue("not_a_list", f"{value} is {_a(pill)}, not a list", name)
                else:
                    yield self.issue("pill_type", f"{value} is {_a(pill)}, not {_a(typed)}", name)
            elif name in self.fields and self.fields[name] is record_input(self.definition):
                yield from self._mismatch(pill, name)
        elif "{{" in value:
            if typed.kind == "list":
                for part in value.split(","):
                    yield from self._typed(part, replace(typed, kind="list_item"), name)
            elif typed.kind not in TEXTUAL:
                yield self.issue("bad_value", f"{value!r} is not {_a(typed)}: text around a pill", name)
            else:
                yield from self._embedded(value, name)
        elif problem := value_problem(value, typed):
            yield self.issue(*problem, name)

    def _embedded(self, value: str, name: str) -> Iterator[FlowIssue]:
        """Text with pills in it: each must be a scalar in scope."""
        at = 0
        while (at := value.find("{{", at)) >= 0:
            match = PILL.match(value, at)
            if match is None:
                yield self.issue("unknown_pill", f"{value[at : at + 30]!r} is no pill", name)
                return
            pill = self._resolve(match.group(1), name)
            if isinstance(pill, FlowIssue):
                yield pill
            elif not is_scalar(pill.kind):
                yield self.issue("pill_type", f"{match.group()} is {_a(pill)}, not a plain value", name)
            at = match.end()
        if problem := value_problem(PILL.sub("", value), Typed("text")):
            yield self.issue(*problem, name)

    def _resolve(self, path: str, name: str) -> Typed | FlowIssue:
        assert self.at is not None
        try:
            return self.scope.resolve(path, self.at)
        except PillError as error:
            return self.issue(error.kind, str(error), name)

    def _mismatch(self, pill: Typed, name: str) -> Iterator[FlowIssue]:
        named = table_input(self.definition.inputs)
        table = self.owner.get(named.name) if named is not None else None
        known = self.scope.instance.table_by_name
        if named and table and pill.table is not None and (table in known or not known):
            if not self.scope.instance.is_a(pill.table, table):
                message = f"{named.name} is {table}, but {name} is {_a(pill)}"
                yield self.issue("table_mismatch", message, named.name)

    def _table(self, value: str, field: Field) -> Iterator[FlowIssue]:
        tables = self.scope.instance.table_by_name
        if tables and value not in tables:
            yield self.issue("unknown_table", f"no table {value!r}{did_you_mean(value, tables)}", field.name)
        elif not tables and ("{{" in value or not value.strip()):
            yield self.issue("unknown_table", f"{value!r} is no table", field.name)
        elif self.at is None and self.definition.name in RECORD_TRIGGERS and value.startswith(CATALOG_PREFIX):
            if CATALOG_TRIGGER in self.scope.instance.trigger_by_name:
                message = f"{value} belongs to the Service Catalog: use the trigger {CATALOG_TRIGGER}"
                yield self.issue("catalog_table_trigger", message, field.name)

    def _approval(self, value: str, field: Field) -> Iterator[FlowIssue]:
        parts = APPROVAL.fullmatch(value)
        if parts is None:
            yield self.issue("bad_value", f"{value!r} is no approval rule, such as ApprovesAnyU[name]", field.name)
            return
        for who, names in _APPROVER.findall(value):
            table = {"U": "sys_user", "G": "sys_user_group"}[who]
            slot = Typed("reference", table if table in self.scope.instance.table_by_name else None)
            for name in names.split(","):
                yield from self._typed(name.strip(), slot, field.name)

    # -- conditions and templates --------------------------------------------------------------

    def _query(self, value: str, field: Field, template: bool) -> Iterator[FlowIssue]:
        columns = columns_for(self.scope, self.at, field)
        is_logic = isinstance(self.owner, Component) and self.owner.is_logic
        if columns.table is None and not columns.is_open and not is_logic:
            return
        seen: set[str] = set()
        for part, term in enumerate(parse_query(value.removesuffix("^EQ"), columns).terms):
            problem = self._left(term, columns, field, template)
            issues = [problem] if problem else list(self._term(term, columns, field, template))
            if template and not problem and term.left in seen:
                issues.append(self.issue("duplicate_field", f"{term.left} is set twice", field.name))
            seen.add(term.left)
            yield from (replace(issue, part=part) for issue in issues)

    def _left(self, term: Term, columns: Columns, field: Field, template: bool) -> FlowIssue | None:
        is_logic = isinstance(self.owner, Component) and self.owner.is_logic
        if term.left.startswith("{{") and term.operator is not None:
            if not is_logic:
                return self.issue("unknown_column", f"{term.left} is a pill, not a column", field.name)
            pill = self._resolve(term.left[2:-2], field.name)
            return pill if isinstance(pill, FlowIssue) else None
        if term.operator is None:
            return self.issue("bad_value", f"{term.left!r} is no condition", field.name)
        if is_logic:
            message = f"a condition of {self.definition.name} compares pills, not {term.left!r}"
            return self.issue("unknown_column", message, field.name)
        if term.typed is None:
            known = self.scope.instance.columns(columns.table) if columns.table else ()
            message = f"the table {columns.table} has no column {term.left!r}{did_you_mean(term.left, known)}"
            return self.issue("unknown_column", message, field.name)
        walked = not columns.is_open and columns.table and term.left not in self._own(columns)
        if walked and self.definition.name == WAIT_STEP:
            return self.issue("wait_dotwalk", f"{term.left} is not a field of {columns.table} itself", field.name)
        if walked and template:
            return self.issue(
                "unknown_column", f"{term.left} cannot be set: not a field of {columns.table}", field.name
            )
        return None

    def _own(self, columns: Columns) -> "frozenset[str] | set[str]":
        return set(self.scope.instance.columns(columns.table)) if columns.table else frozenset()

    def _term(self, term: Term, columns: Columns, field: Field, template: bool) -> Iterator[FlowIssue]:
        operator, typed = term.operator, term.typed
        assert operator is not None and typed is not None
        if template and (operator.name != "=" or term.join not in {"", "^"}):
            yield self.issue("bad_operator", f"values are set with =, not {operator.name}", field.name)
            return
        if typed.kind not in operator.kinds:
            yield self.issue("bad_operator", f"{operator.name} does not fit {term.left}, {_a(typed)}", field.name)
            return
        if operator.on_change and not self._on_update():
            yield self.issue("bad_operator", f"{operator.name} needs an update trigger", field.name)
            return
        if self.definition.name == WAIT_STEP and (operator.operand in {"span", "period"} or is_relative(term)):
            message = f"{operator.word} is relative to now here; a wait cannot use it"
            yield self.issue("bad_operator", message, field.name)
            return
        if problem := operand_problem(term, columns):
            yield self.issue(*problem, field.name)
            return
        for value, slot in operand_values(term):
            if "{{" in value:
                yield from self._typed(value, slot, field.name)

    def _on_update(self) -> bool:
        return self.at is None and isinstance(self.definition, TriggerType) and runs_on_update(self.definition)


def runs_on_update(trigger: TriggerType) -> bool:
    """Whether conditions of this trigger may look at what an update changed: its name or its label says so."""
    said = f"{trigger.name} {trigger.label}".lower()
    return any(word in said for word in ("update", "amend", "change", "modif", "edited", "altered", "revised"))


def _a(typed: Typed) -> str:
    names = {"text": "text", "any": "anything", "records": "a list of records", "list": "a list"}
    name = names.get(typed.kind, f"a {typed.kind}")
    return f"{name} of {typed.table}" if typed.table and typed.kind in RECORDS | LISTS else name
