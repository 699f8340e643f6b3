"""How names and texts are spelled: one way to write each, and the patterns of the open ones.

Three quotes, three meanings: `` `name` `` is a name of the installation that is not a bare word,
``"text"`` is text or a label, ``'value'`` is a value exactly as the JSON stores it.

A matcher's lexer never goes back, so no spelling, followed by what may follow it, may be a
prefix of another: a bare word holds only ``[A-Za-z0-9_]``, and what follows it never does;
everything else ends in its own closing quote.

>>> spell_name("incident"), spell_name("Look Up"), spell_name("AND")
('incident', '`Look Up`', '`AND`')
>>> read_name(spell_name("a`b"))
'a`b'
>>> spell_label("In Progress"), spell_label("New")
('"In Progress"', 'New')
"""

import json
import re

from grammars.operators import OPERATORS

#: Words with a meaning of their own; a name that equals one is quoted.
KEYWORDS = frozenset(
    "ON SUBFLOW INPUT OUTPUT IF ELSEIF ELSE FOREACH DOUNTIL PARALLEL BRANCH TRY CATCH TIMER STOP BREAK "
    "CONTINUE GOBACKTO END PLACEHOLDER AND OR NQ BY TO NONE".split()
) | {word for operator in OPERATORS for word in operator.word.split() if word.isalpha()}

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_bare(name: str) -> bool:
    """Whether a name needs no quotes."""
    return _BARE.fullmatch(name) is not None and name not in KEYWORDS


def spell_name(name: str) -> str:
    """A step, trigger, table, column or input by its name."""
    if is_bare(name):
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def read_name(text: str) -> str:
    """The inverse of `spell_name`."""
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith("`") else text


def spell_path(names: list[str]) -> str:
    """A dot-walk: column names from a table to a field."""
    return ".".join(map(spell_name, names))


def spell_text(text: str) -> str:
    """Text in double quotes, escaped as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def spell_label(label: str) -> str:
    """The label of a choice: bare if it can be, else as text."""
    return label if is_bare(label) else spell_text(label)


def spell_raw(value: str) -> str:
    """A stored value, verbatim, in single quotes."""
    return "'" + json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def read_text(text: str) -> str:
    """The inverse of `spell_text` and `spell_raw`.

    Raises:
        ValueError: an escape that JSON does not know.
    """
    if text.startswith("'"):
        inner = text[1:-1].replace("\\'", "'")
        text = '"' + re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', inner) + '"'
    value = json.loads(text, strict=False)
    assert isinstance(value, str)
    value.encode()  # refuses half a surrogate pair
    return value


# -- patterns of open terminals, for the specialised grammars ----------------------------------

#: One character of text, or an escape; not an opening brace.
TEXT_CHAR = r'([^"\\{\x00-\x1f\x7f]|\\["\\nrt])'
NUMBER = r"-?[0-9]{1,40}(\.[0-9]{1,40})?"
INTEGER = r"-?[0-9]{1,40}"
TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?"
# Every year of four digits but 0000, which no calendar has.
_YEAR = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_FOURTH = "(0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR = f"([0-9]{{2}}{_FOURTH}|{_FOURTH}00)"
DATE = (
    rf"({_YEAR}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    r"|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
DATE_TIME = rf"{DATE} {TIME}"
