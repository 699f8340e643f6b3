"""What a grammar is specialised to: typed names of one instance, step and scope.

Plain frozen values, so that this package need not know where they come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Slot:
    """What a column or an input takes, or what a pill gives.

    Attributes:
        kind: see `kinds`.
        table: of a record, a reference or a list of records, if known.
        labels: the choices, as the DSL spells them.
    """

    kind: str
    table: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The root of pills: its path without braces, and what it gives."""

    path: str
    slot: Slot


@dataclass(frozen=True)
class Line:
    """One input of a step.

    Attributes:
        name: of the input.
        slot: what it takes.
        mandatory: whether the line is always there.
        table: whose columns its conditions, template or field names are; None: open names.
        on_change: whether its conditions may use change operators.
        own_fields: whether its conditions look at the table's own columns only, and not at "now".
        words: the only values it takes (numbers of steps, tables), as the DSL spells them.
        above: a number must be greater than this.
        known: whether a pill must be of a known table, since that table is written with it, or of none, since
            none was named; None: either.
        instead: a line that may stand in place of this one.
        ends: whether what follows this line, where it is written, is a segment of its own.
    """

    name: str
    slot: Slot
    mandatory: bool = False
    table: str | None = None
    on_change: bool = False
    own_fields: bool = False
    words: tuple[str, ...] = ()
    above: int | None = None
    known: bool | None = None
    instead: "Line | None" = None
    ends: bool = False


class Tables(Protocol):
    """The tables of an instance."""

    @property
    def is_open(self) -> bool:
        """Whether tables and columns are open names."""

    @property
    def is_plain(self) -> bool:
        """Whether every name that can stand in a pill is a bare word."""

    @property
    def names(self) -> tuple[str, ...]:
        """All table names."""

    def columns(self, table: str) -> Mapping[str, Slot]:
        """A table's columns; empty for an unknown table."""

    def by_slot(self, table: str) -> Mapping[Slot, Sequence[str]]:
        """The same, by what the columns hold."""

    def is_a(self, table: str, ancestor: str) -> bool:
        """Whether `table` is `ancestor` or extends it."""
