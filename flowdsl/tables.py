"""Which table a step works on, who says so, and which columns that brings.

The table stands on the outline line, unless the step takes a record: then the record pill implies
it, and nothing is written.
"""

from collections.abc import Sequence

from flowdsl.instance import Field, Step, TriggerType, table_input
from flowdsl.model import Component, Input, Trigger
from flowdsl.query import Columns
from flowdsl.scope import PillError, Scope, record_input
from flowdsl.typed import Typed
from grammars.kinds import kind_of

#: Kinds of inputs that are about the columns of a table.
GOVERNED = frozenset({"conditions", "template", "field"})


def owner_of(scope: Scope, at: int | None) -> tuple[Component | Trigger, Step | TriggerType | None]:
    """A step, or the trigger (`at` None), and its definition."""
    if at is None:
        assert scope.trigger is not None
        return scope.trigger, scope.trigger_type
    return scope.tree.components[at], scope.definition(scope.tree.components[at])


def header_table(scope: Scope, at: int | None) -> str | None:
    """The table that the outline line names, if it names one."""
    owner, definition = owner_of(scope, at)
    named = header_input(definition)
    return owner.get(named.name) if named is not None else None


def header_inputs(scope: Scope, at: int | None) -> tuple[Input, ...]:
    """The inputs that the outline line has said already: the table, if it names one."""
    owner, definition = owner_of(scope, at)
    named = header_input(definition)
    return tuple(item for item in owner.inputs if named is not None and item.name == named.name)


def governed_inputs(definition: Step | TriggerType) -> list[Field]:
    """The inputs that are about the columns of a table."""
    return [field for field in definition.inputs if kind_of(field.type) in GOVERNED]


def header_input(definition: Step | TriggerType | None) -> Field | None:
    """The input that the outline line names: the table, if it types anything else.

    It types conditions, templates, field names, and outputs that refer to it. Where it does not,
    a step with a record input has it implied by the record pill, and nothing is written.
    """
    named = table_input(definition.inputs) if definition is not None else None
    if definition is None or named is None:
        return None
    governs = bool(governed_inputs(definition))
    typed = any(output.reference == f"${named.name}" for output in definition.outputs)
    return named if governs or typed or record_input(definition) is None else None


def record_governs(definition: Step | TriggerType | None) -> bool:
    """Whether only the record pill says which table types the step's conditions, templates or field names."""
    return (
        definition is not None
        and table_input(definition.inputs) is None
        and record_input(definition) is not None
        and bool(governed_inputs(definition))
    )


def record_is_needed(definition: Step | TriggerType) -> bool:
    """Whether a record must be there since a mandatory input is about the columns of its table."""
    return record_governs(definition) and any(field.mandatory for field in governed_inputs(definition))


def table_is_optional(definition: Step | TriggerType) -> bool:
    """Whether an outline line may leave the table out: nothing mandatory depends on it."""
    named = header_input(definition)
    if named is None or named.mandatory:
        return False
    taken = record_input(definition)
    if taken is not None and taken.mandatory:
        return False
    return named.default is not None or not any(field.mandatory for field in governed_inputs(definition))


def table_place(definition: Step | TriggerType, named: Field, others: Sequence[str]) -> int:
    """Where among the `others` a table that is not written belongs: catalogue order."""
    order = [field.name for field in definition.inputs]
    own = order.index(named.name)
    later = (i for i, name in enumerate(others) if name in order and order.index(name) > own)
    return next(later, len(others))


def columns_for(scope: Scope, at: int | None, field: Field) -> Columns:
    """What may stand on the left in this input's conditions or template."""
    instance = scope.instance

    def pill(path: str) -> Typed | None:
        if at is None:
            return None
        try:
            return scope.resolve(path, at)
        except PillError:
            return None

    if at is not None and scope.tree.components[at].is_logic:
        return Columns(instance, None, pill)
    table = governing_table(scope, at, field)
    unknown = table is not None and table not in instance.table_by_name
    unnamed = table is None and not _names_a_table(scope, at)
    return Columns(instance, table, pill, is_open=instance.is_open or unknown or unnamed)


def governing_table(scope: Scope, at: int | None, field: Field) -> str | None:
    """The table whose columns this input uses."""
    fixed = {"email_conditions": "sys_email", "ah_fields": "sc_task"}.get(field.name)
    if fixed is not None and (fixed in scope.instance.table_by_name):
        return fixed
    return scope.table(at)


def _names_a_table(scope: Scope, at: int | None) -> bool:
    _, definition = owner_of(scope, at)
    return definition is not None and (
        table_input(definition.inputs) is not None or record_input(definition) is not None
    )
