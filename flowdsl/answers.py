"""What a user should know of a generated flow: what it leaves out, assumes, and is unsure of."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decoding import Choice
from flowdsl.model import PLACEHOLDER, Component, Flow
from flowdsl.query import operand_values, parse_query
from flowdsl.retrieve import stems
from flowdsl.scope import Scope
from flowdsl.tables import columns_for, header_table, owner_of
from flowdsl.typed import Typed, typed_of
from flowdsl.values import spell_value
from grammars.kinds import kind_of

#: Below this, in nats, the second best was nearly as likely (1.5 times less, or closer).
CLOSE = 0.4

_CLAUSE = re.compile(r"[,;.:!?]+\s|\s(?:and|then|otherwise|or|else|but)\s|\n")
_FREE = frozenset({"text", "reference", "guid", "list", "integer", "number", "any", "date", "date_time", "time"})


@dataclass(frozen=True)
class Assumption:
    """An input whose value the requirement does not state."""

    where: int | str
    input: str
    value: str


@dataclass(frozen=True)
class Uncertain:
    """A choice that nearly went another way.

    Attributes:
        where: the order of the step, or "trigger".
        chosen, alternative: the beginnings of what was written and of what nearly was.
        margin: the difference of their log-probabilities, in nats.
    """

    where: int | str
    chosen: str
    alternative: str
    margin: float


@dataclass(frozen=True)
class Decision:
    """A token that the model chose; what is forced, or only ends a flow within its budget, is none.

    Attributes:
        where: the order of the step that it is in, or "trigger".
        logprob: its log-probability among the tokens that the grammar allowed, at temperature 1 (nats).
        removed: the probability mass of those that it did not allow, 0 to 1.
    """

    where: int | str
    logprob: float
    removed: float


def decisions(where: int | str | None, text: str, choices: Sequence[Choice]) -> tuple[Decision, ...]:
    """The decisions in a generated text; `where` as for `uncertain`.

    To end the flow belongs to the last step, to begin another one to that one.

    >>> text = 'ON "Each day" daily\\n"log it" log\\n'
    >>> chosen = [Choice(at, "", 0.0, "", 0.5, -1.0) for at in (3, 21, len(text))]
    >>> [decision.where for decision in decisions(None, text, chosen)]
    ['trigger', 1, 1]
    """
    lines = [text.count("\n", 0, choice.position) for choice in choices]
    owners = {line: where if where is not None else _outline_owner(text, line) for line in dict.fromkeys(lines)}
    return tuple(
        Decision(owners[line], choice.logprob, choice.removed) for line, choice in zip(lines, choices, strict=True)
    )


def uncovered(requirement: str, flow: Flow) -> tuple[str, ...]:
    """The clauses of the requirement of which no step implements anything, in order.

    >>> flow = Flow.from_json({"trigger": {"type": "daily", "annotation": "Every day"}, "components": []})
    >>> uncovered("Every day, log hello", flow)
    ('log hello',)
    """
    spans = []
    for owner in (flow.trigger, *flow.components):
        if owner is None or not owner.annotation:
            continue
        if isinstance(owner, Component) and owner.definition == PLACEHOLDER:
            continue
        spans += [(m.start(), m.end()) for m in re.finditer(re.escape(owner.annotation), requirement)]
    missing = []
    begin = 0
    for end, following in [*((m.start(), m.end()) for m in _CLAUSE.finditer(requirement)), (len(requirement),) * 2]:
        clause = requirement[begin:end].strip(" ,;.:!?")
        touched = any(start < end and stop > begin for start, stop in spans)
        if not touched and stems(clause):
            missing.append(clause)
        begin = following
    return tuple(missing)


def assumptions(requirement: str, scope: Scope) -> tuple[Assumption, ...]:
    """The values that share nothing with the words of the requirement."""
    said = set(stems(requirement))
    found = []
    for at in [*([None] if scope.trigger is not None else []), *range(len(scope.tree.components))]:
        for name, value, typed in _values(scope, at):
            spelled = spell_value(value, typed)
            own = set(stems(spelled))
            if typed.kind in _FREE | {"choice", "duration"} and own and not own & said and "{{" not in value:
                found.append(Assumption(_where(scope, at), name, spelled))
    return tuple(found)


def _where(scope: Scope, at: int | None) -> int | str:
    return "trigger" if at is None else scope.tree.components[at].order


def _values(scope: Scope, at: int | None) -> Iterator[tuple[str, str, Typed]]:
    """Every plain value of a step with its input and type."""
    owner, definition = owner_of(scope, at)
    fields = {field.name: field for field in definition.inputs} if definition else {}
    for item in owner.inputs:
        field = fields.get(item.name)
        if field is None or item.value == (header_table(scope, at) or None):
            continue
        if kind_of(field.type) not in {"conditions", "template"}:
            yield item.name, item.value, typed_of(field)
            continue
        for term in parse_query(item.value, columns_for(scope, at, field)).terms:
            for value, typed in operand_values(term):
                yield f"{item.name}.{term.left}", value, typed


def uncertain(where: int | str | None, text: str, choices: Sequence[Choice]) -> tuple[Uncertain, ...]:
    """The close choices of a generated text.

    Args:
        where: whose text it is; None: an outline, where each line is a step of its own.
    """
    found = []
    for choice in choices:
        if choice.margin < CLOSE and choice.second.strip() and choice.text.strip():
            line = text[: choice.position].count("\n")
            begin = text.rfind("\n", 0, choice.position) + 1
            before = text[begin : choice.position]
            owner = where if where is not None else _outline_owner(text, line)
            found.append(Uncertain(owner, before + choice.text, before + choice.second, choice.margin))
    return tuple(found)


def _outline_owner(text: str, line: int) -> int | str:
    lines = text.split("\n")
    if lines[line].startswith(("ON", "SUBFLOW", "INPUT", "OUTPUT")):
        return "trigger"
    steps = [i for i, content in enumerate(lines[: line + 1]) if content.startswith('"')]
    return len(steps) or "trigger"
