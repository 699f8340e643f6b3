"""From an instance and a scope to the plain values that `grammars` works on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from weakref import WeakKeyDictionary

from decoding import Constraint
from flowdsl.check import SLA_TIMER, goback_targets, percentages_before
from flowdsl.check_inputs import CATALOG_PREFIX, CATALOG_TRIGGER, RECORD_TRIGGERS, WAIT_STEP, runs_on_update
from flowdsl.instance import Field, Instance, Step, TriggerType, table_input
from flowdsl.logic import TIMER_INPUTS
from flowdsl.model import Input
from flowdsl.reach import Reach
from flowdsl.scope import PILL, Scope, record_input
from flowdsl.tables import GOVERNED, governing_table, header_input, owner_of, record_governs, record_is_needed
from flowdsl.typed import Typed, held, typed_of
from grammars.inputs import assignment_grammar, ends_segment, inputs_grammar, timer_grammar
from grammars.kinds import kind_of
from grammars.spelling import is_bare, read_name, spell_label, spell_name
from grammars.vocabulary import Line, Slot, Source

#: The grammar of a step that takes none: a placeholder.
NO_INPUTS = 'start: ""\n'

#: What ends an input line, best first: for running out of budget.
INPUT_CLOSERS = ("\n", '"\n', "}}\n", '}}"\n')

#: Grammar texts kept for each instance, of some 50 kB each: a request asks for each of its steps several times.
KEPT_TEXTS = 128


class InstanceTables:
    """An instance as `grammars.vocabulary.Tables`."""

    def __init__(self, instance: Instance):
        self.instance = instance
        self._columns: dict[str, Mapping[str, Slot]] = {}
        self._by_slot: dict[str, Mapping[Slot, Sequence[str]]] = {}
        self.grammar = lru_cache(KEPT_TEXTS)(partial(_grammar_text, self))

    @property
    def is_open(self) -> bool:
        return self.instance.is_open

    @cached_property
    def is_plain(self) -> bool:
        columns = (column.name for table in self.instance.tables for column in table.columns)
        givers: list[Step | TriggerType] = [*self.instance.steps, *self.instance.triggers]
        outputs = (output.name for giver in givers for output in giver.outputs)
        return all(map(is_bare, columns)) and not any('"' in name or "\\" in name for name in outputs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.instance.table_by_name)

    def columns(self, table: str) -> Mapping[str, Slot]:
        if table not in self._columns:
            columns = self.instance.columns(table)
            self._columns[table] = {name: slot_of(held(column)) for name, column in columns.items()}
        return self._columns[table]

    def by_slot(self, table: str) -> Mapping[Slot, Sequence[str]]:
        if table not in self._by_slot:
            groups: dict[Slot, list[str]] = {}
            for name, slot in self.columns(table).items():
                groups.setdefault(slot, []).append(name)
            self._by_slot[table] = groups
        return self._by_slot[table]

    def is_a(self, table: str, ancestor: str) -> bool:
        return self.instance.is_a(table, ancestor)


_TABLES: WeakKeyDictionary[Instance, InstanceTables] = WeakKeyDictionary()


def tables_of(instance: Instance) -> InstanceTables:
    """The tables of an instance, prepared once."""
    if instance not in _TABLES:
        _TABLES[instance] = InstanceTables(instance)
    return _TABLES[instance]


def slot_of(typed: Typed) -> Slot:
    """A type as the grammars know it."""
    return Slot(typed.kind, typed.table, tuple(spell_label(choice.label) for choice in typed.choices))


def inputs_constraint(scope: Scope, at: int | None) -> Constraint:
    """What the inputs of a step (by index; None: the trigger) can be.

    Whatever other steps have already decided is taken into account: the outline must be known, and inputs that
    are known make it sharper. Where only the record says which table the step works on, the record comes first
    and the rest follows from it, in a segment of its own.

    Raises:
        grammars.text.Empty: the step cannot be filled here.
    """
    _, definition = owner_of(scope, at)
    if definition is None:
        return Constraint(NO_INPUTS, INPUT_CLOSERS)
    if at is not None and scope.tree.components[at].is_logic and definition.name == "TIMER":
        return Constraint(_timer(scope, at), INPUT_CLOSERS)
    if at is None or not record_governs(definition):
        return _constraint(scope, at, _lines(scope, at))
    taken = record_input(definition)
    assert taken is not None
    needed = record_is_needed(definition)
    bare = scope.with_inputs(at, ())
    record = replace(_line(bare, at, taken, definition), mandatory=taken.mandatory or needed, known=needed or None)

    def rest(text: str) -> Constraint:
        pill = PILL.search(text)
        known = bare.with_inputs(at, (Input(name=taken.name, value=pill.group()),)) if pill else bare
        lines = [line for line in input_slots(known, at) if line.name != taken.name]
        typed = [line for line in lines if line.slot.kind not in GOVERNED or line.table is not None]
        return _constraint(known, at, typed)

    return Constraint(_grammar(bare, at, [record]), INPUT_CLOSERS, rest)


def _constraint(scope: Scope, at: int | None, lines: Sequence[Line]) -> Constraint:
    """What these lines can be.

    A table that is written although a record could imply it, and each field of open names that a template sets,
    end a segment: what follows depends on them.
    """
    tables = tables_of(scope.instance)
    ends = {f"{spell_name(line.name)}: ": i for i, line in enumerate(lines) if ends_segment(line, tables)}
    if not ends:
        return Constraint(_grammar(scope, at, lines), INPUT_CLOSERS)
    later = {name: _constraint(scope, at, lines[i + 1 :]) for name, i in ends.items() if not lines[i].ends}

    def after(text: str) -> Constraint | None:
        line = text.removesuffix("\n").rpartition("\n")[2]
        name = next((name for name in ends if line.startswith(name)), None)
        if name is None:
            return None
        value = line[len(name) :]
        if name not in later:
            return _constraint(scope, at, _of_table(scope, at, lines[ends[name] + 1 :], read_name(value)))
        return following(name, (), value + "\n"[: text.endswith("\n")])

    def following(name: str, used: tuple[str, ...], text: str) -> Constraint:
        """What comes after one field of a template, given those before it."""
        if text.endswith("\n"):
            return later[name]
        used = (*used, read_name(text.strip().partition(" = ")[0]))
        grammar = assignment_grammar(used, _sources(scope, at), tables)
        return Constraint(grammar, INPUT_CLOSERS, partial(following, name, used))

    return Constraint(_grammar(scope, at, lines), INPUT_CLOSERS, after)


def _of_table(scope: Scope, at: int | None, lines: Sequence[Line], table: str) -> list[Line]:
    """The lines after a table that is written: the record, if there is one, is of that table."""
    taken = record_input(definition) if (definition := owner_of(scope, at)[1]) is not None else None
    assert taken is not None
    record = Line(taken.name, Slot("record", table), taken.mandatory)
    return [record if line.name == taken.name else line for line in lines]


def _grammar(scope: Scope, at: int | None, lines: Sequence[Line]) -> str:
    return tables_of(scope.instance).grammar(tuple(lines), _sources(scope, at))


def _grammar_text(tables: InstanceTables, lines: Sequence[Line], sources: Sequence[Source]) -> str:
    return inputs_grammar(lines, sources, tables)


def _sources(scope: Scope, at: int | None) -> tuple[Source, ...]:
    return tuple(Source(source.path, slot_of(source.typed)) for source in scope.sources(at))


def _timer(scope: Scope, at: int) -> str:
    """The inputs grammar of a TIMER: which inputs it has depends on the first."""
    by_name = {line.name: line for line in input_slots(scope, at)}
    kinds = [
        [
            Line("duration_type", Slot("choice", labels=(kind,)), mandatory=True),
            *(Line(name, by_name[name].slot, mandatory=True) for name in names),
        ]
        for kind, names in TIMER_INPUTS.items()
    ]
    return timer_grammar(_sources(scope, at), tables_of(scope.instance), kinds)


def input_slots(scope: Scope, at: int | None) -> list[Line]:
    """The inputs that are asked for of a step, in catalogue order; its table is not among them."""
    return [line for line in _lines(scope, at) if not line.ends]


def _lines(scope: Scope, at: int | None) -> list[Line]:
    """The same with the table where it may be written although a record could imply it."""
    _, definition = owner_of(scope, at)
    assert definition is not None
    on_line = header_input(definition)
    named = table_input(definition.inputs)
    taken = record_input(definition)
    lines = []
    tableless = on_line is not None and scope.table(at) is None
    for field in definition.inputs:
        if field is on_line:
            continue
        if tableless and (field is taken or kind_of(field.type) in GOVERNED):
            if governing_table(scope, at, field) is None:
                continue
        if field is named and taken is not None and not _table_first(definition):
            continue  # the record pill implies it; without a record it may be written, in its place
        line = _line(scope, at, field, definition)
        if field is named and taken is not None:
            line = replace(line, mandatory=False, ends=True, words=_tables_at(scope, at, taken))
        elif field is taken and named is not None and named is not on_line and not field.mandatory:
            instead = None if _table_first(definition) else _line(scope, at, named, definition)
            line = replace(line, mandatory=named.mandatory, instead=instead)
        lines.append(line)
    return lines


def _table_first(definition: Step | TriggerType) -> bool:
    """Whether the input that names the table stands before the record that implies it."""
    named, taken = table_input(definition.inputs), record_input(definition)
    return named is not None and taken is not None and definition.inputs.index(named) < definition.inputs.index(taken)


def _tables_at(scope: Scope, at: int | None, taken: Field) -> tuple[str, ...]:
    """The only tables that may be written, since a record of them must follow; none: any."""
    reach = Reach.of(scope.instance, scope.sources(at))
    free = not taken.mandatory or reach.nameless
    return () if free else tuple(map(spell_name, reach.tables(scope.instance)))


def is_asked(scope: Scope, at: int | None) -> bool:
    """Whether there is anything to write for a step: it is known, and has inputs beside its table."""
    return owner_of(scope, at)[1] is not None and bool(input_slots(scope, at))


def _line(scope: Scope, at: int | None, field: Field, definition: Step | TriggerType) -> Line:
    kind = kind_of(field.type)
    if field.type == "step" and at is not None:
        words = tuple(map(str, goback_targets(scope.tree, at)))
        return Line(field.name, Slot("step"), field.mandatory, words=words)
    if kind in GOVERNED:
        logic = at is not None and scope.tree.components[at].is_logic
        on_change = at is None and isinstance(definition, TriggerType) and runs_on_update(definition)
        return Line(
            field.name,
            Slot(kind, "pills" if logic else None),
            field.mandatory,
            table=governing_table(scope, at, field),
            on_change=on_change,
            own_fields=definition.name == WAIT_STEP,
        )
    slot = slot_of(typed_of(field))
    if field is record_input(definition):
        slot = Slot("record", scope.table(at) if header_input(definition) is not None else None)
    named = table_input(definition.inputs)
    implied = field is record_input(definition) and named is not None and header_input(definition) is None
    known = True if implied and named is not None and named.mandatory else None
    if kind == "records" and at is not None and scope.tree.components[at].is_kind("FOREACH"):
        slot = Slot("records", scope.loops.get(at))
        known = False if at in scope.loops and scope.loops[at] is None else None
    above = None
    if definition.name == SLA_TIMER and field.name == "percentage" and at is not None:
        above = percentages_before(scope.tree)[at]
    return Line(field.name, slot, field.mandatory, above=above, known=known)


def trigger_tables(instance: Instance, trigger: TriggerType) -> tuple[str, ...]:
    """The tables that a trigger may watch."""
    catalog = CATALOG_TRIGGER in instance.trigger_by_name and trigger.name in RECORD_TRIGGERS
    return tuple(t for t in instance.table_by_name if not (catalog and t.startswith(CATALOG_PREFIX)))
