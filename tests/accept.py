"""Whether the specialised grammars let a flow out: every token's mask bit, in both stages."""

from collections.abc import Iterator
from dataclasses import replace

from decoding import Constraint, Vocabulary, compile_grammar
from flowdsl.decompile import input_lines, outline_text
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.outline import Limits, Outline
from flowdsl.scope import Scope
from flowdsl.specialise import specialised_inputs

WIDE = Limits(steps=60, depth=20)


def refusals(
    flow: Flow, instance: Instance, vocabulary: Vocabulary, requirement: str | None = None
) -> Iterator[str]:
    """What the grammars refuse of a valid flow, told with its place; nothing if they are complete."""
    start = Outline(instance, requirement=requirement, placeholders=True, limits=WIDE)
    if problem := _outline_refusal(outline_text(flow, instance), start.constraint(), vocabulary):
        yield f"outline: {problem}"
    scope = Scope.of(flow, instance)
    for at in [*([None] if flow.trigger is not None else []), *range(len(flow.components))]:
        text = "".join(f"{line}\n" for line in input_lines(scope, at))
        if problem := _refusal(text, Constraint(specialised_inputs(scope, at)), vocabulary):
            yield f"inputs of {at}: {problem}"


def _outline_refusal(text: str, constraint: Constraint | None, vocabulary: Vocabulary) -> str | None:
    """Cut the text into the pieces that the constraint takes, one after the other."""
    rest = text
    while rest:
        if constraint is None:
            return f"ended before {rest[:60]!r}"
        piece = _piece(rest)
        if problem := _refusal(piece, replace(constraint, then=None), vocabulary):
            return problem
        rest = rest[len(piece) :]
        constraint = constraint.after(piece)
    if constraint is not None and not compile_grammar(vocabulary, constraint.grammar).accepting:
        return "cannot end here"
    return None


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


def _refusal(text: str, constraint: Constraint, vocabulary: Vocabulary) -> str | None:
    matcher = compile_grammar(vocabulary, constraint.grammar)
    done = ""
    for token in vocabulary.encode(text):
        if not matcher.mask()[token // 32] >> (token % 32) & 1:
            return f"{vocabulary.decode([token])!r} after {done[-80:]!r} in {text!r}"
        matcher.consume([token])
        done += vocabulary.decode([token])
    return None if matcher.accepting else f"cannot end after {text!r}"
