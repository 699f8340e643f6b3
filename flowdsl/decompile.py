"""A flow as DSL text, in its canonical spelling.

>>> from flowdsl.model import Flow
>>> flow = Flow.from_json({"trigger": {"type": "daily", "annotation": "Every day at 7",
...     "inputs": [{"name": "time", "value": "1970-01-01 07:00:00"}]},
...     "components": [{"category": "action", "definition": "log", "order": 1, "annotation": "say hello",
...                     "inputs": [{"name": "log_message", "value": "hello"}]}]})
>>> print(decompile(flow))
ON "Every day at 7" daily
  time: 07:00
1 "say hello" log
  log_message: "hello"
<BLANKLINE>
"""

from collections.abc import Callable, Iterator, Mapping

from flowdsl.instance import Field, Instance, Step, TriggerType, table_input
from flowdsl.model import BLOCKS, PLACEHOLDER, Component, Flow, Input, Trigger
from flowdsl.query import encode_query, parse_query, spell_query
from flowdsl.scope import PILL, Scope, record_input
from flowdsl.tables import GOVERNED, columns_for, header_input, header_table, owner_of, table_place
from flowdsl.typed import typed_of
from flowdsl.values import spell_value
from grammars.kinds import kind_of
from grammars.spelling import spell_name, spell_raw, spell_text

#: Flow logic whose DSL word differs from its name.
WORDS = {"PARALLEL_BRANCH": "BRANCH", "END": "STOP"}

#: Flow logic that closes the block before it and takes its place.
_CONTINUES = {"ELSEIF": "IF", "ELSE": "IF", "CATCH": "TRY"}


def decompile(flow: Flow, instance: Instance | None = None) -> str:
    """The canonical DSL text of a flow.

    Args:
        instance: what its names mean (default: the bundled one). Names that it does not know are
            written as they are stored, so the text compiles to the same flow under the right one.
    """
    scope = Scope.of(flow, instance or Instance.load("servicenow"))
    lines = [f"{line}\n" for line in _lines(flow, scope)]
    return "".join(lines)


def _lines(flow: Flow, scope: Scope) -> Iterator[str]:
    if flow.trigger is not None:
        yield from part_lines(flow, scope, None)
    elif flow.is_subflow:
        yield from header_lines(flow, scope)
    yield from _nested(scope, lambda at: part_lines(flow, scope, at))


def part_lines(flow: Flow, scope: Scope, at: int | None) -> list[str]:
    """The lines of one step (`at` None: the trigger) with its inputs."""
    if at is None:
        head = header_lines(flow, scope)
    else:
        head = [f"{scope.tree.components[at].order} {step_line(scope, at)}"]
    return [*head, *(f"  {line}" for line in input_lines(scope, at))]


def _nested(scope: Scope, write: Callable[[int], list[str]]) -> Iterator[str]:
    """Every component's lines in order, with the END lines that close blocks."""
    tree = scope.tree
    open_blocks: list[int] = []

    def closes(block: int, upcoming: int | None) -> bool:
        """Whether an END line is due when `block` ends before component `upcoming`."""
        kind = tree.components[block].definition
        if kind == "PARALLEL_BRANCH":
            above = tree.parent[block]
            return above is None or not tree.components[above].is_kind("PARALLEL")
        following = tree.components[upcoming].definition if upcoming is not None else ""
        same_level = upcoming is not None and tree.parent[upcoming] == tree.parent[block]
        return not (same_level and _CONTINUES.get(following) == _CONTINUES.get(kind, kind))

    for i, component in enumerate(tree.components):
        while open_blocks and tree.parent[i] != open_blocks[-1]:
            if closes(open_blocks.pop(), i):
                yield "END"
        yield from write(i)
        if component.is_kind(*BLOCKS):
            open_blocks.append(i)
    while open_blocks:
        if closes(open_blocks.pop(), None):
            yield "END"


# -- the outline -------------------------------------------------------------------------------


