"""What an edit keeps and what it changes: the steps of two flows side by side.

>>> from flowdsl import Instance, compile_dsl
>>> servicenow = Instance.load("servicenow")
>>> look, log = '"look" look_up_records incident\\n', '"log" log\\n  log_message: "{{1.Count}}"\\n'
>>> before = compile_dsl(look + log, servicenow)
>>> after = compile_dsl('"note" log\\n  log_message: "x"\\n' + look + log.replace("1.", "2."), servicenow)
>>> counterparts(before, after)
{1: 0, 2: 1}
>>> carried(before, after)[2]
(Input(name='log_message', value='{{2.Count}}'),)
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from flowdsl.check import check_flow
from flowdsl.compile import replaced
from flowdsl.decompile import input_lines, part_lines
from flowdsl.instance import Instance
from flowdsl.model import Component, Flow, Input, Trigger
from flowdsl.scope import Scope
from flowdsl.tables import header_inputs

_STEP_PILL = re.compile(r"\{\{([1-9][0-9]*)(?=[.}])")


@dataclass(frozen=True)
class Change:
    """A trigger or a step that an edit added, removed or changed.

    Attributes:
        before, after: its DSL lines; none where it was added, or removed.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*(f"- {line}" for line in self.before), *(f"+ {line}" for line in self.after)])


def counterparts(prior: Flow, flow: Flow) -> dict[int | None, int | None]:
    """For the trigger (None) and the steps (by index) of a flow, what they were in the prior flow.

    Steps of the same kind and words first, in order; between those, steps of the same kind.
    """
    found: dict[int | None, int | None] = {}
    if prior.trigger is not None and flow.trigger is not None and prior.trigger.type == flow.trigger.type:
        found[None] = None
    old = [(step.definition, step.annotation) for step in prior.components]
    new = [(step.definition, step.annotation) for step in flow.components]
    start_old = start_new = 0
    for match in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        gap = list(range(start_old, match.a))  # steps between two runs of equal ones
        for at in range(start_new, match.b):
            same = next((i for i in gap if old[i][0] == new[at][0]), None)
            if same is not None:
                found[at] = same
                gap = [i for i in gap if i > same]
        found |= {match.b + k: match.a + k for k in range(match.size)}
        start_old, start_new = match.a + match.size, match.b + match.size
    return found


def carried(prior: Flow, flow: Flow) -> dict[int | None, tuple[Input, ...]]:
    """The inputs that steps of a flow had before, with the numbers of steps that they have now.

    What points to a step that is gone is left as it was, with 0 for its number, so that it cannot be taken
    for another.
    """
    pairs = counterparts(prior, flow)
    numbers = {
        prior.components[was].order: flow.components[at].order
        for at, was in pairs.items()
        if at is not None and was is not None
    }

    def renumbered(owner: Trigger | Component, item: Input) -> Input:
        if isinstance(owner, Component) and owner.is_kind("GOBACKTO") and item.name == "step" and item.value.isdigit():
            return item.model_copy(update={"value": str(numbers.get(int(item.value), 0))})
        value = _STEP_PILL.sub(lambda match: f"{{{{{numbers.get(int(match[1]), 0)}", item.value)
        return item.model_copy(update={"value": value})

    found = {}
    for at, was in pairs.items():
        owner = prior.owner(was)
        found[at] = tuple(renumbered(owner, item) for item in owner.inputs)
    return found


def kept(prior: Flow, flow: Flow, instance: Instance, loops: Mapping[int, str | None]) -> Flow:
    """An outline with the inputs that its steps had in the prior flow, where its lines say the same as there.

    Inputs that would have issues where a step stands now are left out.
    """
    scope = Scope.of(flow, instance, loops)
    pairs, inputs = counterparts(prior, flow), carried(prior, flow)
    taken: list[int | None] = []
    filled = flow
    for at, was in pairs.items():
        owner, header = flow.owner(at), header_inputs(scope, at)
        if owner.annotation == prior.owner(was).annotation and all(item in inputs[at] for item in header):
            filled = replaced(filled, at, owner.model_copy(update={"inputs": inputs[at]}))
            taken.append(at)
    while taken:
        wrong = {issue.where for issue in check_flow(filled, instance)}
        bad = [at for at in taken if filled.where(at) in wrong]
        if not bad:
            break
        for at in bad:
            filled = replaced(filled, at, flow.owner(at))
            taken.remove(at)
    return filled


def lines_before(
    prior: Flow, flow: Flow, instance: Instance, loops: Mapping[int, str | None], at: int | None
) -> list[str]:
    """The input lines that a step of an outline had in the prior flow, in the numbers of now; none for a new step."""
    inputs = carried(prior, flow).get(at)
    if inputs is None:
        return []
    had = replaced(flow, at, flow.owner(at).model_copy(update={"inputs": inputs}))
    return input_lines(Scope.of(had, instance, loops), at)


def changes(prior: Flow, flow: Flow, instance: Instance) -> Iterator[Change]:
    """What an edit has changed, in the order of the new flow; what is gone stands where it was.

    A step that only has another number, and pills that follow it, is no change.
    """
    pairs, inputs = counterparts(prior, flow), carried(prior, flow)
    old, new = Scope.of(prior, instance), Scope.of(flow, instance)
    gone = [was for was in prior.owners if was not in pairs.values()]

    def removed(until: int) -> Iterator[Change]:
        while gone and (gone[0] is None or gone[0] < until):
            yield Change(tuple(part_lines(prior, old, gone.pop(0))), ())

    for at in flow.owners:
        after = tuple(part_lines(flow, new, at))
        if at not in pairs:
            yield Change((), after)
            continue
        was = pairs[at]
        yield from removed(-1 if was is None else was)
        owner = flow.owner(at)
        if owner.annotation != prior.owner(was).annotation or {*_values(owner.inputs)} != {*_values(inputs[at])}:
            yield Change(tuple(part_lines(prior, old, was)), after)
    yield from removed(len(prior.components))


def _values(inputs: Iterable[Input]) -> Iterator[tuple[str, str]]:
    return ((item.name, item.value) for item in inputs)
