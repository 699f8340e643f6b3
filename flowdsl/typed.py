"""What a pill stands for, or what a column or an input takes: a kind, a table, choices.

>>> from flowdsl.instance import Field
>>> typed_of(Field(name="caller_id", type="reference", reference="sys_user"))
Typed(kind='reference', table='sys_user', name='caller_id')
"""

from dataclasses import dataclass, field, replace

from flowdsl.instance import Choice, Field
from grammars.kinds import kind_of

# Kinds that only an input has: it is written in its own way.
_WRITTEN = frozenset({"table", "field", "conditions", "template", "approval", "step"})


@dataclass(frozen=True)
class Typed:
    """A type with what is known of it.

    Attributes:
        kind: see `grammars.kinds`.
        table: of a record, a reference or a list of records, if known.
        name: the column, input or output it comes from.
        choices: if it is a choice.
    """

    kind: str
    table: str | None = None
    name: str = ""
    choices: tuple[Choice, ...] = field(default=(), repr=False)


def held(source: Field) -> Typed:
    """What a column or an output holds: names of tables and the like are text there.

    >>> held(Field(name="table_name", type="table_name")).kind
    'text'
    """
    typed = typed_of(source)
    return replace(typed, kind="text") if typed.kind in _WRITTEN else typed


def typed_of(source: Field) -> Typed:
    """What an input takes; whatever has choices is a choice."""
    kind = "choice" if source.choices else kind_of(source.type)
    return Typed(kind, source.reference, source.name, source.choices)