def outline_text(
    flow: Flow, instance: Instance, numbers: bool = False, loops: Mapping[int, str | None] | None = None
) -> str:
    """The outline alone, as models write it: no indentation, and numbers only on demand.

    A FOREACH names the table of its records here, so that all types are known without the inputs.
    """
    scope = Scope.of(flow, instance, loops)
    components = scope.tree.components
    lines = [
        *header_lines(flow, scope),
        *_nested(scope, lambda at: [f"{components[at].order} " * numbers + step_line(scope, at, loops=True)]),
    ]
    return "".join(f"{line}\n" for line in lines)


def header_lines(flow: Flow, scope: Scope) -> list[str]:
    """The trigger's line, or those of a subflow; none for a fragment."""
    if flow.trigger is not None:
        words = ["ON", *_annotated(flow.trigger), spell_name(flow.trigger.type), *_table_word(scope, None)]
        return [" ".join(words)]
    if not flow.is_subflow:
        return []
    lines = ["SUBFLOW"]
    for word, items in (("INPUT", flow.inputs), ("OUTPUT", flow.outputs)):
        for item in items.items if items else ():
            names = [item.name, item.type, *([item.reference] if item.reference is not None else [])]
            lines.append(" ".join([word, *map(spell_name, names)]))
    return lines


def step_line(scope: Scope, at: int, loops: bool = False) -> str:
    """One step of the outline."""
    component = scope.tree.components[at]
    table = _table_word(scope, at)
    if loops and component.is_kind("FOREACH") and (item := scope.loop_item(at)).table is not None:
        table = [spell_name(item.table)]
    return " ".join([*_annotated(component), step_word(component), *table])


def step_word(component: Component) -> str:
    if component.is_logic:
        return WORDS.get(component.definition, component.definition)
    return "PLACEHOLDER" if component.definition == PLACEHOLDER else spell_name(component.definition)


def _annotated(owner: Component | Trigger) -> list[str]:
    return [spell_text(owner.annotation)] if owner.annotation is not None else []


def _table_word(scope: Scope, at: int | None) -> list[str]:
    table = header_table(scope, at)
    return [spell_name(table)] if table else []


# -- the inputs --------------------------------------------------------------------------------


def input_lines(scope: Scope, at: int | None) -> list[str]:
    """The lines below an outline line (`at` None: the trigger's)."""
    owner, definition = owner_of(scope, at)
    fields = {field.name: field for field in definition.inputs} if definition else {}
    derived = _derived(scope, at, owner, definition)
    lines = []
    for item in owner.inputs:
        if item is not derived:
            field = fields.get(item.name)
            value = spell_input(item.value, field, scope, at) if field else spell_raw(item.value)
            lines.append(f"{spell_name(item.name)}: {value}")
    implied = table_input(definition.inputs) if definition and record_input(definition) else None
    if implied is not None and at is not None and owner.get(implied.name) is None and scope.implied_table(at):
        lines.append(f"{spell_name(implied.name)}: NONE")
    return lines


def _derived(
    scope: Scope, at: int | None, owner: Component | Trigger, definition: Step | TriggerType | None
) -> Input | None:
    """The table input that the outline line or the record pill already says."""
    named = table_input(definition.inputs) if definition is not None else None
    if definition is None or named is None:
        return None
    item = next((item for item in owner.inputs if item.name == named.name), None)
    if item is None or not item.value:
        return None
    if header_input(definition) is None and (at is None or scope.implied_table(at) != item.value):
        return None
    others = [other.name for other in owner.inputs if other is not item]
    if not {field.name for field in definition.inputs}.issuperset(others):
        return None  # another instance's step of the same name: where the table belongs is not known
    return item if owner.inputs.index(item) == table_place(definition, named, others) else None


def spell_input(value: str, field: Field, scope: Scope, at: int | None) -> str:
    """The value of an input in its canonical spelling."""
    kind = kind_of(field.type)
    if kind not in GOVERNED or PILL.fullmatch(value):
        return spell_value(value, typed_of(field))
    columns = columns_for(scope, at, field)
    if kind == "field":
        own = columns.table is not None and value in scope.instance.columns(columns.table)
        return spell_name(value) if own else spell_value(value, typed_of(field))
    query = parse_query(value, columns)
    spelled = spell_query(query, template=kind == "template") if value else None
    if spelled is None or encode_query(query.terms) != value:
        return spell_raw(value)
    return spelled
