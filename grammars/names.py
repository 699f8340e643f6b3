"""Names that no instance lists: of declared inputs and outputs, and all tables and fields where there are no tables.

>>> sheet = Sheet()
>>> declared_name(sheet, "INPUT", ["user"])
'INPUT_NAME'
>>> [is_open_walk([name]) for name in ("deviceId", "ID", "lastPING", "PING", "AND", "1st", "a b")]
[True, True, False, False, False, True, False]
"""

import re
from collections.abc import Iterable, Sequence

from grammars.operators import OPERATORS
from grammars.spelling import KEYWORDS, spell_name
from grammars.text import Sheet, literal, pattern

#: Characters of a generated name, columns of a generated walk.
NAME_LENGTH, WALK_LENGTH = 80, 3

_BARE = rf"[A-Za-z_][A-Za-z0-9_]{{0,{NAME_LENGTH - 1}}}"
_KEYWORDS = " | ".join(map(literal, sorted(KEYWORDS)))
#: Of a quoted name: what stands at its ends, and what may also stand within.
_EDGE = r"([^\s`\\{}.\^=<>!@\x00-\x1f\x7f]|\\[`\\])"
_INNER = r"([^`\\{}.\^=<>!@\x00-\x1f\x7f]|\\[`\\])"
_QUOTED = f"`{_EDGE}({_INNER}{{0,{NAME_LENGTH - 2}}}{_EDGE})?`"

# In an encoded query an operator follows a field at once. Each begins with two capitals, so it is told apart where
# no two stand together in a field, and none at its end.
_CAMEL = r"[A-Z]?[a-z0-9_]{1,80}([A-Z][a-z0-9_]{1,80}){0,9}"
_UNQUOTED = r"([A-Z][a-z0-9_]|[a-z_])[a-z0-9_]{0,80}([A-Z][a-z0-9_]{1,80}){0,9}"
#: Names in capitals, short, since looking for operators in them takes time.
_CAPITALS = "[A-Z][A-Z0-9_]{0,31}"
_WORDS = sorted(operator.name for operator in OPERATORS if operator.name[0].isalpha())
_HEADS = sorted(
    word[:at]
    for word in _WORDS
    for at in range(1, len(word))
    if any(other.name.startswith(word[at:]) or word[at:].startswith(other.name) for other in OPERATORS)
)
#: Capitals that would not be read back: an operator in them, or begun at their end; or what joins two conditions.
_MISREAD = f"(OR|NQ).*|.+({'|'.join(_WORDS)}).*|.+({'|'.join(_HEADS)})"
_WORD = f"[A-Za-z0-9_]{{1,{NAME_LENGTH}}}"
_OPEN_WALK = re.compile(
    rf"{_CAMEL}(\.{_CAMEL}){{0,{WALK_LENGTH - 1}}}|(?!({_MISREAD}|{'|'.join(sorted(KEYWORDS))})$){_CAPITALS}"
)


_FIELD = pattern(f"{_UNQUOTED}|`[0-9]({_CAMEL})?`")
_IN_CAPITALS = f"{pattern(_CAPITALS)} & ~({_KEYWORDS}) & ~{pattern(_MISREAD)}"


def is_open_name(name: str) -> bool:
    """Whether a name can be generated though nothing lists it."""
    spelled = spell_name(name)
    return re.fullmatch(_QUOTED if spelled.startswith("`") else _BARE, spelled) is not None


def is_open_walk(names: Sequence[str]) -> bool:
    """The same for fields in conditions or a template of an instance without tables."""
    return _OPEN_WALK.fullmatch(".".join(names)) is not None


def open_name(sheet: Sheet) -> str:
    """The terminal of any name."""
    return _once(sheet, "OPEN_NAME", _names())


def declared_name(sheet: Sheet, word: str, used: Iterable[str]) -> str:
    """The terminal of the name of an input or output that is declared; `used`: those that are there already."""
    return sheet.terminal(f"{word}_NAME", _except(_once(sheet, "NAME", _names()), map(spell_name, used)))


def open_walk(sheet: Sheet) -> str:
    """The terminal of fields in conditions: names that an encoded query can be read back with."""
    field = _once(sheet, "OPEN_FIELD", [_FIELD])
    return _once(sheet, "OPEN_WALK", [f'{field} ("." {field}){{0,{WALK_LENGTH - 1}}}', _IN_CAPITALS])


def open_field(sheet: Sheet, used: Iterable[str]) -> str:
    """The terminal of fields that a template sets; `used`: those that it has set."""
    return _once(sheet, "OPEN_SET", _except(f"({_FIELD} | {_IN_CAPITALS})", map(spell_name, used)))


def open_path(sheet: Sheet) -> str:
    """The terminal of names of fields, joined by dots, that are not in a query."""
    name = open_name(sheet)
    return _once(sheet, "OPEN_PATH", [f'{name} ("." {name}){{0,{WALK_LENGTH - 1}}}'])


def open_pill(sheet: Sheet) -> str:
    """The terminal of a walk within a pill, where nothing is quoted."""
    return _once(sheet, "OPEN_PILL", [pattern(rf"{_WORD}(\.{_WORD}){{0,{WALK_LENGTH - 1}}}")])


def _names() -> list[str]:
    quoted = [literal(spell_name(word)) for word in sorted(KEYWORDS)]
    return [f"{pattern(_BARE)} & ~({_KEYWORDS})", f"{pattern(_QUOTED)} & ~{pattern(f'`{_BARE}`')}", *quoted]


def _except(terminal: str, used: Iterable[str]) -> list[str]:
    taken = " | ".join(map(literal, used))
    return [f"{terminal} & ~({taken})" if taken else terminal]


def _once(sheet: Sheet, name: str, alternatives: Iterable[str]) -> str:
    return name if name in sheet else sheet.terminal(name, alternatives)
