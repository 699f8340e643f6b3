"""References in a requirement: ``#Incident``, ``#sys_user``, ``#"Change Request"``.

>>> from flowdsl.instance import Instance
>>> tags = resolve_tags('When a #"Change Request" is created, #log it', Instance.load("servicenow"))
>>> tags.text, [table.name for table in tags.tables], [step.name for step in tags.steps]
('When a Change Request is created, log it', ['change_request'], ['log'])
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TypeVar

from flowdsl.errors import InvalidRequirement
from flowdsl.instance import Instance, Step, Table, TriggerType
from flowdsl.words import plain_stems, spoken

#: A quoted text that is no reference, so that what stands in it is left alone; a quoted reference; a bare one.
_TAG = re.compile(r'(?<!#)"[^"]*"|(?<![\w#&/.])#(?:"([^"]*)"|([^\W\d][\w.]*(?:[ -][\w.]+){0,7}))')
_WORDS = re.compile(r"[\w.]+")
#: Names that an unknown one is compared with at most.
_COMPARED = 20_000
_NEAREST = 3

Entry = Step | TriggerType | Table
T = TypeVar("T", bound=Entry)


@dataclass(frozen=True)
class Tags:
    """What a requirement refers to.

    Attributes:
        text: the requirement as plain words, without the marks.
    """

    text: str
    triggers: tuple[TriggerType, ...] = ()
    steps: tuple[Step, ...] = ()
    tables: tuple[Table, ...] = ()


def resolve_tags(requirement: str, instance: Instance) -> Tags:
    """The entries that a requirement marks with ``#``, by name or label, in either case of letters.

    A bare reference reaches as far as a name does: ``#Change Request`` is the table Change Request. A name
    that several kinds of entries have means all of them. What stands in plain quotes is no reference.

    Raises:
        InvalidRequirement: a reference is to nothing; the message names the nearest entries.
    """
    known = _known(instance) if "#" in requirement else {}
    found: dict[int, Entry] = {}
    pieces: list[str] = []
    end = 0
    for match in _TAG.finditer(requirement):
        quoted, bare = match.group(1), match.group(2)
        if quoted is None and bare is None:
            continue
        name = quoted if quoted is not None else _reach(bare, known)
        entries = known.get(_key(name or ""))
        if not entries:
            asked = quoted if quoted is not None else _WORDS.findall(bare)[0].rstrip(".")
            hint = _hint(asked, instance)
            raise InvalidRequirement(
                f"#{asked}: no step, trigger or table is called that{hint} (in quotes it is no reference)"
            )
        assert name is not None
        found |= {id(entry): entry for entry in entries}
        pieces += [requirement[end : match.start()], name]
        end = match.end() if quoted is not None else match.start() + 1 + len(name)
    pieces.append(requirement[end:])
    entries_found = tuple(found.values())
    return Tags(
        "".join(pieces),
        tuple(_of(entries_found, TriggerType)),
        tuple(_of(entries_found, Step)),
        tuple(_of(entries_found, Table)),
    )


def _of(entries: Iterable[Entry], kind: type[T]) -> Iterable[T]:
    return (entry for entry in entries if isinstance(entry, kind))


def _key(name: str) -> str:
    return " ".join(name.casefold().split())


@lru_cache(maxsize=8)
def _known(instance: Instance) -> dict[str, list[Entry]]:
    """Entries by their names, and by their labels where these are not names."""
    entries: Sequence[Entry] = (*instance.triggers, *instance.steps, *instance.tables)
    known: dict[str, list[Entry]] = {}
    for entry in entries:
        known.setdefault(_key(entry.name), []).append(entry)
    labelled: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.label and _key(entry.label) not in known:
            labelled.setdefault(_key(entry.label), []).append(entry)
    for label, entries_of in labelled.items():
        known[label] = entries_of
    return known


def _reach(text: str, known: dict[str, list[Entry]]) -> str | None:
    """The longest beginning of a text, in whole words, that is a name; a plural or a final stop aside."""
    ends = [match.end() for match in _WORDS.finditer(text)][::-1]
    for end in ends:
        for name in (text[:end], text[:end].rstrip(".")):
            if _key(name) in known:
                return name
    return None


def _hint(name: str, instance: Instance) -> str:
    """The entries whose names or labels are most like a name, in spelling or in a word."""
    entries: Sequence[Entry] = (*instance.tables, *instance.steps, *instance.triggers)
    spelled = {_key(text): entry.name for entry in entries[:_COMPARED] for text in (entry.label, entry.name) if text}
    near = [spelled[key] for key in get_close_matches(_key(name)[:100], spelled, n=_NEAREST, cutoff=0.6)]
    if len(near) < _NEAREST:
        words = plain_stems(spoken(name))
        near += [
            entry.name for entry in entries[:_COMPARED] if words & plain_stems(f"{spoken(entry.name)} {entry.label}")
        ]
    unique = list(dict.fromkeys(near))[:_NEAREST]
    return f" (the nearest: {', '.join('#' + text for text in unique)})" if unique else ""
