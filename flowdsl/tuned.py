"""The prompts of a tuned model: short, without prose; what to do it has learned.

The first stage reads the suggestions and the requirement and writes the outline. The second stage goes
on from there: for each step a few lines more, and the model writes its inputs. So all that the first
stage has read and written is a prefix that the steps share, and they can be decoded side by side.

>>> from flowdsl.instance import Instance
>>> print(outline_prompt("Every day, log hello", suggested(Instance.load("servicenow"), "Every day, log hello")))
... # doctest: +ELLIPSIS
Triggers: daily...
Steps: ...
Tables: ...
Requirement: Every day, log hello
Flow:
<BLANKLINE>
"""

import re
from collections.abc import Iterable, Sequence

from flowdsl.decompile import step_line
from flowdsl.instance import Field, Instance, Step, Table, TriggerType
from flowdsl.model import Flow
from flowdsl.pills import walked_pills
from flowdsl.retrieve import Search, Suggestions
from flowdsl.scope import Scope, Source
from flowdsl.specialise import input_slots
from flowdsl.tables import header_table, owner_of
from flowdsl.tags import Tags
from grammars.kinds import LISTS, RECORDS
from grammars.spelling import spell_label, spell_name

#: What an adapter says of itself if it was tuned on these prompts.
STYLE = "tuned"

#: What a prompt lists at most; the grammar admits all of them.
TRIGGERS, STEPS, TABLES = 4, 12, 5
ROOTS, WALKS, COLUMNS, LABELS = 6, 4, 8, 6
#: Choices are listed for the columns that fit best; of an input, if they are few and short.
CHOSEN, FEW, SHORT = 3, 4, 16


def suggested(instance: Instance, requirement: str, tags: Tags | None = None) -> Suggestions:
    """The triggers, steps and tables of an instance that may fit; `tags` as in `Search.suggest`."""
    return Search.of(instance).suggest(requirement, STEPS, TRIGGERS, TABLES, tags=tags)


def used(flow: Flow, instance: Instance) -> Suggestions:
    """The triggers, steps and tables that an outline names, in the order of the catalogue."""
    scope = Scope.of(flow, instance)
    trigger = flow.trigger.type if flow.trigger is not None else None
    steps = {component.definition for component in flow.components}
    tables = {header_table(scope, at) for at in flow.owners}
    return Suggestions(
        tuple(item for item in instance.triggers if item.name == trigger),
        tuple(item for item in instance.steps if item.name in steps),
        tuple(item for item in instance.tables if item.name in tables),
    )


def outline_prompt(requirement: str, names: Suggestions, prior: str = "") -> str:
    """What stands before the outline.

    Args:
        prior: the outline that the requirement is an instruction to change.
    """
    before = f"Before:\n{prior}" if prior else ""
    return (
        f"Triggers: {_listed(map(_named, names.triggers))}\n"
        f"Steps: {_listed(map(_named, names.steps))}\n"
        f"Tables: {_listed(map(_named, names.tables))}\n"
        f"{before}Requirement: {requirement}\nFlow:\n"
    )


def inputs_prompt(requirement: str, scope: Scope, at: int | None, before: Sequence[str] = ()) -> str:
    """What stands between the outline and the inputs of one step (`at` None: the trigger).

    Args:
        before: in an edit, the input lines that the step had.
    """
    owner, _ = owner_of(scope, at)
    said = owner.annotation or ""
    head = "Trigger" if at is None else f"Step {at + 1} {step_line(scope, at, loops=True)}"
    table = scope.table(at)
    lines = [head]
    if table is not None:
        columns = Search.of(scope.instance).columns(table, requirement, COLUMNS, step=said)
        lines.append(f"Fields: {_listed([*map(_described, columns[:CHOSEN]), *map(_named, columns[CHOSEN:])])}")
    if roots := _roots(scope, at):
        walked = (f"{pill}{_label(column)}" for pill, column in walked_pills(scope, at, said, WALKS))
        lines.append(f"Pills: {_listed([*map(_rooted, roots), *walked])}")
    if before:
        lines += ["Before:", *before]
    lines.append(f"Inputs: {_listed(_asked(scope, at))}")
    return "".join(f"{line}\n" for line in lines)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


_APART = re.compile(r"[^a-z0-9]+")


def _named(item: Step | TriggerType | Table | Field) -> str:
    """A name, with the label where the name does not say it."""
    return spell_name(item.name) + _label(item)


def _label(item: Step | TriggerType | Table | Field) -> str:
    plain = _APART.sub("", item.label.lower())
    return f" ({item.label})" if plain and plain not in _APART.sub("", item.name.lower()) else ""


def _described(column: Field) -> str:
    labels = [spell_label(choice.label) for choice in column.choices[:LABELS]]
    return _named(column) + (f" [{', '.join(labels)}]" if labels else "")


def _roots(scope: Scope, at: int | None) -> list[Source]:
    """The roots in scope, records and lists before others, the latest first."""
    sources = list(scope.sources(at))[::-1]
    return sorted(sources, key=lambda source: source.typed.kind not in RECORDS | LISTS)[:ROOTS]


def _rooted(source: Source) -> str:
    typed = source.typed
    return f"{{{{{source.path}}}}}" + (f" {typed.table}" if typed.kind in RECORDS | LISTS and typed.table else "")


def _asked(scope: Scope, at: int | None) -> list[str]:
    """The inputs that may be written, in order; those that may be left out with a question mark."""
    _, definition = owner_of(scope, at)
    if definition is None:
        return []
    fields = {field.name: field for field in definition.inputs}
    asked = []
    for slot in input_slots(scope, at):
        labels = [choice.label for choice in fields[slot.name].choices] if slot.name in fields else []
        listed = labels if len(labels) <= FEW and all(len(label) <= SHORT for label in labels) else []
        choices = f" [{', '.join(map(spell_label, listed))}]" if listed else ""
        asked.append(spell_name(slot.name) + choices + "?" * (not slot.mandatory))
    return asked
