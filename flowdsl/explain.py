"""A flow in plain English, for the person who has to approve it.

Every step and every input is told, under the labels that people know from the installation; pills are
told as what they stand for. Nothing is added: there is no model in this, and the annotations, which are
words of the requirement and not of the flow, are left out (but for a placeholder, which has nothing else).
Names that the instance does not know are told as they are stored. Whether the flow is right, `check` says.

What a value holds cannot pass for a part of the explanation: texts are in quotes, in which quotes, line
breaks and invisible characters are escaped. Pills inside a text stand in square brackets.

The arrangement (the trigger, then numbered steps, nested ones below their logic) is that of the outline in
arXiv 2505.24189; the meanings of operators and flow logic are those of the platform's public documentation
("Operators available for filters and queries", "Flow logic").

>>> from flowdsl.compile import compile_dsl
>>> servicenow = Instance.load("servicenow")
>>> flow = compile_dsl('''
... ON record_update sys_user
...   condition: active CHANGESTO false
... look_up_records incident
...   conditions: assigned_to = {{trigger.current}}
... FOREACH
...   items: {{1.Records}}
...   update_record
...     record: {{2.item}}
...     values: assigned_to = {{trigger.current.manager}}
... END
... ''', servicenow)
>>> print(explain_flow(flow, servicenow))
When a User is updated and Active changes to false:
1. Look up Incident records where Assigned to is the triggering User
2. For each of the Incident records found in step 1:
   2.1 Update the current Incident:
      - set Assigned to: the triggering User's Manager
<BLANKLINE>
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from flowdsl.instance import Field, Instance, Step, Table, TriggerType, table_input
from flowdsl.lenient import Draft, read_any
from flowdsl.model import PLACEHOLDER, Component, Flow, Input, Item, Trigger
from flowdsl.query import Columns, Term, parse_query
from flowdsl.scope import PILL, PillError, Scope, record_input
from flowdsl.tables import columns_for, governing_table
from flowdsl.tree import Tree
from flowdsl.typed import Typed, typed_of
from flowdsl.values import spell_value, value_problem
from grammars.kinds import LISTS, RECORDS, kind_of
from grammars.operators import PERIODS, UNITS, WEEKDAYS

#: What conditions say, by operator; the dates of a query have words of their own.
_OPERATORS = {
    "=": "is", "!=": "is not", "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least",
    "STARTSWITH": "starts with", "ENDSWITH": "ends with", "LIKE": "contains", "NOT LIKE": "does not contain",
    "IN": "is one of", "NOT IN": "is none of", "BETWEEN": "is between", "ANYTHING": "is anything",
    "ISEMPTY": "is empty", "ISNOTEMPTY": "is not empty", "EMPTYSTRING": "is an empty text",
    "SAMEAS": "is the same as", "NSAMEAS": "is different from", "GT_FIELD": "is more than", "LT_FIELD": "is less than",
    "GT_OR_EQUALS_FIELD": "is at least", "LT_OR_EQUALS_FIELD": "is at most", "DYNAMIC": "is, by the dynamic filter,",
    "IN_HIERARCHY": "is at or below", "IN_HIERARCHY_DYNAMIC": "is, by the dynamic filter, at or below",
    "ON": "is during", "NOTON": "is not during", "RELATIVELT": "is earlier than", "RELATIVEGT": "is later than",
    "RELATIVELE": "is not later than", "RELATIVEGE": "is not earlier than", "MORETHAN": "is more than",
    "LESSTHAN": "is less than", "DATEPART": "is on a",
    "VALCHANGES": "changes", "CHANGESFROM": "changes from", "CHANGESTO": "changes to",
}  # fmt: skip
_OF_DATES = {"<": "is before", "<=": "is not after", ">": "is after", ">=": "is not before"}
_DATES = frozenset({"date", "date_time", "time"})
#: Flow logic as it is told without its inputs.
_LOGIC_WORDS = {
    "IF": "If",
    "ELSEIF": "Otherwise, if",
    "FOREACH": "For each",
    "DOUNTIL": "Repeat until",
    "TIMER": "Wait",
    "GOBACKTO": "Go back",
    "ELSE": "Otherwise",
    "PARALLEL": "Do these branches at the same time",
    "PARALLEL_BRANCH": "Branch",
    "TRY": "Try",
    "END": "End the flow",
    "BREAK": "Leave the loop",
    "CONTINUE": "Go on with the next round of the loop",
}
#: Words of step labels that are not names.
_COMMON = frozenset(
    "up record records multiple or for to on from approval attachment attachments condition message "
    "notification event reply".split()
)
_SCRIPT = re.compile(r"javascript:gs\.(beginning|end)Of([A-Za-z]+)\(\)")
_SPAN = re.compile(r"@?([a-z]+)@(ago|ahead)@([0-9]{1,9})")
_OFFSET = re.compile(r"(.+)@([a-z]+)@(before|after)@([0-9]{1,9})", re.DOTALL)
_WEEKDAY = re.compile(r"([A-Za-z]+)@javascript:gs\.datePart\('dayofweek','([a-z]+)','GE'\)")
_APPROVAL = re.compile(r"Approves(Any|All|[0-9]+[#%])([UG])\[([^\[\]]*)\]")
_SOURCE = re.compile(r"(trigger|inputs|[0-9]{1,9})\.(.+)", re.DOTALL)
_UNIT_WORDS = {code: word for word, code in UNITS.items()} | {word: word for word in UNITS}
_PERIOD_WORDS = {label.title().replace(" ", ""): words for words, label in PERIODS.items()}


def explain_flow(flow: Flow | Any, instance: Instance | None = None) -> str:
    """The flow in words, one line a step, ending in a line break; the same words every time.

    Args:
        flow: a flow, a fragment or a subflow, or any JSON; also one with issues. What cannot be read at
            all is said so at the end.
        instance: whose labels are used; by default the bundled one.

    Raises:
        Nothing because of the flow.

    >>> print(explain_flow({"trigger": {"type": "fly"}, "components": [{"definition": "land", "order": 1, "inputs": [
    ...     {"name": "where", "value": "{{9.item}}"}]}]}))
    Started by fly:
    1. land:
       - where: {{9.item}}
    <BLANKLINE>
    """
    return "".join(f"{line}\n" for line in _Explainer(read_any(flow), instance or Instance.load("servicenow")).lines())


# -- texts -------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """A name, with line breaks and invisible characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _quote(text: str) -> str:
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    return _plain(text.replace("\\", "\\\\").replace('"', '\\"'))


