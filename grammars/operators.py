"""The operators of conditions: their spelling in a query and in the DSL, and where they fit.

Source: the platform's public list of encoded-query operators ("Operators available for filters
and queries"); the change operators exist on triggers that run on updates only.

>>> BY_WORD["CONTAINS"].name
'LIKE'
>>> sorted(op.word for op in operators_of("boolean"))[:3]
['!=', '=', 'ANYTHING']
"""

from dataclasses import dataclass
from typing import Literal

Operand = Literal["none", "value", "text", "list", "range", "field", "period", "span", "offset", "weekday"]


@dataclass(frozen=True)
class Operator:
    """One comparison operator.

    Attributes:
        name: as an encoded query writes it.
        word: as the DSL writes it.
        operand: what follows it. ``value`` is typed by the column, ``text`` is always text,
            ``range`` two values, ``field`` another column, ``period`` a named stretch of time,
            ``span`` an amount of time ago or ahead, ``offset`` an amount of time before or
            after another column, ``weekday`` the name of a day.
        kinds: the kinds (see `kinds`) of columns it fits.
        on_change: whether it looks at what an update changed.
    """

    name: str
    word: str
    operand: Operand
    kinds: frozenset[str]
    on_change: bool = False


_SCALAR = "text integer number boolean date date_time duration time choice guid any"
_EVERY = f"{_SCALAR} reference record list records"
_DATES = "date date_time any"
_ORDERED = "integer number date date_time duration time choice any"
_TEXTUAL = "text choice reference record guid list any"

_TABLE: tuple[tuple[str, str, Operand, str], ...] = (
    ("=", "=", "value", f"{_SCALAR} reference record list"),
    ("!=", "!=", "value", f"{_SCALAR} reference record list"),
    ("<", "<", "value", _ORDERED),
    ("<=", "<=", "value", f"{_ORDERED} text"),
    (">", ">", "value", _ORDERED),
    (">=", ">=", "value", f"{_ORDERED} text"),
    ("STARTSWITH", "STARTSWITH", "text", _TEXTUAL),
    ("ENDSWITH", "ENDSWITH", "text", _TEXTUAL),
    ("LIKE", "CONTAINS", "text", _TEXTUAL),
    ("NOT LIKE", "NOT CONTAINS", "text", _TEXTUAL),
    ("IN", "IN", "list", "text integer number choice reference record guid any"),
    ("NOT IN", "NOT IN", "list", "text integer number choice reference record guid any"),
    ("ISEMPTY", "ISEMPTY", "none", _EVERY),
    ("ISNOTEMPTY", "ISNOTEMPTY", "none", _EVERY),
    ("ANYTHING", "ANYTHING", "none", _EVERY),
    ("EMPTYSTRING", "EMPTYSTRING", "none", "text reference record any"),
    ("BETWEEN", "BETWEEN", "range", "text integer number date date_time duration time choice any"),
    ("SAMEAS", "SAMEAS", "field", f"{_SCALAR} reference record"),
    ("NSAMEAS", "NSAMEAS", "field", f"{_SCALAR} reference record"),
    ("GT_FIELD", "GT_FIELD", "field", "integer number any"),
    ("LT_FIELD", "LT_FIELD", "field", "integer number any"),
    ("GT_OR_EQUALS_FIELD", "GT_OR_EQUALS_FIELD", "field", "integer number any"),
    ("LT_OR_EQUALS_FIELD", "LT_OR_EQUALS_FIELD", "field", "integer number any"),
    ("DYNAMIC", "DYNAMIC", "text", "reference record any"),
    ("IN_HIERARCHY", "IN_HIERARCHY", "value", "reference record any"),
    ("IN_HIERARCHY_DYNAMIC", "IN_HIERARCHY_DYNAMIC", "text", "reference record any"),
    ("ON", "ON", "period", _DATES),
    ("NOTON", "NOTON", "period", _DATES),
    ("RELATIVELT", "BEFORE", "span", _DATES),
    ("RELATIVEGT", "AFTER", "span", _DATES),
    ("RELATIVELE", "UNTIL", "span", _DATES),
    ("RELATIVEGE", "SINCE", "span", _DATES),
    ("MORETHAN", "MORETHAN", "offset", _DATES),
    ("LESSTHAN", "LESSTHAN", "offset", _DATES),
    ("DATEPART", "DATEPART", "weekday", _DATES),
)

OPERATORS: tuple[Operator, ...] = (
    *(Operator(name, word, operand, frozenset(kinds.split())) for name, word, operand, kinds in _TABLE),
    Operator("VALCHANGES", "CHANGES", "none", frozenset(_EVERY.split()), on_change=True),
    Operator("CHANGESFROM", "CHANGESFROM", "value", frozenset(f"{_SCALAR} reference record list".split()), True),
    Operator("CHANGESTO", "CHANGESTO", "value", frozenset(f"{_SCALAR} reference record list".split()), True),
)
BY_NAME = {operator.name: operator for operator in OPERATORS}
BY_WORD = {operator.word: operator for operator in OPERATORS}

#: Units of time by their DSL word (singular) and their code in a query.
UNITS = {"minute": "minute", "hour": "hour", "day": "dayofweek", "week": "week", "month": "month", "year": "year"}
DIRECTIONS = {"ago": "ago", "ahead": "ahead"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: Named stretches of time: DSL words and the label that a query writes.
PERIODS = {
    label.lower(): label
    for label in (
        *("Today", "Yesterday", "Tomorrow"),
        *(f"{which} {unit}" for unit in ("week", "month", "year") for which in ("This", "Last", "Next")),
    )
}


def operators_of(kind: str, on_change: bool = False) -> tuple[Operator, ...]:
    """The operators that fit a kind; with `on_change`, those of an update trigger too."""
    return tuple(op for op in OPERATORS if kind in op.kinds and (on_change or not op.on_change))
