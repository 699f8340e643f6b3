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
from flowdsl.tables import owner_of
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
        record = f"{_record_name(scope, at)}: "
        head = [line for line in lines if line.startswith(record)] if constraint.then is not None else lines
        tail = [line for line in lines if line not in head]
        for part in (head, tail):
            problem = refusal("".join(part), replace(constraint, then=None), vocabulary)
            if problem:
                yield replace(problem, where=where)
                break
            following = constraint.after("".join(part))
            if following is None:
                break
            constraint = following


def _record_name(scope: Scope, at: int | None) -> str:
    taken = record_input(definition) if (definition := owner_of(scope, at)[1]) is not None else None
    return spell_name(taken.name) if taken is not None else ""


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


def refusal(text: str, constraint: Constraint, vocabulary: Vocabulary) -> Refusal | None:
    """The first token of one segment whose mask bit is off, or the end if that is refused.

    Where the grammar leaves one way only, the mask has one token, and it may cut the text in another place
    than the tokenizer does: then it is gone on from there, as decoding does.
    """
    matcher = compile_grammar(vocabulary, constraint.grammar)
    done, whole = b"", text.encode()
    tokens = vocabulary.encode(text)
    while tokens:
        token = tokens.pop(0)
        if not matcher.mask()[token // 32] >> (token % 32) & 1:
            forced = matcher.forced()
            spelled = b"".join(vocabulary.decode_bytes([one]) for one in forced)
            if not forced or not whole.startswith(spelled, len(done)):
                return _refused(text, done, vocabulary.decode([token]))
            matcher.consume(forced)
            done += spelled
            tokens = vocabulary.encode(whole[len(done) :].decode())
            continue
        matcher.consume([token])
        done += vocabulary.decode_bytes([token])
    return None if matcher.accepting else _refused(text, done, "")


def _refused(text: str, done: bytes, token: str) -> Refusal:
    """The line that a refused token is on (the line that it ends, if it is a newline)."""
    before = done.decode(errors="ignore")
    start = before.rfind("\n") + 1
    line = text[start:].partition("\n")[0]
    return Refusal("outline", line, token, before[start:])
