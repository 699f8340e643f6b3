"""What pills could be written, without writing them: the tables that are in reach of a scope."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from flowdsl.instance import Field, Instance, Step, table_input
from flowdsl.scope import Source, record_input
from flowdsl.tables import header_input, record_is_needed
from flowdsl.typed import held
from grammars.inputs import PILL_DEPTH
from grammars.kinds import ANY, LISTS, RECORDS, kind_of


@dataclass(frozen=True)
class Reach:
    """What is in scope, as far as mandatory inputs care.

    Attributes:
        pills: whether there is any pill.
        records: the tables of the records that a pill can stand for; None among them: a record of
            no known table.
        lists: the same for lists.
        nameless: whether a pill, if only at the end of a walk, can stand for a record of no known table.
    """

    pills: bool
    records: frozenset[str | None]
    lists: frozenset[str | None]
    nameless: bool = False

    @classmethod
    def of(cls, instance: Instance, sources: Iterable[Source]) -> "Reach":
        """What can be reached from the roots in scope by at most `PILL_DEPTH` columns."""
        pills = nameless = False
        records: set[str | None] = set()
        lists: set[str | None] = set()
        for source in sources:
            pills = True
            kind, table = source.typed.kind, source.typed.table
            if kind in LISTS:
                lists.add(table)
            elif kind in RECORDS:
                records.add(table)
                if table is not None:
                    around = _around(instance, table)
                    nameless = nameless or around[2]
                    records |= around[0]
                    lists |= around[1]
            elif kind == ANY:
                records.add(None)
            if kind in RECORDS and instance.is_open:
                records.add(None)
        return cls(pills, frozenset(records), frozenset(lists), nameless or None in records)

    def has_record(self, instance: Instance, table: str | None) -> bool:
        return any(table is None or t is None or instance.is_a(t, table) for t in self.records)

    def has_list(self, instance: Instance, table: str | None) -> bool:
        return any(table is None or t is None or instance.is_a(t, table) for t in self.lists)

    def tables(self, instance: Instance) -> tuple[str, ...]:
        """The tables that a step working on a record in reach may name."""
        found = {a: None for t in instance.table_by_name if t in self.records for a in instance.lineage(t)}
        if instance.is_open:
            found |= {t: None for t in sorted(filter(None, self.records))}
        return tuple(found)

    def fills(self, instance: Instance, step: Step) -> bool:
        """Whether every mandatory input of a step can hold something."""
        if record_is_needed(step) and not self.tables(instance):
            return False
        return all(self._fills(instance, step, field) for field in step.inputs if field.mandatory)

    def _fills(self, instance: Instance, step: Step, field: Field) -> bool:
        kind = kind_of(field.type)
        if kind == "record":
            named = table_input(step.inputs)
            if field is record_input(step) and named is not None and named.mandatory:
                written = header_input(step) is not None or step.inputs.index(named) < step.inputs.index(field)
                return bool(self.tables(instance)) or (written and None in self.records)
            return self.has_record(instance, field.reference)
        if kind == "records":
            return self.has_list(instance, field.reference)
        return True


@lru_cache(maxsize=4096)
def _around(instance: Instance, table: str) -> tuple[frozenset[str], frozenset[str | None], bool]:
    """The tables of the records and of the lists within reach of a record of `table`, and whether some have none."""
    nameless = False
    records: set[str] = {table}
    lists: set[str | None] = set()
    level = {table}
    for _ in range(PILL_DEPTH):
        following: set[str] = set()
        for name in level:
            for column in instance.columns(name).values():
                typed = held(column)
                if typed.kind in LISTS:
                    lists.add(typed.table)
                elif typed.kind in RECORDS and typed.table is not None:
                    following.add(typed.table)
                elif typed.kind in RECORDS:
                    nameless = True
        records |= following
        level = following
    return frozenset(records), frozenset(lists), nameless
