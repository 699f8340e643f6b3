"""Types of values, folded into the few kinds that the language treats differently.

An installation has dozens of types (`docs/language.md`, "Types"); what may be written, compared
and filled in depends only on the kind. A type that is not known behaves as text.

>>> kind_of("journal"), kind_of("integer"), kind_of("never_heard_of")
('text', 'integer', 'text')
"""

from collections.abc import Callable

_KINDS = {
    "integer": "integer longint long",
    "number": "decimal float double numeric percent_complete",
    "boolean": "boolean",
    "date": "date",
    "date_time": "date_time due_date calendar_date_time schedule_date_time",
    "duration": "duration",
    "time": "time",
    "choice": "choice",
    "reference": "reference",
    "record": "record",
    "guid": "guid",
    "list": "list",
    "records": "records",
    "table": "table_name",
    "field": "field_name",
    "conditions": "conditions",
    "template": "template_value",
    "approval": "approval_rules",
    "step": "step",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}

#: Kinds that stand for one record, and so can be dot-walked.
RECORDS = frozenset({"reference", "record"})
#: Kinds that stand for several things; a FOREACH takes these.
LISTS = frozenset({"list", "records"})
#: The kind of a field that an instance without tables knows nothing of.
ANY = "any"


def kind_of(type_name: str) -> str:
    """The kind of a type."""
    return _KIND_OF.get(type_name, "text")


def is_scalar(kind: str) -> bool:
    """Whether a pill of this kind is a plain value: neither a record nor a list."""
    return kind not in RECORDS and kind not in LISTS


def fits(
    pill: str,
    pill_table: str | None,
    slot: str,
    slot_table: str | None,
    is_a: Callable[[str, str], bool],
) -> bool:
    """Whether a pill may fill a slot.

    Args:
        pill, pill_table: the pill's kind, and its table if it is a record or a list of records.
        slot, slot_table: the same of the input, column or left side it is for.
        is_a: ``is_a(table, ancestor)``, the instance's table inheritance.

    >>> same = lambda table, ancestor: table == ancestor
    >>> fits("integer", None, "text", None, same), fits("record", "incident", "text", None, same)
    (True, False)
    >>> fits("record", "incident", "reference", "problem", same)
    False
    """
    known = pill_table is not None and slot_table is not None
    if pill == ANY or slot == ANY:
        return pill not in LISTS or slot in LISTS
    if slot in RECORDS:
        return pill in RECORDS and (not known or is_a(pill_table, slot_table))  # type: ignore[arg-type]
    if slot == "guid":
        related = not known or is_a(pill_table, slot_table) or is_a(slot_table, pill_table)  # type: ignore[arg-type]
        return pill == "guid" or (pill in RECORDS and related)
    if slot == "list":
        return pill in LISTS or (pill in RECORDS and (not known or is_a(pill_table, slot_table)))  # type: ignore[arg-type]
    if slot == "list_item":
        return pill in RECORDS and (not known or is_a(pill_table, slot_table))  # type: ignore[arg-type]
    if slot == "records":
        return pill in LISTS and (not known or is_a(pill_table, slot_table))  # type: ignore[arg-type]
    if slot == "choice":
        return pill in {"choice", "text", "integer", "number"}
    if slot in {"date", "date_time"}:
        return pill in {"date", "date_time"}
    if slot == "number":
        return pill in {"integer", "number"}
    if slot in {"integer", "boolean", "duration", "time"}:
        return pill == slot
    if slot in {"table", "field", "approval", "conditions", "template", "step"}:
        return False
    return is_scalar(pill)
