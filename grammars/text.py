"""Writing Lark text: literals, terminals and rules, each name once.

>>> sheet = Sheet()
>>> sheet.rule("start", [literal("a") + " B"])
'start'
>>> sheet.terminal("B", [literal("x"), literal('y"')])
'B'
>>> print(sheet)
start: "a" B
B: "x" | "y\\""
<BLANKLINE>
"""

import json
from collections.abc import Iterable
from functools import lru_cache


class Empty(Exception):
    """A part that would accept nothing."""


@lru_cache(maxsize=1 << 16)
def literal(text: str) -> str:
    """A string literal."""
    return json.dumps(text, ensure_ascii=False)


def pattern(regex: str) -> str:
    """A regular expression literal."""
    return "/" + regex.replace("/", "\\/") + "/"


def repeat(item: str, low: int, high: int) -> str:
    return f"({item}){{{low},{high}}}"


class Sheet:
    """Rules and terminals in the order in which they were asked for."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def rule(self, name: str, alternatives: Iterable[str]) -> str:
        return self._add(name, alternatives)

    def terminal(self, name: str, alternatives: Iterable[str]) -> str:
        return self._add(name, alternatives)

    def _add(self, name: str, alternatives: Iterable[str]) -> str:
        body = " | ".join(alternatives)
        if not body:
            raise Empty(name)
        assert self._lines.setdefault(name, body) == body, name
        return name

    def __str__(self) -> str:
        return "".join(f"{name}: {body}\n" for name, body in self._lines.items())
