"""One value, between its DSL spelling and its JSON string.

`read_value` is generous, `spell_value` writes the one canonical spelling, and reading what was
spelled gives the value back. What cannot be spelled by its type is written raw (``'...'``).
`value_problem` says what is wrong with a stored value.

>>> duration = Typed("duration")
>>> spell_value("1970-01-11 04:00:00", duration)
'10 days 4 hours'
>>> read_value(Value("words", "90 minutes", (1, 1)), duration)
'1970-01-01 01:30:00'
"""

import re
from datetime import datetime, timedelta

from flowdsl.scope import PILL
from flowdsl.syntax import Value
from flowdsl.typed import Typed
from grammars.spelling import spell_label, spell_name, spell_path, spell_raw, spell_text

_EPOCH = datetime(1970, 1, 1)
_STAMP = "%Y-%m-%d %H:%M:%S"
_STAMP_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_DAY_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_AMOUNT = re.compile(r"([0-9]{1,9}) (week|day|hour|minute|min|second|sec)s?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SHORT = {"week": 7 * 86400, "min": 60, "sec": 1}
_SECONDS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}

#: Kinds whose values may be text with pills in it.
TEXTUAL = frozenset({"text", "any"})


# -- reading -----------------------------------------------------------------------------------


def read_value(value: Value, typed: Typed) -> str:
    """The JSON string of a value as written; what does not fit its type is passed on as it is."""
    text = value.text
    if value.form in {"raw", "pill", "walk"}:
        return text
    if typed.choices:
        for same in (str, str.lower) if value.form == "words" else (str,):
            for choice in typed.choices:
                if same(choice.label) == same(text):
                    return choice.value
        return text
    if typed.kind == "duration":
        return _read_duration(text)
    if typed.kind == "time":
        return f"1970-01-01 {clock}" if (clock := _read_clock(text)) else text
    if typed.kind == "date_time":
        day, _, rest = text.partition(" ")
        clock = _read_clock(rest or "00:00")
        return f"{day} {clock}" if _DAY_SHAPE.fullmatch(day) and clock else text
    return text


def _read_clock(text: str) -> str | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = match.groups(default="00")
    return f"{int(hour):02}:{minute}:{second}"


def _read_duration(text: str) -> str:
    amounts = list(_AMOUNT.finditer(text))
    if not amounts or " ".join(match.group() for match in amounts) != text:
        return text
    seconds = sum(int(match.group(1)) * (_SECONDS | _SHORT)[match.group(2)] for match in amounts)
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime(_STAMP)
    except OverflowError:
        return text


# -- spelling ----------------------------------------------------------------------------------


def spell_value(value: str, typed: Typed) -> str:
    """The canonical spelling of a stored value."""
    if PILL.fullmatch(value):
        return value
    return _spell_typed(value, typed) or spell_raw(value)


def _spell_typed(value: str, typed: Typed) -> str | None:
    """The spelling by type, or None if the value has none."""
    kind = typed.kind
    if typed.choices:
        label = next((choice.label for choice in typed.choices if choice.value == value), None)
        return spell_label(label) if label is not None else None
    if kind == "boolean":
        return value if value in {"true", "false"} else None
    if kind in {"integer", "number", "step"}:
        return value if (_NUMBER if kind == "number" else _INTEGER).fullmatch(value) else None
    if kind == "time":
        return _spell_clock(value[11:]) if value.startswith("1970-01-01 ") and _stamp(value) else None
    if kind == "duration":
        return _spell_duration(value)
    if kind == "date_time":
        return f"{value[:10]} {_spell_clock(value[11:])}" if _stamp(value) else None
    if kind == "date":
        return value if _is_day(value) else None
    if kind == "table":
        return spell_name(value) if value else None
    if kind == "field":
        return spell_path(value.split(".")) if value and all(value.split(".")) else None
    return spell_text(value)


def _spell_clock(clock: str) -> str:
    return clock[:5] if clock.endswith(":00") else clock


def _spell_duration(value: str) -> str | None:
    stamp = _stamp(value)
    if stamp is None or stamp < _EPOCH:
        return None
    left = int((stamp - _EPOCH).total_seconds())
    parts = []
    for unit, size in _SECONDS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(parts) or "0 seconds"


def _stamp(value: str) -> datetime | None:
    if not _STAMP_SHAPE.fullmatch(value):
        return None
    try:
        return datetime.strptime(value, _STAMP)
    except ValueError:
        return None


def _is_day(value: str) -> bool:
    return _DAY_SHAPE.fullmatch(value) is not None and _stamp(f"{value} 00:00:00") is not None


# -- checking ----------------------------------------------------------------------------------


def value_problem(value: str, typed: Typed) -> tuple[str, str] | None:
    """The issue kind and message if a stored value, without pills, does not fit its type."""
    kind = typed.kind
    if _CONTROL.search(value):
        return "bad_value", "a value may not hold control characters"
    if typed.choices:
        if any(choice.value == value for choice in typed.choices):
            return None
        known = ", ".join(spell_label(choice.label) for choice in typed.choices[:8])
        return "unknown_choice", f"{value!r} is none of {known}{' ...' if len(typed.choices) > 8 else ''}"
    if kind == "record":
        return "bad_value", f"a record is given by a pill, not by {value!r}"
    if kind == "records":
        return "not_a_list", f"a list of records is given by a pill, not by {value!r}"
    if kind == "boolean" and value not in {"true", "false"}:
        return "bad_value", f"{value!r} is neither true nor false"
    if kind == "integer" and not _INTEGER.fullmatch(value):
        return "bad_value", f"{value!r} is no whole number"
    if kind == "number" and not _NUMBER.fullmatch(value):
        return "bad_value", f"{value!r} is no number"
    if kind == "time" and not (value.startswith("1970-01-01 ") and _stamp(value)):
        return "bad_value", f"{value!r} is no time: 07:00, stored as 1970-01-01 07:00:00"
    if kind == "duration" and _spell_duration(value) is None:
        return "bad_value", f"{value!r} is no duration: 10 days 4 hours, stored as 1970-01-11 04:00:00"
    if kind == "date_time" and not _stamp(value):
        return "bad_value", f"{value!r} is no date-time (YYYY-MM-DD HH:MM:SS)"
    if kind == "date" and not _is_day(value):
        return "bad_value", f"{value!r} is no date (YYYY-MM-DD)"
    return None