@cache
def _article(noun: str) -> str:
    first = noun.split(" ")[0] if noun else ""
    spelled_out = first.isupper() and len(first) < 5
    vowel = first[:1].upper() in ("AEFHILMNORSX" if spelled_out else "AEIOU")
    sounds_like_you = not spelled_out and re.match(r"(?i)(us[aeiou]|uni[^mn]|ux)", first)
    return f"an {noun}" if vowel and not sounds_like_you else f"a {noun}"


def _several(words: Sequence[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _told_apart(named: Field | Table, labels: Counter[str]) -> str:
    """The label, with the name beside it if others have the same label."""
    if not named.label:
        return _plain(named.name)
    return _plain(f"{named.label} ({named.name})" if labels[named.label] > 1 else named.label)


def _amount(count: str, unit: str) -> str:
    return f"{int(count)} {_UNIT_WORDS[unit]}{'' if int(count) == 1 else 's'}"


# -- the flow ----------------------------------------------------------------------------------


@dataclass
class _Told:
    """What is said of the trigger or a step: a line, and one more for each detail."""

    head: str
    details: list[str] = field(default_factory=list)
    #: Names of inputs that the head or the details tell already.
    told: set[str] = field(default_factory=set)


def _written(told: _Told, margin: str = "", number: str = "", opens: bool = True) -> list[str]:
    colon = ":" if told.details or opens else ""
    return [f"{margin}{number}{told.head}{colon}", *(f"{margin}   - {detail}" for detail in told.details)]


class _Explainer:
    """One flow and the instance that its names belong to."""

    def __init__(self, draft: Draft, instance: Instance):
        self.draft = draft
        self.instance = instance
        self.tree = Tree(draft.components)
        self.scope = Scope(instance, self.tree, draft.trigger, draft.items.get("inputs", ()))
        self.numbers = _numbers(self.tree)
        self._labels: dict[str, Counter[str]] = {}
        # Tables follow from earlier tables: in order, no chain of records is followed in depth.
        for at in range(len(self.tree.components)):
            self.scope.table(at)

    def lines(self) -> list[str]:
        lines = self._head()
        if not self.tree.components:
            lines.append("There are no steps.")
        stack = list(reversed(self.tree.children[None]))
        while stack:
            at = stack.pop()
            inside = self.tree.children.get(at, ())
            number = self.numbers[at]
            margin = "   " * number.count(".")
            point = "" if margin else "."
            lines += _written(self._step(at), margin, f"{number}{point} ", opens=bool(inside))
            stack.extend(reversed(inside))
        if self.draft.issues:
            lines.append("Not everything could be read:")
            lines += [f"   - {_plain(str(issue))}" for issue in self.draft.issues]
        return lines

    def _head(self) -> list[str]:
        if self.draft.trigger is not None:
            told = self._trigger(self.draft.trigger)
        else:
            told = _Told(
                "A subflow, which other flows run" if self.draft.is_subflow else "Part of a flow, without a trigger"
            )
        told.details += [f"takes {self._item(item)}" for item in self.draft.items.get("inputs", ())]
        told.details += [f"gives {self._item(item)}" for item in self.draft.items.get("outputs", ())]
        return _written(told)

    def _item(self, item: Item) -> str:
        of = f" of {self.table(item.reference)}" if item.reference is not None else ""
        return f"{_plain(item.name)} ({_plain(item.type)}{of})"

    # -- the trigger ---------------------------------------------------------------------------

    def _trigger(self, trigger: Trigger) -> _Told:
        definition = self.scope.trigger_type
        label = _plain((definition.label if definition else "") or trigger.type)
        given = _Given(trigger, definition)
        told = _Told(f"Started by {label}")
        table = given.one("table")
        if (
            table is not None
            and table.value
            and all(word.endswith("ed") or word == "or" for word in label.lower().split())
        ):
            told.head = f"When {_article(self.table(table.value))} is {label.lower()}"
            told.told.add(table.name)
        elif definition is not None:
            self._schedule(given, label, told)
        condition = given.one("conditions")
        if condition is not None and condition.value:
            joint = " and " if told.head.startswith("When") else ", if "
            told.head += joint + self.conditions(condition, given, None, inner=joint == " and ")
            told.told.add(condition.name)
        self._rest(given, None, told)
        return told

    def _schedule(self, given: "_Given", label: str, told: _Told) -> None:
        """``Weekly on Monday at 07:00``, if the trigger says when."""
        words = []
        for item in given.items:
            kind, value = given.kind(item), item.value
            shown = self.value(value, given.typed(item), None)
            twice = given.item(item.name) is not item
            if twice or value_problem(value, given.typed(item)) or PILL.search(value):
                continue
            if kind == "time":
                words.append(f"at {shown}")
            elif kind == "duration":
                words.append(f"every {shown}")
            elif kind == "date_time" or shown in WEEKDAYS:
                words.append(f"on {shown}")
            elif item.name == "day_of_month":
                words.append(f"on day {shown} of the month")
            else:
                continue
            told.told.add(item.name)
        if words:
            told.head = f"{label} {' '.join(words)}"

    # -- steps ---------------------------------------------------------------------------------

    def _step(self, at: int) -> _Told:
        component = self.tree.components[at]
        definition = self.scope.definition(component)
        given = _Given(component, definition)
        if component.is_logic:
            told = self._logic(component, given, at)
        elif component.definition == PLACEHOLDER and definition is None:
            wish = f" {_quote(component.annotation)}" if component.annotation else ""
            told = _Told(f"Placeholder{wish} (no step of the installation does this yet)")
        else:
            told = self._action(component, definition, given, at)
        self._rest(given, at, told)
        return told

    def _logic(self, component: Component, given: "_Given", at: int) -> _Told:
        kind = component.definition
        conditions, items = given.one("conditions"), given.one("records")
        if kind in {"IF", "ELSEIF", "DOUNTIL"} and conditions is not None and conditions.value:
            return _Told(f"{_LOGIC_WORDS[kind]} {self.conditions(conditions, given, at)}", told={conditions.name})
        if kind == "FOREACH" and items is not None:
            return _Told(f"For each of {self.value(items.value, given.typed(items), at)}", told={items.name})
        if kind == "TIMER":
            return self._timer(given, at)
        if kind == "CATCH":
            head = self.tree.chain_head[at]
            return _Told(f"If {f'step {self.numbers[head]}' if head != at else 'that'} fails")
        if kind == "GOBACKTO" and (step := given.get("step")) is not None and step.isascii() and step.isdigit():
            target = self.tree.index.get(int(step[:12]))
            if target is not None:
                return _Told(f"Go back to step {self.numbers[target]}", told={"step"})
        return _Told(_LOGIC_WORDS.get(kind) or _plain(kind))

    def _timer(self, given: "_Given", at: int) -> _Told:
        told = _Told(_LOGIC_WORDS["TIMER"])
        values = {item.name: self.value(item.value, given.typed(item), at) for item in reversed(given.items)}
        match given.get("duration_type"), values:
            case "explicit_duration", {"duration": duration}:
                told = _Told(f"Wait for {duration}", told={"duration_type", "duration"})
            case "relative_duration", {
                "duration": duration,
                "relative_operator": side,
                "relative_datetime": moment,
            } if side in {"before", "after"}:
                names = {"duration_type", "duration", "relative_operator", "relative_datetime"}
                told = _Told(f"Wait until {duration} {side} {moment}", told=names)
            case "percentage_duration", {"percentage": percentage, "percentage_datetime": moment}:
                names = {"duration_type", "percentage", "percentage_datetime"}
                told = _Told(f"Wait for {percentage} % of the time until {moment}", told=names)
        return told

    def _action(self, component: Component, definition: Step | None, given: "_Given", at: int) -> _Told:
        """``Look up Incident records where ...``, ``Update the current Incident: set ...``."""
        words = _plain((definition.label if definition else "") or component.definition).split(" ")
        if definition is not None:
            words = [words[0], *(word.lower() if word.lower() in _COMMON else word for word in words[1:])]
        told = _Told("")
        of_table = self._about(words, definition, given, at, told)
        told.head = " ".join(words)
        if component.category == "subflow":
            told.head = f"Run the subflow {told.head}"
        conditions = given.one("conditions")
        if conditions is not None and conditions.value and (of_table or told.told):
            joint = " where " if of_table else ": "
            told.head += joint + self.conditions(conditions, given, at)
            told.told.add(conditions.name)
        return told

    def _about(self, words: list[str], definition: Step | None, given: "_Given", at: int, told: _Told) -> bool:
        """Write what the step works on into its words; whether these are the records of a table."""
        named = table_input(definition.inputs) if definition else None
        table = given.item(named.name) if named else None
        taken = record_input(definition) if definition else None
        record = given.item(taken.name) if taken else None
        last = words[-1].lower()
        if taken is not None and record is not None and PILL.fullmatch(record.value):
            if last != "record" and (taken.label or taken.name).lower() != "record":
                return False
            pill = self.pill(record.value, at)
            if table is not None:
                known = self.scope.implied_table(at) == table.value and self.table(table.value) in pill
                pill += "" if known else f" ({self.table(table.value)})"
                told.told.add(table.name)
            told.told.add(record.name)
            words[-1:] = [pill] if last == "record" else [words[-1], "on", pill]
        elif table is not None and table.value and not PILL.search(table.value):
            label = self.table(table.value)
            if last in {"record", "records"}:
                if len(words) > 1 and words[-2] == "multiple":
                    words[-1:] = [f"{label} {last}"]
                else:
                    words[-1:] = [_article(f"{label} {last}") if last == "record" else f"{label} {last}"]
            elif not " ".join(words).lower().endswith(f" {label.lower()}"):
                return False
            told.told.add(table.name)
            return last in {"record", "records"}
        return False

    def _rest(self, given: "_Given", at: int | None, told: _Told) -> None:
        """A detail for each input that is not told yet; all of them where an input is there twice."""
        told_once: set[str] = set()
        for item in given.items:
            if item.name in told.told and item.name not in told_once:
                told_once.add(item.name)
                continue
            told.details += self._detail(item, given, at)

    def _detail(self, item: Input, given: "_Given", at: int | None) -> list[str]:
        shape = given.field(item)
        label = given.label(item)
        if shape is None:
            return [f"{label}: {self.value(item.value, Typed('text'), at)}"]
        kind = kind_of(shape.type)
        if PILL.fullmatch(item.value):
            return [f"{label}: {self.pill(item.value, at)}"]
        if kind == "conditions" and item.value:
            return [f"{label}: {self.conditions(item, given, at)}"]
        if kind == "template" and item.value:
            return self._assignments(item, given, shape, at)
        if kind == "field" and item.value:
            return [f"{label}: {self.column(governing_table(self.scope, at, shape), item.value)}"]
        return [f"{label}: {self.value(item.value, typed_of(shape), at)}"]

    def _assignments(self, item: Input, given: "_Given", shape: Field, at: int | None) -> list[str]:
        columns = columns_for(self.scope, at, shape)
        lines = []
        for term in parse_query(item.value, columns).terms:
            if term.operator is not None and term.operator.name == "=" and term.join in {"", "^"}:
                value = self.value(term.value, term.typed or Typed("text"), at)
                lines.append(f"set {self.left(term, columns, at)}: {value}")
            else:
                return [f"{given.label(item)}: {self.text(item.value, at)}"]
        return lines

    # -- conditions ----------------------------------------------------------------------------

    def conditions(self, item: Input, given: "_Given", at: int | None, inner: bool = False) -> str:
        """A query in words. `inner`: an AND may stand before it, so an OR is put in parentheses."""
        shape = given.field(item)
        if shape is None or PILL.fullmatch(item.value):
            return self.value(item.value, Typed("text"), at)
        columns = columns_for(self.scope, at, shape)
        queries: list[list[list[str]]] = [[]]
        for term in parse_query(item.value, columns).terms:
            if term.join == "^NQ":
                queries.append([])
            if term.join == "^OR":
                queries[-1][-1].append(self.condition(term, columns, at))
            else:
                queries[-1].append([self.condition(term, columns, at)])
        wrap = inner or len(queries) > 1
        told = [self._joined(query, wrap) for query in queries]
        if len(told) == 1:
            return told[0]
        text = " or ".join(f"({one})" for one in told)
        return f"({text})" if inner else text

    @staticmethod
    def _joined(query: list[list[str]], wrap: bool) -> str:
        wrap = wrap or len(query) > 1
        alternatives = [" or ".join(terms) for terms in query]
        return " and ".join(
            f"({text})" if wrap and len(terms) > 1 else text for text, terms in zip(alternatives, query, strict=True)
        )

    def condition(self, term: Term, columns: Columns, at: int | None) -> str:
        if term.operator is None:
            return self.text(term.left + term.value, at)
        typed = term.typed or Typed("text")
        words = _OPERATORS[term.operator.name]
        if typed.kind in _DATES or "javascript:gs." in term.value:
            words = _OF_DATES.get(term.operator.name, words)
        left = self.left(term, columns, at)
        operand = self.operand(term, typed, columns, at)
        return f"{left} {words} {operand}" if operand else f"{left} {words}"

    def left(self, term: Term, columns: Columns, at: int | None) -> str:
        return self.pill(term.left, at) if term.left.startswith("{{") else self.column(columns.table, term.left)

    def operand(self, term: Term, typed: Typed, columns: Columns, at: int | None) -> str:
        """What a column is compared with, in words; as stored where there are none."""
        assert term.operator is not None
        value = term.value
        stored = self.text(value, at)
        match term.operator.operand:
            case "none":
                return ""
            case "value" | "text" | "list" if PILL.fullmatch(value):
                return self.pill(value, at)
            case "value":
                return self.moment(value) or self.value(value, typed, at)
            case "list":
                return _several([self.value(one, typed, at) for one in value.split(",")], "or")
            case "range" if "@" in value:
                ends = value.split("@", 1)
                return " and ".join(self.moment(end) or self.value(end, typed, at) for end in ends)
            case "field":
                path, _, unit = value.partition("@")
                return self.column(columns.table, path) + (f" by {_UNIT_WORDS.get(unit, _plain(unit))}" if unit else "")
            case "period":
                return _period(value) or stored
            case "span" if (span := _SPAN.fullmatch(value)) and span.group(1) in _UNIT_WORDS:
                return f"{_amount(span.group(3), span.group(1))} {'ago' if span.group(2) == 'ago' else 'from now'}"
            case "offset" if (offset := _OFFSET.fullmatch(value)) and offset.group(2) in _UNIT_WORDS:
                path, unit, side, count = offset.groups()
                return f"{_amount(count, unit)} {side} {self.column(columns.table, path)}"
            case "weekday" if (day := _WEEKDAY.fullmatch(value)) and day.group(1).lower() == day.group(2):
                return day.group(1)
        return stored

    def moment(self, value: str) -> str | None:
        """The edge of a period that the platform works out when the flow runs."""
        script = _SCRIPT.fullmatch(value)
        if script is None or script.group(2) not in _PERIOD_WORDS:
            return None
        return f"the {script.group(1)} of {_PERIOD_WORDS[script.group(2)]}"

    # -- values --------------------------------------------------------------------------------

    def value(self, value: str, typed: Typed, at: int | None) -> str:
        """A value by its type: labels, times and durations in words, pills as what they are, the rest quoted."""
        if PILL.fullmatch(value):
            return self.pill(value, at)
        if value == "":
            return "(empty)"
        if typed.choices:
            label = next((choice.label for choice in typed.choices if choice.value == value), None)
            return _plain(label) if label is not None else self.text(value, at)
        if typed.kind == "table" and not PILL.search(value):
            return self.table(value)
        if typed.kind == "approval":
            return self._approval(value, at)
        worded = {"integer", "number", "boolean", "time", "duration", "date_time", "date"}
        if typed.kind in worded and value_problem(value, typed) is None:
            return spell_value(value, typed)
        return self.text(value, at)

    def text(self, value: str, at: int | None) -> str:
        """Text in quotes; the pills in it in square brackets."""
        parts, end = [], 0
        for match in PILL.finditer(value):
            parts += [_escape(value[end : match.start()]), f"[{self.pill(match.group(), at)}]"]
            end = match.end()
        return '"' + "".join([*parts, _escape(value[end:])]) + '"'

    def _approval(self, value: str, at: int | None) -> str:
        """``ApprovesAnyU[...]`` and the like; rules are joined by ``&``, sets of rules by ``Or``."""
        told, end = [], 0
        for rule in _APPROVAL.finditer(value):
            joint = value[end : rule.start()]
            if joint not in ({""} if end == 0 else {"&", "Or"}):
                break
            told.append({"&": "and ", "Or": "or "}.get(joint, "") + self._rule(rule, at))
            end = rule.end()
        return " ".join(told) if told and end == len(value) else self.text(value, at)

    def _rule(self, rule: re.Match[str], at: int | None) -> str:
        who, what, names = rule.groups()
        parts = [self.value(name.strip(), Typed("reference"), at) for name in names.split(",")]
        of = "" if what == "U" else f"the members of the group{'s' if len(parts) > 1 else ''} "
        listed = of + _several(parts, "and")
        if who == "Any":
            return f"anyone of {listed} approves" if what == "G" or len(parts) > 1 else f"{listed} approves"
        count = {"All": "all", "#": who[:-1], "%": f"{who[:-1]} %"}["All" if who == "All" else who[-1]]
        return f"{count} of {listed} approve"

    # -- names ---------------------------------------------------------------------------------

    def table(self, name: str) -> str:
        table = self.instance.table_by_name.get(name)
        return _told_apart(table, self._table_labels) if table is not None else _plain(name)

    @cached_property
    def _table_labels(self) -> Counter[str]:
        return Counter(table.label for table in self.instance.tables)

    def _column_labels(self, table: str) -> Counter[str]:
        if table not in self._labels:
            self._labels[table] = Counter(column.label for column in self.instance.columns(table).values())
        return self._labels[table]

    def column(self, table: str | None, path: str) -> str:
        """A column, or a dot-walk of columns: ``Caller's Manager's Email``."""
        names: list[str] = []
        while path and table is not None:
            found = (pair for pair in self.instance.prefixes(table, path) if pair[1][:1] in {"", "."})
            column, left = next(found, (None, path))
            if column is None:
                break
            names.append(_told_apart(column, self._column_labels(table)))
            table, path = column.reference, left[1:]
        return "'s ".join([*names, _plain(path)] if path else names)

    def pill(self, pill: str, at: int | None) -> str:
        """What a pill stands for; a pill that stands for nothing here as it is stored."""
        match = _SOURCE.fullmatch(pill[2:-2])
        if match is None or at is None:
            return _plain(pill)
        head, rest = match.groups()
        try:
            self.scope.resolve(pill[2:-2], at)
            output = self._output(head, rest)
            typed = self.scope.resolve(f"{head}.{output.name}", at)
        except PillError:
            return _plain(pill)
        return self._root(head, output, typed, at, self.column(typed.table, rest[len(output.name) + 1 :]))

    def _output(self, head: str, rest: str) -> Field:
        """The output that the path of a pill begins with."""
        definition: Step | TriggerType | None = self.scope.trigger_type if head == "trigger" else None
        if head.isdigit():
            definition = self.scope.definition(self.tree.components[self.tree.index[int(head)]])
        outputs = {output.name: output for output in definition.outputs} if definition else {}
        if head == "inputs":
            outputs = {name: Field(name=name) for name in self.scope.items}
        begun = (name for name in outputs if rest == name or rest.startswith(f"{name}."))
        return outputs.get(max(begun, key=len, default=""), Field(name=rest))

    def _root(self, head: str, output: Field, typed: Typed, at: int, column: str) -> str:
        """The output, and the `field` of it that is meant, if one is."""
        label = _plain(output.label or output.name)
        table = self.table(typed.table) if typed.table is not None else None
        of = f"the {column} of " if column else ""
        if head == "inputs":
            return f"{of}the input {label}"
        if head == "trigger":
            who = f"the triggering {table or 'record'}" if output.name == "current" else f"the trigger's {label}"
            return f"{who}'s {column}" if column else who
        other = self.tree.index[int(head)]
        number = self.numbers[other]
        if self.tree.components[other].is_kind("FOREACH"):
            loops = sum(self.tree.components[above].is_kind("FOREACH") for above in self.tree.ancestors(at))
            which = f"the current {table or 'item'}"
            if loops > 1:
                return f"{of}{which} of step {number}"
            return f"{which}'s {column}" if column else which
        if typed.kind in LISTS and table is not None:
            return f"{of}the {table} records found in step {number}"
        if typed.kind in RECORDS and table is not None and label.lower() == "record":
            return f"{of}the {table} from step {number}"
        return f"{of}the {label} of step {number}"


def _numbers(tree: Tree) -> list[str]:
    """The number of each step as the explanation shows it: ``2.1`` is the first step inside step 2."""
    numbers = [""] * len(tree.components)
    stack: list[tuple[int | None, str]] = [(None, "")]
    while stack:
        block, above = stack.pop()
        for place, at in enumerate(tree.children.get(block, ()), start=1):
            numbers[at] = f"{above}{place}"
            stack.append((at, f"{above}{place}."))
    return numbers


def _period(value: str) -> str | None:
    """A named stretch of time, if the scripts behind the name are its own."""
    label, *edges = value.split("@")
    words = label.lower()
    scripts = [_SCRIPT.fullmatch(edge) for edge in edges]
    sides = [(script.group(1), _PERIOD_WORDS.get(script.group(2))) for script in scripts if script]
    return words if sides == [("beginning", words), ("end", words)] and len(edges) == 2 else None


class _Given:
    """The inputs of a step or trigger beside what the instance says of them."""

    def __init__(self, owner: Component | Trigger, definition: Step | TriggerType | None):
        self.items = owner.inputs
        self.get = owner.get
        self.fields = {field.name: field for field in definition.inputs} if definition else {}

    def field(self, item: Input) -> Field | None:
        return self.fields.get(item.name)

    def label(self, item: Input) -> str:
        shape = self.field(item)
        labels = Counter(field.label for field in self.fields.values())
        return _told_apart(shape, labels) if shape is not None else _plain(item.name)

    def typed(self, item: Input) -> Typed:
        shape = self.field(item)
        return typed_of(shape) if shape else Typed("text")

    def kind(self, item: Input) -> str:
        return self.typed(item).kind

    def item(self, name: str) -> Input | None:
        return next((item for item in self.items if item.name == name), None)

    def one(self, kind: str) -> Input | None:
        """The first input of a kind."""
        return next((item for item in self.items if item.name in self.fields and self.kind(item) == kind), None)
