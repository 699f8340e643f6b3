"""What a step can refer to: the pills in scope, and what each one is.

A pill is `{{source.output.field...}}`: an output of the trigger, of an earlier step or of the
subflow's inputs, and from a record on along its reference columns ("dot-walk"). Outputs of a
branch or a loop are visible inside it only; those of TRY and of a finished PARALLEL stay visible
after it; the branches of a PARALLEL do not see each other.

>>> from flowdsl import Flow, Instance
>>> flow = Flow.from_json({"trigger": {"type": "record_create", "inputs": [{"name": "table", "value": "incident"}]},
...                        "components": [{"category": "action", "definition": "log", "order": 1}]})
>>> scope = Scope.of(flow, Instance.load("servicenow"))
>>> scope.resolve("trigger.current.caller_id", at=0)
Typed(kind='reference', table='sys_user', name='caller_id')
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flowdsl.instance import Field, Instance, Step, TriggerType, table_input
from flowdsl.logic import LOGIC
from flowdsl.model import Component, Flow, Input, Item, Trigger
from flowdsl.tree import Tree
from flowdsl.typed import Typed, held
from grammars.kinds import ANY, LISTS, RECORDS, kind_of

#: A well-formed pill; group 1 is its path.
PILL = re.compile(r"\{\{([^{}\n]*)\}\}")

_SOURCE = re.compile(r"(trigger|inputs|[1-9][0-9]{0,8})\.(.+)", re.DOTALL)


class PillError(Exception):
    """A pill that stands for nothing here; `kind` is an issue kind."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Source:
    """The root of pills: ``trigger.current``, ``1.Records``, ``2.item`` ..."""

    path: str
    typed: Typed


Outputs = dict[str, Field]


def _by_name(fields: Iterable[Field]) -> Outputs:
    return {field.name: field for field in fields}


