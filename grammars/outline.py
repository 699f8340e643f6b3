"""The outline grammars: what the next piece of an outline can be.

An outline is written in pieces, because what may come next depends on what is in scope, and that
on every line so far: first an annotation (or the end of a block, or of the flow), then the step
and its table. Each piece has a small grammar of its own; those that depend on the instance alone
are the same text each time, so they are built once.

>>> print(step_piece({"log": None, "look_up_records": ("incident", "problem")}))
start: " " WORDS_0 "\\n" | " " WORDS_1 " " TABLES_1 "\\n"
WORDS_0: "log"
WORDS_1: "look_up_records"
TABLES_1: "incident" | "problem"
<BLANKLINE>
"""

import json
import re
from collections.abc import Mapping, Sequence

from grammars.names import declared_name, open_name
from grammars.spelling import spell_text
from grammars.text import Sheet, literal, pattern

#: Characters of a generated annotation.
ANNOTATION_LENGTH = 240

#: Tables that are not listed: any name (an instance without tables).
OPEN_TABLES = ("*",)

_CHUNKS = re.compile(r"\w+|[^\w\s]|\s+")
_FREE = r"[^\"\\\x00-\x20\x7f]([^\"\\\x00-\x1f\x7f]{0,238}[^\"\\\x00-\x20\x7f])?"


def annotation(sheet: Sheet, requirement: str | None) -> str:
    """The terminal of an annotation: any span of whole words of the requirement (None: any text)."""
    if requirement is None:
        return sheet.terminal("ANNOTATION", [f'"\\"" {pattern(_FREE)} "\\""'])
    chunks = [spell_text(chunk)[1:-1] for chunk in _CHUNKS.findall(requirement)]
    sheet.terminal("SPANS", [f"%regex {json.dumps({'substring_chunks': chunks})}"])
    sheet.terminal("SPAN", [f"SPANS & /[^ ](.*[^ ])?/ & ~/(\\\\[nrt]).*|.*(\\\\[nrt])/ & /.{{1,{ANNOTATION_LENGTH}}}/"])
    return sheet.terminal("ANNOTATION", ['"\\"" SPAN "\\""'])


def opening_piece(requirement: str | None, trigger: bool, fragment: bool, subflow: bool) -> str:
    """The beginning: ``ON "..."``, ``SUBFLOW``, or the annotation of a fragment's first step."""
    sheet = Sheet()
    text = Sheet()
    name = annotation(text, requirement)
    options = [f'"ON " {name}'] * trigger + ['"SUBFLOW\\n"'] * subflow + [name] * fragment
    sheet.rule("start", options)
    return f"{sheet}{text}"


def line_piece(requirement: str | None, step: bool, end: bool, stop: bool) -> str:
    """The beginning of a line: an annotation, the end of a block, or nothing more."""
    sheet = Sheet()
    text = Sheet()
    options = ['"END\\n"'] * end
    if step:
        options.append(annotation(text, requirement))
    if stop:
        options.append('""')
    sheet.rule("start", options)
    return f"{sheet}{text}"


def declaration_piece(
    requirement: str | None,
    used: Mapping[str, Sequence[str]],
    types: Mapping[str, Sequence[str] | None],
    optional: frozenset[str] = frozenset(),
) -> str:
    """A declared input or output of a subflow, or the annotation of its first step.

    Args:
        used: the words that may stand here, INPUT and OUTPUT, each with the names that are declared by it.
        types: each with the tables it may name, as in `step_piece`.
        optional: the types whose table may be left out.
    """
    sheet = Sheet()
    text = Sheet()
    options = [annotation(text, requirement)]
    heads = " | ".join(f'"{word} " {declared_name(text, word, names)}' for word, names in used.items())
    plain = {name: None for name, tables in types.items() if tables is None or name in optional}
    tabled = {name: tables for name, tables in types.items() if tables is not None}
    for i, (tables, names) in enumerate([*_by_tables(plain), *_by_tables(tabled)]):
        text.terminal(f"TYPES_{i}", map(literal, names))
        if tables is None:
            options.append(f'({heads}) " " TYPES_{i} "\\n"')
        else:
            options.append(f'({heads}) " " TYPES_{i} " " {_tables(text, i, tables)} "\\n"')
    sheet.rule("start", options)
    return f"{sheet}{text}"


def step_piece(words: Mapping[str, Sequence[str] | None], optional: frozenset[str] = frozenset()) -> str:
    """What follows an annotation: a step or trigger, with its table where it has one.

    Args:
        words: the DSL words that may stand here, each with the tables it may name (None: none,
            `OPEN_TABLES`: any name), all spelled.
        optional: the words whose table may be left out.
    """
    sheet = Sheet()
    text = Sheet()
    options = []
    kinds = {word: None if tables is None else tuple(tables) for word, tables in words.items()}
    plain = {word: None for word in kinds if kinds[word] is None or word in optional}
    tabled = {word: tables for word, tables in kinds.items() if tables}
    for i, (tables, names) in enumerate([*_by_tables(plain), *_by_tables(tabled)]):
        text.terminal(f"WORDS_{i}", map(literal, names))
        if tables is None:
            options.append(f'" " WORDS_{i} "\\n"')
        else:
            options.append(f'" " WORDS_{i} " " {_tables(text, i, tables)} "\\n"')
    sheet.rule("start", options)
    return f"{sheet}{text}"


def _tables(text: Sheet, number: int, tables: Sequence[str]) -> str:
    if tuple(tables) == OPEN_TABLES:
        return open_name(text)
    return text.terminal(f"TABLES_{number}", map(literal, tables))


def _by_tables(
    words: "Mapping[str, Sequence[str] | None]",
) -> "list[tuple[tuple[str, ...] | None, list[str]]]":
    groups: dict[tuple[str, ...] | None, list[str]] = {}
    for word, tables in words.items():
        groups.setdefault(None if tables is None else tuple(tables), []).append(word)
    return list(groups.items())
