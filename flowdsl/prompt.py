"""The prompts of both stages: templates in `prompts/`, filled with suggestions.

>>> from flowdsl.instance import Instance
>>> text = "Every day, log hello"
>>> messages = outline_messages(text, Search.of(Instance.load("servicenow")).suggest(text))
>>> [message["role"] for message in messages], messages[1]["content"].splitlines()[-1]
(['system', 'user'], 'Requirement: Every day, log hello')
"""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from string import Template

from flowdsl.decompile import step_line
from flowdsl.instance import Field
from flowdsl.retrieve import Search, Suggestions
from flowdsl.scope import Scope
from flowdsl.tables import owner_of
from grammars.kinds import RECORDS
from grammars.spelling import spell_label, spell_name

Message = dict[str, str]

#: Pills that a prompt lists at most; the grammar admits all of them.
_PILLS = 12


@cache
def _template(name: str) -> tuple[str, Template]:
    text = (resources.files("flowdsl") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    system, user = text.split("[user]\n")
    return system.removeprefix("[system]\n").strip(), Template(user.strip())


def outline_messages(requirement: str, names: Suggestions, prior: str = "") -> list[Message]:
    """The prompt of the first stage.

    Args:
        prior: the outline that the requirement is an instruction to change.
        names: what it lists; default: what the search finds.
    """
    system, user = _template("outline")
    content = user.substitute(
        triggers=_names(item.name for item in names.triggers),
        steps=_names(item.name for item in names.steps),
        tables=_names(item.name for item in names.tables),
        prior=f"The workflow so far, to be changed:\n{prior}" if prior else "",
        requirement=requirement,
    )
    lines = [line for line in content.splitlines() if line]
    return [{"role": "system", "content": system}, {"role": "user", "content": "\n".join(lines)}]


def inputs_messages(
    requirement: str, scope: Scope, outline: str, at: int | None, before: Sequence[str] = ()
) -> list[Message]:
    """The prompt of the second stage for one step (`at` None: the trigger).

    All prompts of one flow begin alike, up to the step.

    Args:
        before: in an edit, the input lines that the step had.
    """
    system, user = _template("inputs")
    owner, definition = owner_of(scope, at)
    annotation = owner.annotation or ""
    table = scope.table(at)
    columns = Search.of(scope.instance).columns(table, f"{annotation} {requirement}") if table else []
    line = f"The trigger: {outline.splitlines()[0]}" if at is None else f"Step {at + 1}: {step_line(scope, at)}"
    if before:
        line = "\n".join([line, "Its inputs so far, to be changed:", *before])
    inputs = [spell_name(field.name) for field in definition.inputs] if definition else []
    content = user.substitute(
        requirement=requirement,
        outline=outline.rstrip(),
        step=line,
        fields=_names(map(_described, columns)) if columns else ", ".join(inputs),
        pills=_names(_pills(scope, at)),
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _described(column: Field) -> str:
    labels = ", ".join(spell_label(choice.label) for choice in column.choices[:8])
    return f"{spell_name(column.name)} ({labels})" if labels else spell_name(column.name)


def _pills(scope: Scope, at: int | None) -> list[str]:
    """The roots in scope, the latest first."""
    sources = list(scope.sources(at))[::-1][:_PILLS]
    return [
        f"{{{{{s.path}}}}}" + (f" ({s.typed.table})" if s.typed.kind in RECORDS and s.typed.table else "")
        for s in sources
    ]
