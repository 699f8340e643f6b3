"""Which features a pair has: rows of the binary matrix that errors are broken down by.

The groups and most members are those of the error analysis in arXiv 2505.24189.

>>> flow = Flow.from_json({"trigger": {"type": "daily"}, "components": [
...     {"category": "flowlogic", "definition": "TRY", "order": 1, "annotation": "try to log"},
...     {"definition": "log", "order": 2, "block": 1, "annotation": "log"}]})
>>> sorted(features(flow, Instance.load("servicenow")))
['STRUCTURE', 'TRY', 'implicit']
"""

import re
from collections.abc import Iterator

from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.query import Query, parse_query
from flowdsl.scope import Scope
from flowdsl.tables import columns_for, owner_of
from flowdsl.typed import typed_of
from grammars.kinds import kind_of

#: The groups with their members; a pair that has a member has the group.
GROUPS = {
    "STRUCTURE": ("FOREACH", "PARALLEL", "TRY"),
    "INPUT": ("work notes or description", "trigger conditions", "multiple conditions"),
    "ENTERPRISE": ("SLA", "service catalog", "date-time"),
}
#: Members of no group.
OTHERS = ("implicit", "IF", "other logic", "edit", "no trigger")
#: All of them, in the order of reports.
FEATURES = tuple(name for group, members in GROUPS.items() for name in (group, *members)) + OTHERS

_NOTES = re.compile(r"(.*\.)?(description|comments|notes?|.*_notes?)")
_SLA = re.compile(r"(^|_)sla(_|$)")
_CATALOG = re.compile(r"^sc_|catalog")
_DATES = frozenset({"date", "date_time", "time", "duration"})


def features(flow: Flow, instance: Instance, tags: tuple[str, ...] = (), prior: Flow | None = None) -> frozenset[str]:
    """The features of a flow, of `FEATURES`.

    "implicit": the tag says so, or steps share or narrow a span (one phrase implies several).
    "date-time": a date, time or duration is compared, set or waited for. A name counts as one of SLAs or
    of the catalogue by how it is spelled, so on other instances than ServiceNow's these two are rare.
    """
    found = set(_structure(flow)) | set(_inputs(flow, instance))
    if "implicit" in tags or _shares_spans(flow):
        found.add("implicit")
    if prior is not None:
        found.add("edit")
    if flow.trigger is None:
        found.add("no trigger")
    return frozenset(found | {group for group, members in GROUPS.items() if found & set(members)})


def _structure(flow: Flow) -> Iterator[str]:
    for component in flow.components:
        if component.is_logic:
            kind = component.definition
            if kind in {"FOREACH", "PARALLEL", "TRY", "IF"}:
                yield kind
            elif kind in {"DOUNTIL", "BREAK", "CONTINUE", "GOBACKTO", "END", "TIMER"}:
                yield "other logic"
            if kind == "TIMER":
                yield "date-time"


def _inputs(flow: Flow, instance: Instance) -> Iterator[str]:
    scope = Scope.of(flow, instance)
    for at in flow.owners:
        owner, definition = owner_of(scope, at)
        name = flow.trigger.type if at is None and flow.trigger else flow.components[at or 0].definition
        for word in (name, scope.table(at) or ""):
            if _SLA.search(word):
                yield "SLA"
            if _CATALOG.search(word):
                yield "service catalog"
        for field in definition.inputs if definition is not None else ():
            value = owner.get(field.name)
            if value is None:
                continue
            kind = typed_of(field).kind
            if kind in _DATES and not (at is None and kind == "time"):
                yield "date-time"
            if kind_of(field.type) in {"conditions", "template"}:
                query = parse_query(value, columns_for(scope, at, field))
                yield from _query(query, at is None, kind_of(field.type) == "template")


def _query(query: Query, of_trigger: bool, template: bool) -> Iterator[str]:
    if not template:
        if of_trigger:
            yield "trigger conditions"
        if len(query.terms) > 1:
            yield "multiple conditions"
    for term in query.terms:
        if template and _NOTES.fullmatch(term.left):
            yield "work notes or description"
        if term.typed is not None and term.typed.kind in _DATES:
            yield "date-time"


def _shares_spans(flow: Flow) -> bool:
    """Whether the phrase of one action is (part of) that of another step."""
    spans = [(part.annotation or "", part.is_kind("PARALLEL_BRANCH")) for part in flow.components]
    spans = [(span, branch) for span, branch in spans if span and not branch]
    return any(i != j and first in second for i, (first, _) in enumerate(spans) for j, (second, _) in enumerate(spans))
