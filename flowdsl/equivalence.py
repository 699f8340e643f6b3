"""FlowSim that does not mind differences that mean nothing.

One requirement has several right flows. `normal_form` rewrites a flow into one spelling of it; the rewrites
are declared here, each keeps what the flow does, and there are no others:

========  =====================================================================================
parts     conditions joined by AND, the alternatives of an OR, and the queries of an NQ, come sorted;
          a condition that is there twice comes once; assignments come sorted by field
booleans  ``x != false`` is ``x = true``, ``x != true`` is ``x = false``, for columns and pills that hold a boolean
empty     ``x =`` (nothing) is ISEMPTY, ``x !=`` (nothing) is ISNOTEMPTY
one of    ``a = 1 OR a = 2`` is ``a IN 1,2``; an IN of one value is ``=``; its values come sorted
sys_id    the pill of a record's ``sys_id`` is the pill of the record
defaults  an input that says what the instance gives as its default is left out
order     of neighbouring steps that do not concern each other, the one whose name comes first comes first
branches  those of a PARALLEL come sorted
the end   a STOP at the very end does nothing
========  =====================================================================================

Two steps *concern each other* if one uses what the other gives, if both name the same table, if one reads a
field by a pill that the other sets, or if one of them is flow logic or may wait (`_WAITS`, or an input that
is a duration). Steps of one kind are never exchanged: which of two logs comes first can be seen. What a step
does beyond its table is not known, so this is a convention of the measure, not a proof.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from flowdsl.check import check_flow
from flowdsl.instance import Instance
from flowdsl.model import Component, Flow, Input, Trigger
from flowdsl.query import Columns, Term, encode_query, parse_query
from flowdsl.scope import PILL, PillError, Scope
from flowdsl.similarity import flow_similarity
from flowdsl.tables import columns_for, owner_of
from grammars.kinds import RECORDS, kind_of
from grammars.operators import OPERATORS, Operator

#: Words in the name or label of a step that may take long.
_WAITS = re.compile(r"wait|approv|timer|\bask|sign|vote|await|collect", re.IGNORECASE)
_ORDER = re.compile(r"\{\{(\d+)\.")
_T = TypeVar("_T", Trigger, Component)
_NAMED: Mapping[str, Operator] = {operator.name: operator for operator in OPERATORS}


def equivalent_similarity(
    candidate: Flow | Mapping[str, Any] | str, reference: Flow, instance: Instance, inputs: bool = True
) -> float:
    """FlowSim, or FlowSim of the normal forms if that is more.

    Never less than `flow_similarity`, and 1.0 for flows with one normal form. A candidate that is no valid
    flow of the instance has no normal form: it gets its FlowSim.

    >>> from flowdsl.compile import compile_dsl
    >>> servicenow = Instance.load("servicenow")
    >>> first, second = (compile_dsl("look_up_records incident\\n  conditions: " + text, servicenow) for text in
    ...                  ("active = true AND priority = Critical", "priority = Critical AND active != false"))
    >>> equivalent_similarity(first, second, servicenow), flow_similarity(first, second) < 1
    (1.0, True)
    """
    plain = flow_similarity(candidate, reference, inputs)
    if plain == 1.0:
        return plain
    if not isinstance(candidate, Flow):
        if not isinstance(candidate, Mapping) or check_flow(candidate, instance):
            return plain
        candidate = Flow.from_json(candidate)
    elif check_flow(candidate, instance):
        return plain
    return max(plain, flow_similarity(normal_form(candidate, instance), normal_form(reference, instance), inputs))


def normal_form(flow: Flow, instance: Instance) -> Flow:
    """The flow in one spelling of what it does. Orders are numbered anew.

    Args:
        flow: valid for the instance.
    """
    return _plain(_ordered(_plain(flow, instance), instance), instance)  # new numbers may sort conditions anew


def _plain(flow: Flow, instance: Instance) -> Flow:
    """With all inputs in one spelling."""
    scope = Scope.of(flow, instance)

    def plain(at: int | None, owner: _T) -> _T:
        return owner.model_copy(update={"inputs": tuple(_plain_inputs(scope, at))})

    trigger = flow.trigger and plain(None, flow.trigger)
    components = tuple(plain(at, component) for at, component in enumerate(flow.components))
    return flow.model_copy(update={"components": components, "trigger": trigger})


# -- inputs ------------------------------------------------------------------------------------


def _plain_inputs(scope: Scope, at: int | None) -> Iterator[Input]:
    owner, definition = owner_of(scope, at)
    fields = {field.name: field for field in definition.inputs} if definition is not None else {}
    for item in owner.inputs:
        field, value = fields.get(item.name), item.value
        if field is not None and not field.mandatory and field.default is not None and value == _text(field.default):
            continue
        if field is not None and kind_of(field.type) in {"conditions", "template"}:
            value = _plain_query(value, columns_for(scope, at, field), kind_of(field.type) == "template")
        if at is not None:
            value = PILL.sub(lambda found: "{{" + _plain_pill(found.group(1), scope, at) + "}}", value)
        yield Input(name=item.name, value=value)


def _text(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _plain_pill(path: str, scope: Scope, at: int) -> str:
    """Without a last ``.sys_id``, if what is left is a record."""
    head = path.removesuffix(".sys_id")
    if head == path:
        return path
    try:
        return head if scope.resolve(head, at).kind in RECORDS else path
    except PillError:
        return path


def _plain_query(text: str, columns: Columns, template: bool) -> str:
    query = parse_query(text, columns)
    if not query.terms or any(term.operator is None for term in query.terms):
        return text
    if template:
        terms = sorted(query.terms, key=lambda term: term.left)
        return encode_query([replace(term, join="^" if i else "") for i, term in enumerate(terms)])
    queries: list[list[list[Term]]] = [[]]
    for term in map(_plain_term, query.terms):
        if term.join == "^NQ":
            queries.append([])
        if term.join == "^OR" and queries[-1]:
            queries[-1][-1].append(term)
        else:
            queries[-1].append([term])
    return "^NQ".join(_by_text({"^".join(_by_text({_either(group) for group in all_of})) for all_of in queries}))


def _by_text(parts: Iterable[str]) -> list[str]:
    """Sorted, the numbers of steps last of all: the order of steps is not known yet."""
    return sorted(parts, key=lambda part: (_unnumbered(part), part))


def _unnumbered(text: str) -> str:
    return _ORDER.sub("{{", text)


def _plain_term(term: Term) -> Term:
    name = term.operator.name if term.operator else ""
    if name == "!=" and term.value in {"true", "false"} and term.typed is not None and term.typed.kind == "boolean":
        return replace(term, operator=_NAMED["="], value="false" if term.value == "true" else "true")
    if name in {"=", "!="} and not term.value:
        return replace(term, operator=_NAMED["ISEMPTY" if name == "=" else "ISNOTEMPTY"])
    return term


def _either(terms: Sequence[Term]) -> str:
    """Conditions joined by OR: those that ask one field for one of some values together, all sorted."""
    values: dict[str, set[str]] = {}
    others: set[str] = set()
    for term in terms:
        name = term.operator.name if term.operator else ""
        if term.typed is None or term.typed.kind not in _NAMED["IN"].kinds:
            others.add(encode_query([replace(term, join="")]))
        elif name == "=" and "," not in term.value:
            values.setdefault(term.left, set()).add(term.value)
        elif name == "IN" and "{{" not in term.value:
            values.setdefault(term.left, set()).update(part.strip() for part in term.value.split(","))
        else:
            others.add(encode_query([replace(term, join="")]))
    for left, wanted in values.items():
        one = len(wanted) == 1
        others.add(f"{left}={next(iter(wanted))}" if one else f"{left}IN{','.join(sorted(wanted))}")
    return "^OR".join(_by_text(others))


# -- order -------------------------------------------------------------------------------------


def _ordered(flow: Flow, instance: Instance) -> Flow:
    scope = Scope.of(flow, instance)
    components = flow.components
    traits = [_Traits.of(scope, at) for at in range(len(components))]
    listed: list[int] = []

    @cache
    def held(at: int | None) -> tuple[int, ...]:
        """What a block holds, in its normal order."""
        children = scope.tree.children.get(at, ())
        if at is not None and components[at].is_kind("PARALLEL"):
            return tuple(sorted(children, key=key))
        return tuple(_sorted(children, traits, key))

    @cache
    def key(at: int) -> str:
        """A step with all that it holds, whatever its pills are numbered."""
        part = components[at]
        text = f"{part.category} {part.definition} {[(i.name, _unnumbered(i.value)) for i in part.inputs]}"
        return f"{text} [{'; '.join(map(key, held(at)))}]"

    def visit(at: int | None) -> None:
        for child in held(at):
            listed.append(child)
            visit(child)

    visit(None)
    last = components[listed[-1]] if listed else None
    if last is not None and last.is_kind("END") and last.block is None:
        listed.pop()
    number = {components[at].order: i for i, at in enumerate(listed, start=1)}

    def renumbered(component: Component) -> Component:
        inputs = []
        for item in component.inputs:
            value = _ORDER.sub(lambda found: f"{{{{{number.get(int(found[1]), found[1])}.", item.value)
            if component.is_kind("GOBACKTO") and item.name == "step" and value.isdigit():
                value = str(number.get(int(value), value))
            inputs.append(Input(name=item.name, value=value))
        block = None if component.block is None else number[component.block]
        change = {"order": number[component.order], "block": block, "inputs": tuple(inputs)}
        return component.model_copy(update=change)

    return flow.model_copy(update={"components": tuple(renumbered(components[at]) for at in listed)})


@dataclass(frozen=True)
class _Traits:
    """What decides whether a step may be exchanged with its neighbour."""

    order: int
    definition: str
    stays: bool
    table: str | None
    uses: frozenset[int]
    reads: frozenset[str]
    sets: frozenset[str]

    @classmethod
    def of(cls, scope: Scope, at: int) -> "_Traits":
        part = scope.tree.components[at]
        definition = scope.definition(part)
        stays = part.is_logic or definition is None or bool(_WAITS.search(f"{definition.name} {definition.label}"))
        sets: set[str] = set()
        for field in definition.inputs if definition is not None else ():
            value = part.get(field.name)
            stays |= kind_of(field.type) == "duration" and value is not None
            if kind_of(field.type) == "template" and value is not None:
                sets |= {term.left for term in parse_query(value, columns_for(scope, at, field)).terms}
        values = [item.value for item in part.inputs]
        uses = frozenset(int(order) for value in values for order in _ORDER.findall(value))
        reads = frozenset(name for value in values for path in PILL.findall(value) for name in path.split("."))
        return cls(part.order, part.definition, stays, scope.table(at), uses, reads, frozenset(sets))

    def concerns(self, other: "_Traits") -> bool:
        return (
            self.stays
            or other.stays
            or self.definition == other.definition
            or (self.table is not None and self.table == other.table)
            or self.order in other.uses
            or other.order in self.uses
            or bool(self.sets & other.reads)
            or bool(other.sets & self.reads)
        )


def _sorted(children: Sequence[int], traits: Sequence[_Traits], key: Callable[[int], str]) -> Iterator[int]:
    """Always the first by name of those that nothing before them concerns (the normal form of a trace)."""
    left = list(children)
    while left:
        end = next((i for i, at in enumerate(left) if traits[at].stays), len(left))
        window = left[: max(end, 1)]
        free = [
            at for i, at in enumerate(window) if not any(traits[at].concerns(traits[before]) for before in window[:i])
        ]
        best = min(free, key=key) if len(free) > 1 else free[0]
        left.remove(best)
        yield best
