"""Guesses at what comes next in the inputs of a step: the pills, fields and labels that fit it, and words of
the requirement. They save passes and decide nothing, so they are simple and quick, as for outlines.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice

from flowdsl.outline_drafts import Drafts, ends, spelled
from flowdsl.retrieve import Search
from flowdsl.scope import Scope
from flowdsl.specialise import input_slots, tables_of
from flowdsl.tables import owner_of
from grammars.kinds import LISTS, RECORDS
from grammars.spelling import spell_label, spell_name, spell_text
from grammars.vocabulary import Line, Slot

_OPEN_PILL = re.compile(r"\{\{([^}]*)$")
_WORD = re.compile(r"[A-Za-z0-9_.]+$")
_QUOTED = re.compile(r'"([^"]+)"')
#: Columns that texts mention.
_USUAL = ("number", "name", "short_description")
#: Input kinds that are made of columns, and what stands between two of those.
_JOINED = {"conditions": " AND ", "template": ", "}


def inputs_drafts(requirement: str, scope: Scope, at: int | None) -> Drafts:
    """Guesses for the inputs of a step (by index; None: the trigger), given all of their text so far.

    >>> from flowdsl.compile import compile_dsl
    >>> from flowdsl.instance import Instance
    >>> instance = Instance.load("servicenow")
    >>> flow = compile_dsl('ON "new incident" record_create incident\\n1 "log it" log\\n  log_message: "x"', instance)
    >>> next(iter(inputs_drafts('new incident: log it as "done"', Scope.of(flow, instance), 0)("log_message:")))
    ' "done"\\n'
    """
    owner, definition = owner_of(scope, at)
    lines = {spell_name(line.name): line for line in input_slots(scope, at)} if definition is not None else {}
    said = owner.annotation or ""
    sources = sorted(list(scope.sources(at))[::-1], key=lambda source: source.typed.kind not in RECORDS)
    pills = [f"{{{{{source.path}}}}}" for source in sources]
    of_kind = {
        kind: [pill for pill, source in zip(pills, sources, strict=True) if source.typed.kind in kind]
        for kind in (RECORDS, LISTS)
    }
    texts = [*dict.fromkeys(_QUOTED.findall(said) + _QUOTED.findall(requirement)), said]
    search = Search.of(scope.instance)

    @cache
    def columns(table: str) -> dict[str, Slot]:
        known = tables_of(scope.instance).columns(table)
        found = [column.name for column in search.columns(table, requirement, 10, step=said)]
        return {spell_name(name): known[name] for name in dict.fromkeys([*found, *known])}

    def guess(text: str) -> Iterator[str]:
        before, _, line = text.rpartition("\n")
        name, colon, value = line.partition(":")
        if not colon:
            used = {other.partition(":")[0] for other in before.splitlines()}
            left = [other for other in lines if other not in used and other.startswith(name)]
            left.sort(key=lambda other: not lines[other].mandatory)
            for other in left[:3]:
                yield f"{other[len(name) :]}:{next(values(lines[other], ''), '')}"
            return
        if name in lines:
            yield from values(lines[name], value)

    def values(line: Line, value: str) -> Iterator[str]:
        """What is left of the value of an input."""
        joint = _JOINED.get(line.slot.kind)
        quoted = value.count('"') % 2 == 1
        if (open_pill := _OPEN_PILL.search(value)) is not None:
            yield from pill_rest(open_pill[1], "" if quoted else "\n")
        elif quoted:
            yield from texts_rest(value.rpartition('"')[2])
        elif joint is not None and line.table is not None:
            yield from joined(columns(line.table), joint, value)
        elif not value.strip():
            gap = " " if not value else ""
            for whole in wholes(line.slot):
                yield f"{gap}{whole}\n"
        elif value.endswith("}}"):
            for pill, source in zip(pills, sources, strict=True):
                if value.endswith(pill) and source.typed.choices:
                    labels = [spell_label(choice.label) for choice in source.typed.choices]
                    yield f" = {min(labels, key=lambda label: label.lower() not in requirement.lower())}\n"
            yield "\n"

    def texts_rest(written: str) -> Iterator[str]:
        """What is left of a text that has been begun: what the requirement says, in its words."""
        if written.endswith("}}"):
            yield '"\n'
        for text in texts:
            if text.startswith(written):
                yield f'{spelled(text[len(written) :])}"\n'
        words = written.rpartition("}}")[2].lstrip(" :,-")
        found = requirement.lower().find(words.lower()) if len(words) > 1 else -1
        if found >= 0:
            begin = found + len(words)
            for end in islice(ends(requirement, begin), 2):
                yield f'{spelled(requirement[begin:end])}"\n'
        if not written or written.endswith(" "):
            yield "{{trigger.current."

    def wholes(slot: Slot) -> list[str]:
        """Values that may be all of an input."""
        mentioned = [label for label in slot.labels if label.strip('"').lower() in requirement.lower()]
        if slot.kind in RECORDS:
            return of_kind[RECORDS]
        if slot.kind in LISTS:
            return of_kind[LISTS]
        if slot.labels:
            return [*mentioned, *slot.labels]
        return ["true", "false"] if slot.kind == "boolean" else [spell_text(text) for text in texts]

    def joined(known: dict[str, Slot], joint: str, value: str) -> Iterator[str]:
        """What may come next in conditions or templates."""
        if value.endswith(joint.rstrip()):
            value += " "
            gap = " "
        else:
            gap = "" if value.strip() and not value.endswith(" =") else " "[: not value.endswith(" ")]
        part = value.rpartition(joint)[2].lstrip()
        column, equals, rest = part.partition(" = ")
        if not equals and part.endswith(" ="):
            column, equals, rest = part[:-2], " =", ""
        if equals:
            slot = known.get(column)
            if slot is not None and not rest:
                for whole in wholes(slot)[:3]:
                    yield f"{gap}{whole}\n"
            elif rest:
                if slot is not None:
                    yield from (
                        f"{whole[len(rest) :]}\n" for whole in wholes(slot) if whole.startswith(rest) and whole != rest
                    )
                yield "\n"
                yield joint
            return
        for name in known:
            if name.startswith(part) and f"{name} " not in value:
                whole = next(iter(wholes(known[name])), "")
                yield f"{gap}{name[len(part) :]} = {whole}"

    def pill_rest(path: str, after: str) -> Iterator[str]:
        """What is left of a pill, the braces included."""
        begun = [pill for pill in pills if pill.startswith("{{" + path)]
        for pill in begun[:2]:
            yield pill[len(path) + 2 :] + after
        for source in sources:
            if source.typed.table and source.typed.kind in RECORDS and path.startswith(f"{source.path}."):
                column = path[len(source.path) + 1 :]
                named = [name for name in columns(source.typed.table) if name.startswith(column)]
                named.sort(key=lambda name: name not in _USUAL)
                yield from (f"{name[len(column) :]}}}}}{after}" for name in named[:3])

    return guess
