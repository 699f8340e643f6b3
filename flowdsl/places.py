"""Where a step can stand: a short outline after which the grammar offers it.

>>> from decoding import Vocabulary
>>> from flowdsl import Instance
>>> places = Places(Instance.load("servicenow"), Vocabulary.from_tekken())
>>> place = places.of(places.instance.step_by_name["update_record"])
>>> place.before.trigger.type, place.line
('knowledge_management', ' update_record service_offering\\n')
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from decoding import Constraint, Matcher, Vocabulary, compile_grammar
from flowdsl.instance import Field, Instance, Step, TriggerType
from flowdsl.logic import LOGIC
from flowdsl.outline import Outline, read_outline
from flowdsl.reach import Reach
from flowdsl.scope import record_input
from flowdsl.specialise import trigger_tables
from flowdsl.tables import header_input, record_is_needed
from grammars.kinds import LISTS, RECORDS, kind_of
from grammars.spelling import spell_name

#: What the flows are said to be for. No two steps share an annotation: the same words do not become the same step
#: twice.
REQUIREMENT = "When it happens, one two three four five six seven eight nine ten"
_WHEN, _SPANS = "When it happens", REQUIREMENT.split(", ")[1].split()

#: Steps that may have to come one after the other before what a step needs is there.
_DEPTH = 3


@dataclass(frozen=True)
class Place:
    """An outline, and the rest of a line, from the annotation on, that may follow it."""

    before: Outline
    line: str

    @property
    def after(self) -> Outline:
        """The outline with the step."""
        return read_outline(f'"{_span(self.before)}"{self.line}', self.before)


class Places:
    """Places for the triggers and steps of an instance."""

    def __init__(self, instance: Instance, vocabulary: Vocabulary):
        self.instance = instance
        self.vocabulary = vocabulary
        self._pieces: dict[int, tuple[Outline, Matcher]] = {}  # by identity: an outline has no hash
        self._reaches: dict[int, tuple[Outline, Reach]] = {}
        self._starts: dict[str | None, list[Outline]] = {}

    @cached_property
    def tables(self) -> list[str]:
        """All tables, those with most columns first."""
        instance = self.instance
        return sorted(instance.table_by_name, key=lambda table: (-len(instance.columns(table)), table))

    @cached_property
    def empty(self) -> Outline:
        return Outline(self.instance, requirement=REQUIREMENT)

    def trigger(self, trigger: TriggerType, table: str | None = None) -> Outline:
        """The outline that begins with a trigger, on this table where that may be, else on its widest."""
        line = f" {spell_name(trigger.name)}"
        if header_input(trigger) is not None:
            known = set(trigger_tables(self.instance, trigger))
            widest = next((name for name in self.tables if name in known), "record")
            line += f" {spell_name(table if table in known else widest)}"
        return read_outline(f'ON "{_WHEN}"{line}\n', self.empty)

    def starts(self, table: str | None = None) -> list[Outline]:
        """An outline for each trigger, those first from which most can be reached; and one without."""
        if table not in self._starts:
            begun = [self.trigger(trigger, table) for trigger in self.instance.triggers]
            begun.sort(key=lambda outline: -len(self._reach(outline).records))
            self._starts[table] = [*begun, self.empty]
        return self._starts[table]

    def of(self, step: Step, table: str | None = None) -> Place | None:
        """A place for a step, on this table if one is given; None if there seems to be none."""
        named = list(dict.fromkeys((table, *(need.reference for need in _needs(step)))))
        starts = [outline for name in dict.fromkeys((*named, None)) for outline in self.starts(name)]
        direct = (place for outline in starts if (place := self._there(outline, step, table)))
        led = (place for outline in starts if (place := self._led(outline, step, table, frozenset())))
        return next(direct, None) or next(led, None)

    def trigger_piece(self) -> Constraint:
        """What may follow the words of a trigger."""
        piece = self.empty.constraint().after(f'ON "{_WHEN}"')
        assert piece is not None
        return piece

    def piece(self, outline: Outline) -> Constraint:
        """What may follow the next annotation after an outline."""
        piece = outline.constraint().after(f'"{_span(outline)}"')
        assert piece is not None
        return piece

    def _offers(self, outline: Outline, line: str) -> bool:
        """Whether the grammar lets this line follow."""
        if id(outline) not in self._pieces:
            self._pieces[id(outline)] = outline, compile_grammar(self.vocabulary, self.piece(outline).grammar)
        tokens = self.vocabulary.encode(line)
        return self._pieces[id(outline)][1].accepts(tokens) == len(tokens)

    # -- finding -------------------------------------------------------------------------------

    def _there(self, outline: Outline, step: Step, table: str | None) -> Place | None:
        """The place right after an outline, if the grammar offers the step there."""
        fitting = (line for line in self._lines(outline, step, table) if self._offers(outline, line))
        return next((Place(outline, line) for line in fitting), None)

    def _lines(self, outline: Outline, step: Step, table: str | None) -> Iterator[str]:
        word = f" {step.name if LOGIC.get(step.name) is step else spell_name(step.name)}"
        if step is LOGIC["FOREACH"]:
            tables = sorted(filter(None, self._reach(outline).lists))
            yield from (f"{word} {spell_name(name)}\n" for name in tables)
        if header_input(step) is None:
            yield f"{word}\n"
            return
        reached = set(self._reach(outline).tables(self.instance))
        widest = next((name for name in self.tables if name in reached), None)
        for name in (table,) if table is not None else (widest, *self.tables[:1], None):
            if name is not None:
                yield f"{word} {spell_name(name)}\n"
            elif self.instance.is_open:
                yield f"{word} record\n"
            else:
                yield f"{word}\n"

    def _led(self, outline: Outline, step: Step, table: str | None, tried: frozenset[str]) -> Place | None:
        """The place after what an outline has to be followed by first."""
        if place := self._there(outline, step, table):
            return place
        if len(tried) >= _DEPTH or step.name in tried:
            return None
        for need in _needs(step):
            following = self._with(outline, need, tried | {step.name})
            if following is None:
                return None
            outline = following
        return self._there(outline, step, table)

    def _with(self, outline: Outline, need: Field, tried: frozenset[str]) -> Outline | None:
        """The outline, followed by what gives the record or the list that an input needs."""
        if found := self._holding(outline, need):
            return found
        for giver in self.instance.steps:
            table = self._gives(giver, need)
            if table is not None and (place := self._led(outline, giver, table or None, tried)):
                if found := self._holding(place.after, need):
                    return found
        return None

    def _holding(self, outline: Outline, need: Field) -> Outline | None:
        """The outline, if what an input needs is in reach after it; or one loop further."""
        reach = self._reach(outline)
        if kind_of(need.type) == "records":
            return outline if reach.has_list(self.instance, need.reference) else None
        if reach.has_record(self.instance, need.reference):
            return outline
        return self._loop(outline, need.reference)

    def _loop(self, outline: Outline, table: str | None) -> Outline | None:
        """The outline followed by a loop over a list in reach."""
        for name in sorted(filter(None, self._reach(outline).lists)):
            if table is None or self.instance.is_a(name, table):
                line = f" FOREACH {spell_name(name)}\n"
                if self._offers(outline, line):
                    return Place(outline, line).after
        return None

    def _gives(self, step: Step, need: Field) -> str | None:
        """The table on which a step gives what an input needs: "" for whatever it is on, None: on none."""
        kinds = LISTS if kind_of(need.type) == "records" else LISTS | RECORDS
        for output in step.outputs:
            if kind_of(output.type) not in kinds:
                continue
            if output.reference is not None and output.reference.startswith("$"):
                return need.reference or ""
            if need.reference is None or self.instance.is_a(output.reference or "", need.reference):
                return ""
        return None

    def _reach(self, outline: Outline) -> Reach:
        """What the next step could refer to."""
        if id(outline) not in self._reaches:
            self._reaches[id(outline)] = outline, outline.next_reach()
        return self._reaches[id(outline)][1]


def _span(outline: Outline) -> str:
    return _SPANS[len(outline.components) % len(_SPANS)]


def _needs(step: Step) -> list[Field]:
    """The inputs that cannot be filled from nothing: mandatory records and lists."""
    taken = record_input(step) if record_is_needed(step) else None
    return [
        field
        for field in step.inputs
        if (field.mandatory or field is taken) and kind_of(field.type) in {"record", "records"}
    ]
