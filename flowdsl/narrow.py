"""A part of an instance: what one request may use.

Whatever is valid for the narrowed instance is valid for the whole one.

>>> part = narrowed(Instance.load("servicenow"), None, ["delete_record", "sys_user"])
>>> "delete_record" in part.step_by_name, "caller_id" in part.columns("incident")
(False, False)
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import TypeVar

from flowdsl.errors import UsageError, did_you_mean
from flowdsl.instance import Field, Instance, Step, Table, TriggerType


def narrowed(instance: Instance, allow: Collection[str] | None, deny: Collection[str] | None) -> Instance:
    """The instance with only the allowed and without the denied steps, triggers and tables.

    `allow` narrows those kinds of names of which it holds any: with two steps in it, all triggers
    and tables stay.

    Raises:
        UsageError: a name is none of the instance's.
    """
    if not allow and not deny:
        return instance
    return _narrowed(instance, frozenset(allow or ()), frozenset(deny or ()))


@lru_cache(maxsize=16)
def _narrowed(instance: Instance, allow: frozenset[str], deny: frozenset[str]) -> Instance:
    kinds = (instance.step_by_name, instance.trigger_by_name, instance.table_by_name)
    known = {name for kind in kinds for name in kind}
    if unknown := sorted((allow | deny) - known):
        hint = did_you_mean(unknown[0], known)
        raise UsageError(f"allow and deny name steps, triggers or tables; there is no {unknown[0]!r}{hint}")

    def kept(names: Iterable[str]) -> set[str]:
        names = set(names)
        return (names & allow or names) - deny

    steps, triggers, tables = map(kept, kinds)
    open_tables = instance.is_open
    return Instance(
        name=instance.name,
        label=instance.label,
        steps=tuple(s for step in instance.steps if step.name in steps and (s := _part(step, tables, open_tables))),
        triggers=tuple(
            t
            for trigger in instance.triggers
            if trigger.name in triggers and (t := _part(trigger, tables, open_tables))
        ),
        tables=tuple(_table(instance, table, tables) for table in instance.tables if table.name in tables),
    )


def _visible(field: Field, tables: set[str], open_tables: bool) -> bool:
    reference = field.reference
    return open_tables or reference is None or reference.startswith("$") or reference in tables


T = TypeVar("T", Step, TriggerType)


def _part(item: T, tables: set[str], open_tables: bool) -> T | None:
    """A step without what belongs to hidden tables; None if it cannot do without."""
    if any(field.mandatory and not _visible(field, tables, open_tables) for field in item.inputs):
        return None
    inputs = tuple(field for field in item.inputs if _visible(field, tables, open_tables))
    outputs = tuple(field for field in item.outputs if _visible(field, tables, open_tables))
    return item.model_copy(update={"inputs": inputs, "outputs": outputs})


def _table(instance: Instance, table: Table, tables: set[str]) -> Table:
    """A table with the columns of its hidden parents, without those that lead to hidden tables."""
    parent = next((name for name in instance.lineage(table.name)[1:] if name in tables), None)
    inherited = instance.columns(parent) if parent is not None else {}
    columns = tuple(
        column
        for name, column in instance.columns(table.name).items()
        if column is not inherited.get(name) and _visible(column, tables, False)
    )
    return table.model_copy(update={"extends": parent, "columns": columns})
