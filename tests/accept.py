"""Whether the specialised grammars let a flow out: every token's mask bit, in both stages."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from decoding import Constraint, Vocabulary, compile_grammar
from flowdsl.decompile import input_lines, outline_text
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.outline import Limits, Outline
from flowdsl.scope import Scope, record_input
from flowdsl.specialise import inputs_constraint
from flowdsl.tables import owner_of, record_governs
from grammars.spelling import spell_name
from grammars.text import Empty

WIDE = Limits(steps=60, depth=20, repeats=60)


@dataclass(frozen=True)
class Refusal:
    """A token that a mask does not let through.

    Attributes:
        where: "outline", "trigger" or the order of a step.
        line: what should have come out: the line that the token is on.
        token: what was refused, or "" if it was the end.
        done: what had come out of the line.
    """

    where: str | int
    line: str
    token: str
    done: str

    def __str__(self) -> str:
        return f"{self.where}: {self.token!r} after {self.done[-80:]!r} in {self.line!r}"


def refusals(
    flow: Flow, instance: Instance, vocabulary: Vocabulary, requirement: str | None = None
) -> Iterator[Refusal]:
    """What the grammars refuse of a valid flow: the first token of each part; nothing if they are complete."""
    start = Outline(instance, requirement=requirement, placeholders=True, limits=WIDE)
    yield from outline_refusals(outline_text(flow, instance), start.constraint(), vocabulary)
    scope = Scope.of(flow, instance)
    for at in flow.owners:
        lines = [f"{line}\n" for line in input_lines(scope, at)]
        where = flow.where(at)
        try:
            constraint = inputs_constraint(scope, at)
        except Empty as empty:
            yield Refusal(where, "".join(lines), f"<Empty {empty}>", "")
            continue
        if record := _first(scope, at):
            lines.sort(key=lambda line: not line.startswith(f"{record}: "))
        text, done = "".join(lines), ""
        while constraint is not None:
            rest = text[len(done) :]
            part = _segment(rest, constraint, vocabulary) if constraint.then is not None else rest
            if problem := refusal(part, replace(constraint, then=None), vocabulary, done, rest[len(part) :]):
                yield replace(problem, where=where)
                break
            constraint, done = constraint.after(part), done + part
            if constraint is None and done != text:
                yield replace(_refused((done, text[len(done) :], ""), b"", ""), where=where)


def _segment(text: str, constraint: Constraint, vocabulary: Vocabulary) -> str:
    """How far one segment goes: to the last place where it may end, or over all of a text that is refused."""
    matcher = compile_grammar(vocabulary, constraint.grammar)
    end = None
    for at, char in enumerate(text):
        tokens = vocabulary.encode(char)
        end = at if matcher.accepting else end
        if matcher.stopped or matcher.accepts(tokens) < len(tokens):
            return text if end is None else text[:end]
        matcher.consume(tokens)
    return text


def _first(scope: Scope, at: int | None) -> str | None:
    """The input that stands in a segment of its own, before the others: the record that says which table it is."""
    definition = owner_of(scope, at)[1]
    taken = record_input(definition) if at is not None and record_governs(definition) and definition else None
    return spell_name(taken.name) if taken is not None else None


def outline_refusals(text: str, constraint: Constraint | None, vocabulary: Vocabulary) -> Iterator[Refusal]:
    """The first token of an outline that is refused, if any: cut into pieces, as it is decoded."""
    rest = text
    while rest:
        piece = _piece(rest)
        if constraint is None:
            yield Refusal("outline", rest, piece, "")
            return
        if problem := refusal(piece, replace(constraint, then=None), vocabulary):
            before = text[: len(text) - len(rest)]
            yield replace(problem, done=before[-60:] + problem.done)
            return
        rest = rest[len(piece) :]
        constraint = constraint.after(piece)
    if constraint is not None and not compile_grammar(vocabulary, constraint.grammar).accepting:
        yield Refusal("outline", text, "", text)


def _piece(text: str) -> str:
    """An annotation (with ON before it), or the rest of a line."""
    line = text[: text.index("\n") + 1]
    head = 3 if line.startswith("ON ") else 0
    if line[head : head + 1] != '"':
        return line
    at = head + 1
    while line[at] != '"':
        at += 2 if line[at] == "\\" else 1
    return line[: at + 1]


def refusal(
    text: str, constraint: Constraint, vocabulary: Vocabulary, before: str = "", after: str = ""
) -> Refusal | None:
    """The first token of one segment whose mask bit is off, or the end if that is refused.

    Where the grammar leaves one way only, the mask has one token, and it may cut the text in another place
    than the tokenizer does: then it is gone on from there, as decoding does.

    Args:
        before, after: what stands around the segment, for the line that is told of.
    """
    around = (before, text, after)
    matcher = compile_grammar(vocabulary, constraint.grammar)
    done, whole = b"", text.encode()
    tokens = vocabulary.encode(text)
    while tokens:
        token = tokens.pop(0)
        if not matcher.mask()[token // 32] >> (token % 32) & 1:
            forced = matcher.forced()
            spelled = b"".join(vocabulary.decode_bytes([one]) for one in forced)
            if not forced or not whole.startswith(spelled, len(done)):
                return _refused(around, done, vocabulary.decode([token]))
            matcher.consume(forced)
            done += spelled
            tokens = vocabulary.encode(whole[len(done) :].decode())
            continue
        matcher.consume([token])
        done += vocabulary.decode_bytes([token])
    return None if matcher.accepting else _refused(around, done, "")


def _refused(around: tuple[str, str, str], done: bytes, token: str) -> Refusal:
    """The line that a refused token is on (the line that it ends, if it is a newline)."""
    before = around[0] + done.decode(errors="ignore")
    start = before.rfind("\n") + 1
    line = "".join(around)[start:].partition("\n")[0]
    return Refusal("outline", line, token, before[start:])
