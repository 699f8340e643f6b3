"""From DSL text to lines: what was written, and where, before anyone asks what it means.

>>> lines, issues = parse_lines('ON daily\\n  time: 07:00\\nlog log log log')
>>> lines[1]
InputLine(name='time', value=Value(form='words', text='07:00', at=(2, 9), names=('07:00',)), at=(2, 3))
>>> str(issues[0])
"3:9 syntax flow: unexpected 'log'"
"""

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken

from flowdsl.errors import FlowIssue
from grammars.spelling import read_name, read_text

#: 1-based line and column.
Place = tuple[int, int]


@dataclass(frozen=True)
class Value:
    """A value as written: quoted text, a raw stored value, a pill, bare words, or a dotted path."""

    form: Literal["text", "raw", "pill", "words", "walk"]
    text: str
    at: Place
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clause:
    """One condition or assignment. `left` is the path's names, or a pill with its braces."""

    join: str
    left: tuple[str, ...] | str
    word: str
    form: str
    values: tuple[Value, ...]
    at: Place
    unit: str = ""
    amount: str = ""
    direction: str = ""


@dataclass(frozen=True)
class InputLine:
    """``name: value``, ``name: clauses`` or ``name: NONE`` (value None)."""

    name: str
    value: Value | tuple[Clause, ...] | None
    at: Place


@dataclass(frozen=True)
class OutlineLine:
    """A header, a declaration, a step, or a closer."""

    form: Literal["trigger", "subflow", "input", "output", "step", "placeholder", "logic", "end"]
    names: tuple[str, ...] = ()
    annotation: str | None = None
    number: int | None = None
    at: Place = field(default=(0, 0))


Line = OutlineLine | InputLine


@cache
def _parser() -> Lark:
    text = (resources.files("grammars") / "flow.lark").read_text(encoding="utf-8")
    return Lark(text, start="line", parser="lalr", lexer="contextual", propagate_positions=True)


def parse_lines(text: str) -> tuple[list[Line], list[FlowIssue]]:
    """The lines of a DSL text, and one issue for each line that is not one."""
    text = text.removeprefix("\ufeff")
    lines: list[Line] = []
    issues: list[FlowIssue] = []
    for number, source in enumerate(text.split("\n"), start=1):
        source = source.rstrip("\r")
        stripped = source.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            tree = _parser().parse(source)
            lines.append(_Reader(number).line(tree))
        except (UnexpectedToken, UnexpectedCharacters, UnexpectedEOF) as error:
            issues.append(_syntax_issue(error, source, number))
        except ValueError as error:
            issues.append(FlowIssue("syntax", f"bad escape in quotes: {error}", "flow", line=number, column=1))
    return lines, issues


def _syntax_issue(error: Exception, source: str, number: int) -> FlowIssue:
    column = getattr(error, "column", None)
    if not isinstance(column, int) or column < 1 or getattr(error, "token", None) == "":
        return FlowIssue("syntax", "the line ends too soon", "flow", line=number, column=len(source) + 1)
    found = source[column - 1 :].split(" ")[0][:40]
    return FlowIssue("syntax", f"unexpected {found!r}", "flow", line=number, column=column)


class _Reader:
    """One parse tree to one line."""

    def __init__(self, number: int):
        self.number = number

    def at(self, node: Any) -> Place:
        column = node.column if isinstance(node, Token) else node.meta.column
        return (self.number, column or 1)

    def line(self, tree: Tree[Token]) -> Line:
        (node,) = tree.children
        assert isinstance(node, Tree)
        if node.data in {"plain", "queried", "no_input"}:
            return self.input(node)
        names = tuple(self.name(child) for child in node.find_data("name"))
        annotations = [read_text(str(child.children[0])) for child in node.find_data("annotation")]
        at = (self.number, 1 if node.meta.empty else node.meta.column)
        annotation = annotations[0] if annotations else None
        match node.data:
            case "trigger" | "subflow":
                return OutlineLine(node.data, names, annotation, at=at)
            case "declared_input":
                return OutlineLine("input", names, at=at)
            case "declared_output":
                return OutlineLine("output", names, at=at)
            case "closer":
                return OutlineLine("end", at=at)
        number = next((int(child[:9]) for child in node.children if isinstance(child, Token)), None)
        head = node.children[-1]
        assert isinstance(head, Tree)
        if head.data == "logic":
            return OutlineLine("logic", (str(head.children[0]), *names), annotation, number, at)
        return OutlineLine("placeholder" if head.data == "placeholder" else "step", names, annotation, number, at)

    def input(self, node: Tree[Token]) -> InputLine:
        name = self.name(node.children[0])
        at = self.at(node.children[0])
        if node.data == "no_input":
            return InputLine(name, None, at)
        body = node.children[1]
        assert isinstance(body, Tree)
        if node.data == "plain":
            return InputLine(name, self.value(body), at)
        clauses, join = [], ""
        for child in body.children:
            assert isinstance(child, Tree)
            if child.data == "clause":
                clauses.append(self.clause(child, join))
            else:
                join = {"and_": "AND", "or_": "OR", "new_query": "NQ", "comma": ","}[child.data]
        return InputLine(name, tuple(clauses), at)

    def clause(self, node: Tree[Token], join: str) -> Clause:
        first, second, *rest = node.children
        left = str(first) if isinstance(first, Token) else tuple(map(self.name, first.children))
        at = self.at(first)
        if isinstance(second, Token):
            *words, path = rest
            amount, unit, direction = map(str, words)
            assert isinstance(path, Tree)
            value = Value("walk", "", self.at(path), tuple(map(self.name, path.children)))
            return Clause(join, left, str(second), "offset", (value,), at, unit, amount, direction)
        word = " ".join(str(second.children[0]).split())
        if not rest:
            return Clause(join, left, word, "none", (), at)
        (operand,) = rest
        assert isinstance(operand, Tree)
        values = tuple(self.value(child) for child in operand.children if isinstance(child, Tree))
        unit = next((str(child) for child in operand.children if isinstance(child, Token)), "")
        return Clause(join, left, word, str(operand.data), values, at, unit)

    def value(self, node: Tree[Token]) -> Value:
        at = self.at(node)
        first = node.children[0]
        if isinstance(first, Tree):
            names = tuple(map(self.name, first.children))
            return Value("walk", ".".join(names), at, names)
        form = {"TEXT": "text", "RAW": "raw", "PILL": "pill"}.get(first.type)
        if form in {"text", "raw"}:
            return Value("text" if form == "text" else "raw", read_text(str(first)), at)
        if form == "pill":
            return Value("pill", str(first), at)
        words = tuple(read_name(str(child)) for child in node.children)
        return Value("words", " ".join(words), at, words)

    def name(self, node: Any) -> str:
        return read_name(str(node.children[0]))
