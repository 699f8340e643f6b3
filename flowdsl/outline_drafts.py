"""Guesses at what comes next in an outline: they save passes and decide nothing.

An outline goes through the requirement from left to right: the next annotation mostly begins where the last
one ended, ends where a clause ends, and its words tell which step is meant.

Nothing here has to be right, and it is asked at every pass: simple and quick.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

from flowdsl.instance import Instance, Step, Table
from flowdsl.retrieve import Search, stems
from grammars.spelling import spell_name, spell_text

#: From the text so far to what may come next, best first.
Drafts = Callable[[str], Iterable[str]]

#: Where an annotation may end: before any of these.
_ENDS = re.compile(
    r"""\s*(?:[.,;:!?)]|\s[-+(]|\s(?:->|=>)|\s(?:and|then|if|when|but|or|otherwise|else|unless|while|to|with|for|that)\b|$)""",
    re.IGNORECASE,
)
#: What stands between two annotations.
_BETWEEN = re.compile(
    r"(?:->|=>|[\s.,;:!?)(+-]|(?:and|then|also|but|please|pls|finally|next|after that|in that case)\b)*", re.IGNORECASE
)
#: What follows an annotation that begins or holds these words.
_LOGIC = (
    (re.compile(r"^(?:if|unless|in case|when|should)\b|\bif\b", re.IGNORECASE), "IF"),
    (re.compile(r"^(?:otherwise|else|all others|the others|any other)\b", re.IGNORECASE), "ELSE"),
    (re.compile(r"^(?:for )?(?:each|every|all|them|those)\b", re.IGNORECASE), "FOREACH"),
    (re.compile(r"\b(?:wait|days?|hours?|minutes?|weeks?) ?(?:later)?$", re.IGNORECASE), "TIMER"),
    (
        re.compile(r"\b(?:at the same time|in parallel|side by side|at once|simultaneously)\b", re.IGNORECASE),
        "PARALLEL",
    ),
    (re.compile(r"^(?:try)\b", re.IGNORECASE), "TRY"),
    (re.compile(r"\b(?:fails?|goes wrong|go wrong|error)\b", re.IGNORECASE), "CATCH"),
    (re.compile(r"^until\b", re.IGNORECASE), "DOUNTIL"),
)
_OPENERS = frozenset("IF ELSEIF ELSE FOREACH DOUNTIL PARALLEL BRANCH TRY CATCH".split())
#: Steps that name a table of their own.
_FRESH = ("look", "create", "record_", "sla", "service")
_CONTINUES = frozenset("ELSEIF ELSE CATCH".split())
_LINE = re.compile(r'(?:ON )?"(?P<said>(?:[^"\\]|\\.)*)(?P<closed>" ?)?(?P<rest>.*)', re.DOTALL)


def outline_drafts(requirement: str, instance: Instance) -> Drafts:
    """Guesses for an outline, given all of its text so far.

    >>> guess = outline_drafts("When a user becomes inactive, log hello", Instance.load("servicenow"))
    >>> next(iter(guess('ON "When a user')))
    ' becomes inactive" record_update sys_user\\n'
    """
    search = Search.of(instance)
    suggested = _stemmed(search.steps(requirement))
    mentioned = _stemmed(search.tables(requirement, 8))

    @cache
    def words(said: str, trigger: bool) -> tuple[str, ...]:
        if trigger:
            return tuple(spell_name(item.name) for item in search.triggers(requirement, 3))
        logic = tuple(word for pattern, word in _LOGIC if pattern.search(said))
        return (*logic, *_nearest(said, suggested, 3))

    @cache
    def tables(said: str) -> tuple[str, ...]:
        return tuple(_nearest(said, mentioned, 3))

    def guess(text: str) -> Iterator[str]:
        before, _, line = text.rpartition("\n")
        said = list(_annotations(before))
        cursor = _cursor(requirement, said)
        if not line or 'ON "'.startswith(line):
            begin = _BETWEEN.match(requirement, cursor).end()  # type: ignore[union-attr]  # it matches nothing, too
            opening = 'ON "'[len(line) :] if line or not text else '"'
            depth = _depth(before)
            if begin >= len(requirement) and depth:
                yield "END\n"
            for end in islice(ends(requirement, begin), 2):
                yield from ended(opening, requirement[begin:end], "", before, not before)
            if depth:
                yield "END\n"
            if said:
                yield f'"{spelled(said[-1])}" '
            return
        found = _LINE.match(line)
        if found is None:
            return
        written = found["said"].replace('\\"', '"')
        if found["closed"] is None:
            at = requirement.find(written, max(0, cursor - len(written)))
            at = at if at >= 0 else requirement.find(written)
            if at >= 0:
                begin = at + len(written)
                for end in islice(ends(requirement, begin), 3):
                    yield from ended("", requirement[begin:end], written, before, line.startswith("ON "))
            return
        gap = "" if found["closed"].endswith(" ") else " "
        yield from headed(gap + found["rest"], gap, written, before, line.startswith("ON "))

    def ended(opening: str, rest: str, written: str, before: str, trigger: bool = False) -> Iterator[str]:
        """The rest of an annotation, and what follows it."""
        head = next(headed("", "", written + rest, before, trigger), "")
        yield f'{opening}{spelled(rest)}" {head}'

    def headed(rest: str, gap: str, written: str, before: str, trigger: bool) -> Iterator[str]:
        """The rest of a line after its annotation."""
        rest = rest.removeprefix(gap)
        word, space, part = rest.partition(" ")
        if space:
            for table in known(word, written, before):
                if table.startswith(part):
                    yield table[len(part) :] + "\n"
            return
        guesses = [*words(written, trigger)]
        for guess in dict.fromkeys(guesses):
            if guess.startswith(word):
                yield gap + guess[len(word) :] + _table_after(guess, written, before)

    def _table_after(word: str, written: str, before: str) -> str:
        if word == "FOREACH" and (used := _tables(before)):
            return f" {used[0]}\n"
        elif word in _OPENERS or word == "TIMER":
            return "\n"
        step = steps.get(word) or triggers.get(word)
        if step is None or not any(field.type == "table_name" for field in step.inputs):
            return "\n"
        found = known(word, written, before)
        return f" {found[0]}\n" if found else " "

    def known(word: str, written: str, before: str) -> list[str]:
        """Tables that a step may work on: what is made or looked for is named, what is changed was there."""
        fresh, used = tables(written), _tables(before)
        first = used[:2] if not word.startswith(_FRESH) else []
        return list(dict.fromkeys([*first, *fresh, *used]))

    steps = {spell_name(step.name): step for step in instance.steps}
    triggers = {spell_name(trigger.name): trigger for trigger in instance.triggers}
    return guess


def _stemmed(items: Sequence[Step] | Sequence[Table]) -> dict[str, set[str]]:
    """Names as they are spelled, and the words of each and of its label."""
    return {spell_name(item.name): set(stems(f"{item.name.replace('_', ' ')} {item.label}")) for item in items}


def _nearest(said: str, names: dict[str, set[str]], limit: int) -> list[str]:
    """The names that share most words with what is said; of equals the first."""
    words = set(stems(said))
    return sorted(names, key=lambda name: -len(names[name] & words) / (1 + len(names[name] - words)))[:limit]


def _annotations(before: str) -> Iterator[str]:
    for line in before.splitlines():
        if (found := _LINE.match(line)) is not None:
            yield found["said"].replace('\\"', '"')


def _tables(before: str) -> list[str]:
    """The last words of lines that have more than a step there, the latest first."""
    tables = []
    for line in reversed(before.splitlines()):
        found = _LINE.match(line)
        if found is not None and found["closed"] and " " in found["rest"].strip():
            tables.append(found["rest"].split()[-1])
    return list(dict.fromkeys(tables))


def _cursor(requirement: str, said: Sequence[str]) -> int:
    """How far the annotations have read the requirement."""
    cursor = 0
    for span in said:
        at = requirement.find(span, cursor)
        at = at if at >= 0 else requirement.find(span)
        cursor = max(cursor, at + len(span)) if at >= 0 else cursor
    return cursor


def _depth(before: str) -> int:
    """Blocks that are open."""
    depth = 0
    for line in before.splitlines():
        found = _LINE.match(line)
        word = found["rest"].split(" ")[0] if found is not None else line
        depth += (word in _OPENERS and word not in _CONTINUES) - (word == "END")
    return depth


def ends(text: str, begin: int) -> Iterator[int]:
    """Where a clause that has been read up to `begin` may end, rising."""
    if begin >= len(text):
        return
    last = begin
    for found in _ENDS.finditer(text, begin):
        if text[last : found.start()].strip(" .,;:!?)"):
            last = found.start()
            yield last


def spelled(text: str) -> str:
    return spell_text(text)[1:-1]