class Scope:
    """The pills of one flow."""

    def __init__(
        self,
        instance: Instance,
        tree: Tree,
        trigger: Trigger | None = None,
        items: Sequence[Item] = (),
        loops: Mapping[int, str | None] | None = None,
    ):
        self.instance = instance
        self.tree = tree
        self.trigger = trigger
        self.items = {item.name: item for item in items}
        self.loops = loops or {}
        self._tables: dict[int | None, str | None] = {}

    @classmethod
    def of(cls, flow: Flow, instance: Instance, loops: Mapping[int, str | None] | None = None) -> "Scope":
        """The scope of a flow.

        Args:
            loops: the table of the records that a FOREACH (by index) without items will run over.
        """
        items = flow.inputs.items if flow.inputs else ()
        return cls(instance, Tree(flow.components), flow.trigger, items, loops)

    def with_inputs(self, at: int, inputs: Sequence[Input]) -> "Scope":
        """The scope with other inputs of one step."""
        components = list(self.tree.components)
        components[at] = components[at].model_copy(update={"inputs": tuple(inputs)})
        return Scope(self.instance, Tree(tuple(components)), self.trigger, tuple(self.items.values()), self.loops)

    # -- definitions ---------------------------------------------------------------------------

    def definition(self, component: Component) -> Step | None:
        """What the instance, or the language, says of this kind of step."""
        if component.is_logic:
            return LOGIC.get(component.definition)
        return self.instance.step_by_name.get(component.definition)

    @property
    def trigger_type(self) -> TriggerType | None:
        return self.instance.trigger_by_name.get(self.trigger.type) if self.trigger else None

    def table(self, at: int | None) -> str | None:
        """The table that governs a step's columns (`at` None: the trigger's), if it is known."""
        if at not in self._tables:
            self._tables[at] = self._governing(at)
        return self._tables[at]

    def _governing(self, at: int | None) -> str | None:
        owner = self.trigger if at is None else self.tree.components[at]
        definition = self.trigger_type if at is None else self.definition(self.tree.components[at])
        if owner is None or definition is None:
            return None
        named = table_input(definition.inputs)
        if named is not None:
            value = owner.get(named.name)
            if value is not None or at is None:
                return value
        if at is not None and (implied := self.implied_table(at)) is not None:
            return implied
        return str(named.default) if named is not None and named.default else None

    def implied_table(self, at: int) -> str | None:
        """The table of the step's record pill, if its record input takes any table."""
        definition = self.definition(self.tree.components[at])
        taken = record_input(definition) if definition is not None else None
        value = self.tree.components[at].get(taken.name) if taken is not None else None
        match = PILL.fullmatch(value) if value is not None else None
        if match is None:
            return None
        try:
            return self.resolve(match.group(1), at).table
        except PillError:
            return None

    def loop_item(self, at: int) -> Typed:
        """The current item of the FOREACH at this index."""
        return self._loop_items[at]

    @property
    def item_tables(self) -> Mapping[int, str | None]:
        """The table of the items of each FOREACH, by its index: the `loops` of an outline without inputs."""
        return {at: item.table for at, item in self._loop_items.items()}

    # -- visibility ----------------------------------------------------------------------------

    def sees(self, at: int, other: int) -> bool:
        """Whether step `at` can use the outputs of step `other` (both by index).

        A DOUNTIL also sees what its own body gives, since its condition is checked after it.
        """
        tree = self.tree
        if other == at or tree.contains(other, at):
            return False
        own_body = tree.components[at].is_kind("DOUNTIL") and tree.contains(at, other)
        if other > at and not own_body:
            return False
        private = tree.private(other)
        if private is not None and private != at and not tree.contains(private, at):
            return False
        meeting = tree.common(other, at)
        return meeting is None or not tree.components[meeting].is_kind("PARALLEL")

    def visible(self, at: int) -> Iterator[int]:
        """The steps whose outputs step `at` can use, in order."""
        last = at
        if self.tree.components[at].is_kind("DOUNTIL"):
            last = max((i for i in range(at, len(self.tree.components)) if self.tree.contains(at, i)), default=at)
        for other in range(last + 1):
            if self.sees(at, other):
                yield other

    def sources(self, at: int | None) -> Iterator[Source]:
        """The roots of all pills that step `at` can use; nothing for the trigger itself."""
        if at is None:
            return
        if self.trigger_type is not None:
            for output in self.trigger_type.outputs:
                yield Source(f"trigger.{output.name}", self._output(None, output))
        for item in self.items.values():
            yield Source(f"inputs.{item.name}", self._item_pill(item))
        tree = self.tree
        inside = {i for i in tree.ancestors(at) if tree.components[i].is_kind("FOREACH")}
        seen = set(self.visible(at))
        for other in sorted(inside | seen):
            component = tree.components[other]
            if other in inside:
                yield Source(f"{component.order}.item", self._loop_items[other])
            elif not component.is_kind("FOREACH") and (definition := self.definition(component)):
                for output in definition.outputs:
                    yield Source(f"{component.order}.{output.name}", self._output(other, output))

    # -- resolution ----------------------------------------------------------------------------

    def resolve(self, path: str, at: int) -> Typed:
        """What the pill with this path (without braces) is for step `at`.

        Raises:
            PillError: with kind unknown_pill or pill_out_of_scope.
        """
        match = _SOURCE.fullmatch(path)
        if match is None:
            raise PillError("unknown_pill", f"{path!r} is no pill: it begins with trigger, inputs or a step number")
        head, rest = match.groups()
        if head == "trigger":
            if self.trigger is None:
                raise PillError("unknown_pill", "there is no trigger")
            definition = self.trigger_type
            return self._through(rest, definition.outputs if definition else None, None, "the trigger")
        if head == "inputs":
            return self._through(rest, self._item_fields, None, "the subflow's inputs")
        other = self.tree.index.get(int(head))
        if other is None:
            raise PillError("unknown_pill", f"there is no step {head}")
        component = self.tree.components[other]
        if component.is_kind("FOREACH"):
            if not self.tree.contains(other, at):
                raise PillError("pill_out_of_scope", f"the item of step {head} is visible inside its loop only")
            return self._through(rest, LOGIC["FOREACH"].outputs, other, f"step {head}")
        if not self.sees(at, other):
            later = other >= at and not self.tree.contains(other, at)
            why = "comes later" if later else "is not visible here"
            raise PillError("pill_out_of_scope", f"step {head} {why}")
        step = self.definition(component)
        return self._through(rest, step.outputs if step else None, other, f"step {head} ({component.definition})")

    def _through(self, rest: str, outputs: "Sequence[Field] | Outputs | None", owner: int | None, name: str) -> Typed:
        """Resolve ``output.field.field`` from the outputs of `owner`."""
        if outputs is None:
            return Typed(ANY)
        names = outputs if isinstance(outputs, dict) else _by_name(outputs)
        end = len(rest)
        while end > 0:
            if (output := names.get(rest[:end])) is not None:
                here = self._output(owner, output)
                return self._walk(here, rest[end + 1 :]) if end < len(rest) else here
            end = rest.rfind(".", 0, end)
        raise PillError("unknown_pill", f"{name} has no output {rest.split('.')[0][:80]!r}")

    def _walk(self, here: Typed, rest: str) -> Typed:
        """Follow columns from a record; names are matched longest first."""
        while rest:
            if here.kind == ANY:
                return here
            if here.kind not in RECORDS:
                raise PillError("unknown_pill", f"{here.name!r} is not a record, so it has no field {rest!r}")
            if self.instance.is_open or (here.table is not None and here.table not in self.instance.table_by_name):
                return Typed(ANY, name=rest)
            if here.table is None:
                raise PillError("unknown_pill", f"the table of {here.name!r} is not known, so it has no {rest!r}")
            walks = self.instance.prefixes(here.table, rest)
            step = next((step for step in walks if not step[1] or step[1].startswith(".")), None)
            if step is None:
                raise PillError("unknown_pill", f"the table {here.table} has no field {rest.split('.')[0]!r}")
            field, left = step
            here, rest = held(field), left[1:]
        return here

    def _output(self, owner: int | None, output: Field) -> Typed:
        if owner is not None and self.tree.components[owner].is_kind("FOREACH"):
            return self._loop_items[owner]
        kind = held(output).kind
        table = output.reference
        if table is not None and table.startswith("$"):
            table = self._named_table(owner, table[1:])
        return Typed(kind, table if kind in RECORDS or kind in LISTS else None, output.name, output.choices)

    def _named_table(self, owner: int | None, name: str) -> str | None:
        who = self.trigger if owner is None else self.tree.components[owner]
        value = who.get(name) if who is not None else None
        if value is not None:
            return value
        definition = self.trigger_type if owner is None else self.definition(self.tree.components[owner])
        named = table_input(definition.inputs) if definition is not None else None
        if named is not None and named.name == name:
            return self.table(owner)
        return None

    @cached_property
    def _item_fields(self) -> "Outputs":
        return _by_name(Field(name=i.name, type=i.type, reference=i.reference) for i in self.items.values())

    def _item_pill(self, item: Item) -> Typed:
        kind = kind_of(item.type)
        return Typed(kind, item.reference if kind in RECORDS or kind in LISTS else None, item.name)

    @cached_property
    def _loop_items(self) -> dict[int, Typed]:
        """The current item of each FOREACH; in order, since one loop may run over another's item."""
        items: dict[int, Typed] = {}
        self.__dict__["_loop_items"] = items
        for i, component in enumerate(self.tree.components):
            if not component.is_kind("FOREACH"):
                continue
            items[i] = Typed(ANY, name="item")
            match = PILL.fullmatch(component.get("items") or "")
            if match is None:
                if i in self.loops:
                    items[i] = Typed("record" if self.loops[i] is not None else ANY, self.loops[i], "item")
                continue
            try:
                pill = self.resolve(match.group(1), i)
            except PillError:
                continue
            if pill.kind in LISTS and (pill.table is not None or pill.kind == "records"):
                items[i] = Typed("record", pill.table, "item")
        return items


def record_input(step: Step | TriggerType) -> Field | None:
    """The input whose record pill implies the table: the first record input of no fixed table."""
    return next((f for f in step.inputs if kind_of(f.type) == "record" and f.reference is None), None)
