"""Conditions and templates, between the DSL and the encoded query of the JSON.

An encoded query is `field<OP>value` joined by `^` (and), `^OR` (or, binds tighter) and `^NQ` (a
new query); it has no escapes, so what it means depends on the columns of its table. A `Columns`
value knows those. Nothing that a value holds can become part of the query: a query is right only
if encoding its parts again gives the same text.

>>> columns = Columns(Instance.load("servicenow"), "incident")
>>> query = parse_query("active=true^ORstate=6^sys_created_onONToday@javascript:gs.beginningOfToday()"
...                     "@javascript:gs.endOfToday()", columns)
>>> spell_query(query)
'active = true OR state = Resolved AND sys_created_on ON today'
>>> encode_query(query.terms).startswith("active=true^ORstate=6")
True
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from flowdsl.instance import Instance
from flowdsl.scope import PILL
from flowdsl.syntax import Clause, Value
from flowdsl.typed import Typed, held
from flowdsl.values import read_value, spell_value, value_problem
from grammars.kinds import ANY, RECORDS
from grammars.operators import BY_WORD, OPERATORS, PERIODS, UNITS, WEEKDAYS, Operator
from grammars.spelling import spell_path, spell_raw, spell_text

_JOINS = {"": "", "AND": "^", "OR": "^OR", "NQ": "^NQ", ",": "^"}
_LONGEST_FIRST = sorted(OPERATORS, key=lambda operator: -len(operator.name))
_UNIT_WORDS = {code: word for word, code in UNITS.items()}
_RUN, _OTHER = re.compile(r"[A-Za-z0-9_.]+"), re.compile(r"[^=<>!^{}]+(?=[=<>!])")
_CAPITAL = re.compile("[A-Z]")
#: Where in a name that is not known an operator is looked for.
_LONGEST_NAME = 200
_SCRIPT = re.compile(r"javascript:gs\.[A-Za-z0-9]+\([^()^]*\)")
_SPAN = re.compile(r"@([a-z]+)@(ago|ahead)@([0-9]{1,9})")
_OFFSET = re.compile(r"(.+)@([a-z]+)@(before|after)@([0-9]{1,9})", re.DOTALL)
_WEEKDAY = "{day}@javascript:gs.datePart('dayofweek','{low}','GE')"
_STARTS = ("=", "!=", "<", ">")


@dataclass(frozen=True)
class Columns:
    """What may stand on the left of a condition.

    Attributes:
        table: whose columns they are; None: there is no table, only pills.
        pill: the type of a pill by its path, None if it is none.
        is_open: any name is a column (an instance without tables, or an unknown table).
    """

    instance: Instance
    table: str | None = None
    pill: Callable[[str], Typed | None] = lambda path: None
    is_open: bool = False

    def lefts(self, part: str) -> Iterator[tuple[str, Typed | None, str]]:
        """What `part` may begin with, best first: its text, its type if known, and the rest."""
        if part.startswith("{{"):
            if match := PILL.match(part):
                yield match.group(), self.pill(match.group(1)), part[match.end() :]
            return
        if self.table is not None and not self.is_open:
            yield from self._walks(self.table, part)
        for end in _generic(part):
            yield part[:end], Typed(ANY) if self.is_open else None, part[end:]

    def _walks(self, table: str, part: str) -> Iterator[tuple[str, Typed, str]]:
        stack: list[tuple[str, str, str]] = [(table, "", part)]
        while stack:
            table, done, rest = stack.pop()
            for column, left in self.instance.prefixes(table, rest):
                typed = held(column)
                if left.startswith(".") and typed.kind in RECORDS and typed.table is not None:
                    stack.append((typed.table, f"{done}{column.name}.", left[1:]))
                yield done + column.name, typed, left

    def find(self, path: str) -> Typed | None:
        """The type of a whole dot-walk, None if there is no such column."""
        return next((typed for _, typed, rest in self.lefts(path) if not rest and typed is not None), None)

    def read_left(self, left: tuple[str, ...] | str) -> str:
        return left if isinstance(left, str) else ".".join(left)

    def spell_left(self, left: str) -> str:
        """A column or pill as the DSL writes it; column names may hold dots."""
        if left.startswith("{{"):
            return left
        names: list[str] = []
        table, rest = self.table, left
        while rest and table is not None and not self.is_open:
            for column, more in self.instance.prefixes(table, rest):
                if not more or more.startswith("."):
                    names.append(column.name)
                    table, rest = column.reference, more[1:]
                    break
            else:
                break
        return spell_path([*names, *(rest.split(".") if rest else ())])


def _generic(part: str) -> Iterator[int]:
    """Where a name that is not known may end, since an operator begins with a capital or a sign."""
    if run := _RUN.match(part):
        yield from (match.start() for match in _CAPITAL.finditer(part, 1, min(run.end(), _LONGEST_NAME)))
        yield run.end()
    if other := _OTHER.match(part):
        yield other.end()


@dataclass(frozen=True)
class Term:
    """One part of a query. `typed` is None for a column that is not known; `operator` if none was found."""

    join: str
    left: str
    typed: Typed | None
    operator: Operator | None
    value: str


@dataclass(frozen=True)
class Query:
    terms: tuple[Term, ...]
    columns: Columns


# -- the encoded form --------------------------------------------------------------------------


def encode_query(terms: Sequence[Term]) -> str:
    """The text that the JSON holds."""
    return "".join(f"{term.join}{term.left}{term.operator.name if term.operator else ''}{term.value}" for term in terms)


def parse_query(text: str, columns: Columns) -> Query:
    """The parts of an encoded query; parts that cannot be read have no operator."""
    terms = []
    for i, part in enumerate(text.split("^")):
        options = [("", part)] if i == 0 else []
        if i and part.startswith("NQ"):
            options.append(("^NQ", part[2:]))
        if i and part.startswith("OR"):
            options.append(("^OR", part[2:]))
        if i:
            options.append(("^", part))
        read = [_parse_term(join, rest, columns) for join, rest in options]
        terms.append(next((term for term in read if term.operator and term.typed), read[0]))
    return Query(tuple(terms), columns)


def _parse_term(join: str, part: str, columns: Columns) -> Term:
    unknown: Term | None = None
    for left, typed, rest in columns.lefts(part):
        for operator in _LONGEST_FIRST:
            if rest.startswith(operator.name) and (operator.operand != "none" or rest == operator.name):
                term = Term(join, left, typed, operator, rest[len(operator.name) :])
                if typed is not None:
                    return term
                unknown = unknown or term
                break
    return unknown or Term(join, part, None, None, "")


def injects(term: Term, columns: Columns) -> bool:
    """Whether the term, once encoded, would be read as something else."""
    if term.operator is None:
        return True
    if "^" in term.value:
        return True
    again = parse_query(f"{term.left}{term.operator.name}{term.value}", columns).terms
    return len(again) != 1 or (again[0].left, again[0].operator, again[0].value) != (
        term.left,
        term.operator,
        term.value,
    )


# -- operands ----------------------------------------------------------------------------------


def operand_values(term: Term) -> list[tuple[str, Typed]]:
    """The plain values that a term compares with or sets, each with the type it must have."""
    typed = term.typed or Typed("text")
    match term.operator.operand if term.operator else "none":
        case "value":
            if typed.kind in {"date", "date_time"} and _SCRIPT.fullmatch(term.value):
                return []
            return [(term.value, typed)]
        case "text":
            return [(term.value, typed if typed.kind == "list" else Typed("text"))]
        case "list":
            return [(value, typed) for value in term.value.split(",")]
        case "range":
            low, _, high = term.value.partition("@")
            return [(value, typed) for value in (low, high) if not _SCRIPT.fullmatch(value)]
    return []


def operand_problem(term: Term, columns: Columns) -> tuple[str, str] | None:
    """The issue kind and message if what follows the operator is wrong; pills are not looked into."""
    operator, value = term.operator, term.value
    if operator is None:
        return "bad_value", f"{term.left!r} is no condition"
    if value.startswith(_STARTS) or injects(term, columns):
        return "bad_value", f"the value {value!r} would read as an operator"
    wrong = ("bad_value", f"{value!r} does not fit {operator.word}")
    match operator.operand:
        case "value" if value == "" and operator.name in {"=", "!=", "CHANGESTO", "CHANGESFROM"}:
            return None
        case "text" if value == "":
            return wrong
        case "range" if "@" not in value:
            return wrong
        case "field":
            path, _, unit = value.partition("@")
            if columns.find(path) is None:
                return "unknown_column", f"there is no column {path!r}"
            return wrong if unit and unit not in UNITS else None
        case "period":
            return None if _spell_period(value) or _is_scripted(value) else wrong
        case "span":
            span = _SPAN.fullmatch(value)
            return None if span and span.group(1) in _UNIT_WORDS else wrong
        case "offset":
            offset = _OFFSET.fullmatch(value)
            if offset is None or offset.group(2) not in UNITS:
                return wrong
            path = offset.group(1)
            return None if columns.find(path) else ("unknown_column", f"there is no column {path!r}")
        case "weekday":
            return None if value in _weekdays() or _is_scripted(value) else wrong
    for item, typed in operand_values(term):
        if not PILL.search(item) and (problem := value_problem(item, typed)):
            return problem
    return None


def is_relative(term: Term) -> bool:
    """Whether the term compares with a moment that depends on now."""
    return _SCRIPT.fullmatch(term.value) is not None


def _is_scripted(value: str) -> bool:
    label, *scripts = value.split("@")
    return bool(label and scripts) and all(_SCRIPT.fullmatch(script) for script in scripts)


@cache
def _weekdays() -> dict[str, str]:
    return {_WEEKDAY.format(day=day, low=day.lower()): day for day in WEEKDAYS}


@cache
def _periods() -> dict[str, str]:
    return {_period(words): words for words in PERIODS}


def _period(words: str) -> str:
    label = PERIODS[words]
    name = _script_name(words)
    return f"{label}@javascript:gs.beginningOf{name}()@javascript:gs.endOf{name}()"


def _script_name(words: str) -> str:
    return words.title().replace(" ", "")


def _spell_period(value: str) -> str | None:
    return _periods().get(value)


def _edge(operator: str, words: str) -> str:
    """The stored form of ``< today``, ``>= this week`` ...: the edge of the period that is meant."""
    edge = "beginningOf" if operator in {"<", ">="} else "endOf"
    return f"javascript:gs.{edge}{_script_name(words)}()"


# -- the DSL -----------------------------------------------------------------------------------


def spell_query(query: Query, template: bool = False) -> str | None:
    """The canonical DSL of a query, or None if it has none and must be written raw."""
    parts: list[str] = []
    words = {"^": ", " if template else " AND ", "^OR": " OR ", "^NQ": " NQ ", "": ""}
    for term in query.terms:
        if term.operator is None or (template and term.operator.name != "="):
            return None
        operand = _spell_operand(term, query.columns)
        if operand is None or operand_problem(term, query.columns):
            return None
        left = query.columns.spell_left(term.left)
        parts.append(f"{words[term.join]}{left} {term.operator.word}{' ' if operand else ''}{operand}")
    return "".join(parts)


def _spell_operand(term: Term, columns: Columns) -> str | None:
    assert term.operator is not None
    typed = term.typed or Typed("text")
    value = term.value
    match term.operator.operand:
        case "none":
            return ""
        case "value":
            if value == "":
                return spell_raw("") if any(choice.label == "" for choice in typed.choices) else spell_text("")
            if typed.kind in {"date", "date_time", ANY}:
                for words in PERIODS:
                    if term.operator.name in {"<", "<=", ">", ">="} and value == _edge(term.operator.name, words):
                        return words
            return spell_value(value, typed)
        case "text":
            return spell_value(value, typed if typed.kind == "list" else Typed("text"))
        case "list":
            return f"({', '.join(spell_value(item, typed) for item in value.split(','))})"
        case "range":
            low, _, high = value.partition("@")
            return f"{spell_value(low, typed)} TO {spell_value(high, typed)}"
        case "field":
            path, _, unit = value.partition("@")
            return columns.spell_left(path) + (f" BY {unit}" if unit else "")
        case "period":
            return _spell_period(value)
        case "span" if span := _SPAN.fullmatch(value):
            unit, direction, amount = span.groups()
            return f"{_amount(amount, _UNIT_WORDS[unit])} {direction}" if str(int(amount)) == amount else None
        case "offset" if offset := _OFFSET.fullmatch(value):
            path, unit, direction, amount = offset.groups()
            if str(int(amount)) == amount:
                return f"{_amount(amount, unit)} {direction} {columns.spell_left(path)}"
        case "weekday":
            return _weekdays().get(value)
    return None


def _amount(amount: str, unit: str) -> str:
    return f"{amount} {unit}{'' if amount == '1' else 's'}"


def read_clauses(clauses: Sequence[Clause], columns: Columns) -> tuple[Term, ...]:
    """The terms of written clauses; what does not fit is passed on as it is, for the checker to see."""
    return tuple(_read_clause(clause, columns) for clause in clauses)


def clause_problem(clause: Clause, term: Term, columns: Columns) -> str | None:
    """What is lost when a written clause is encoded, since a query has no escapes."""
    mark = {"several": ",", "between": "@"}.get(clause.form)
    for value in clause.values:
        if value.form != "raw" and mark is not None and mark in read_value(value, term.typed or Typed("text")):
            return f"a value of {clause.word} may not hold {mark!r}"
    if "^" in term.value:
        return "a value in a condition or a template may not hold '^'"
    if term.typed is not None and injects(term, columns):
        return f"the value {term.value!r} would read as part of the condition"
    return None


def _read_clause(clause: Clause, columns: Columns) -> Term:
    left = columns.read_left(clause.left)
    operator = BY_WORD[clause.word]
    typed = columns.pill(left[2:-2]) if left.startswith("{{") else columns.find(left)
    join = _JOINS[clause.join]
    return Term(join, left, typed, operator, _read_operand(clause, operator, typed or Typed("text")))


def _read_operand(clause: Clause, operator: Operator, typed: Typed) -> str:
    values = clause.values
    if clause.form == "offset":
        unit = clause.unit.removesuffix("s")
        return f"{'.'.join(values[0].names)}@{unit}@{clause.direction}@{clause.amount}"
    if clause.form == "none":
        return ""
    if clause.form == "several":
        return ",".join(read_value(value, typed) for value in values)
    if clause.form == "between":
        return "@".join(read_value(value, typed) for value in values)
    (value,) = values
    if value.form == "raw":
        return value.text
    if operator.operand == "field":
        return value.text + (f"@{clause.unit}" if clause.unit else "")
    if value.form == "words":
        return _read_words(value, operator, typed)
    if operator.operand == "text":
        return value.text
    return read_value(value, typed)


def _read_words(value: Value, operator: Operator, typed: Typed) -> str:
    text = value.text
    if operator.operand == "period" and text.lower() in PERIODS:
        return _period(text.lower())
    if operator.operand == "weekday" and text.title() in WEEKDAYS:
        return _WEEKDAY.format(day=text.title(), low=text.lower())
    if operator.operand == "span" and len(value.names) == 3:
        amount, unit, direction = value.names
        return f"@{UNITS.get(unit.removesuffix('s'), unit)}@{direction}@{amount}"
    if typed.kind in {"date", "date_time", ANY} and text in PERIODS and operator.name in {"<", "<=", ">", ">="}:
        return _edge(operator.name, text)
    return text if operator.operand == "text" else read_value(value, typed)
