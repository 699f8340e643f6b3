"""Whether the grammars of an instance can be built and ended: what else would come out in the middle of a flow.

A grammar depends on the instance and on what is in scope. So each trigger and step is tried once, in a short
flow from which much can be reached, on the table with the most columns that it may name there; and the widest
tables are tried one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from decoding import Constraint, GrammarError, Vocabulary, closing_path, compile_grammar
from flowdsl.instance import Instance, Step
from flowdsl.logic import LOGIC
from flowdsl.outline import Outline
from flowdsl.places import Places
from flowdsl.specialise import inputs_constraint
from flowdsl.tables import governed_inputs, header_input
from grammars.kinds import kind_of
from grammars.text import Empty

#: Tables that are tried one by one.
TABLES = 500

#: Flow logic whose inputs have a grammar worth trying: those of the others are the same, or have no choice.
_LOGIC = ("IF", "FOREACH", "TIMER")


@dataclass(frozen=True)
class Built:
    """A grammar that was built and ended.

    Attributes:
        where: whose it is.
        characters: of its text.
        tokens: the fewest that it takes from here to the end.
    """

    where: str
    characters: int
    tokens: int


@dataclass(frozen=True)
class GrammarProblem:
    """A grammar that cannot be used; `where` says whose it is."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class GrammarReport:
    """What came of the grammars of an instance.

    Attributes:
        unplaced: steps that no short flow gives what they need; they have not been tried.
        tables, of: how many tables were tried one by one, and how many there are.
    """

    built: tuple[Built, ...]
    problems: tuple[GrammarProblem, ...]
    unplaced: tuple[str, ...]
    tables: int
    of: int

    @property
    def largest(self) -> Built | None:
        """The grammar with the longest text."""
        return max(self.built, key=lambda one: one.characters, default=None)

    @property
    def longest(self) -> Built | None:
        """The one of which the shortest text takes most tokens."""
        return max(self.built, key=lambda one: one.tokens, default=None)


def check_grammars(instance: Instance, vocabulary: Vocabulary, tables: int = TABLES) -> GrammarReport:
    """Builds the grammars of both stages and ends each by its shortest way, as generation does.

    What it finds: names that no grammar can hold, limits of the engine, and steps whose mandatory inputs take
    more tokens than a way to an end may have. Takes some 20 milliseconds a step and table.

    Args:
        vocabulary: the model's tokens.
        tables: how many tables are tried one by one, those with most columns first.

    >>> from decoding import Vocabulary
    >>> report = check_grammars(Instance.load("servicenow"), Vocabulary.from_tekken(), tables=3)
    >>> report.problems, report.unplaced, report.tables
    ((), (), 3)
    """
    return _Check(instance, vocabulary).report(tables)


class _Check:
    def __init__(self, instance: Instance, vocabulary: Vocabulary):
        self.instance = instance
        self.vocabulary = vocabulary
        self.places = Places(instance, vocabulary)
        self.built: list[Built] = []
        self.problems: list[GrammarProblem] = []
        self.unplaced: list[str] = []

    def report(self, tables: int) -> GrammarReport:
        widest = self.places.tables[:tables]
        if self.outlines():
            for trigger in self.instance.triggers:
                self.inputs(f"trigger {trigger.name}", self.places.trigger(trigger), None)
            for step in (*self.instance.steps, *(LOGIC[name] for name in _LOGIC)):
                self.step(f"step {step.name}", step)
            for table in widest:
                for step in self.governed:
                    self.step(f"step {step.name}, table {table}", step, table)
        built, problems = tuple(self.built), tuple(self.problems)
        return GrammarReport(built, problems, tuple(self.unplaced), len(widest), len(self.places.tables))

    def outlines(self) -> bool:
        """Tries the pieces of an outline: the first, and those after each trigger; whether all can be used."""
        empty = self.places.empty
        pieces = [self.tried("outline", empty.constraint)]
        if self.instance.triggers:
            pieces.append(self.tried("outline, trigger", self.places.trigger_piece))
        if not all(pieces):
            return False
        states = [(f" after trigger {one.name}", self.places.trigger(one)) for one in self.instance.triggers]
        for where, state in [*states, ("", empty)]:
            pieces.append(self.tried(f"outline{where}, line", state.constraint))
            pieces.append(self.tried(f"outline{where}, step", partial(self.places.piece, state)))
        return all(pieces)

    @cached_property
    def governed(self) -> list[Step]:
        """A step for each kind of input that is about the columns of a table which the step names."""
        by_kind: dict[str, Step] = {}
        for step in self.instance.steps:
            if header_input(step) is not None and self.places.of(step) is not None:
                for field in governed_inputs(step):
                    by_kind.setdefault(kind_of(field.type), step)
        return list(dict.fromkeys(by_kind.values()))

    def step(self, where: str, step: Step, table: str | None = None) -> None:
        """Tries the inputs of a step."""
        try:
            place = self.places.of(step, table)
        except GrammarError as error:
            self.problems.append(GrammarProblem(where, f"the outline before it cannot be built: {error}"))
            return
        if place is not None:
            self.inputs(where, place.after, len(place.before.components))
        elif table is None and step.name in self.instance.step_by_name:
            self.unplaced.append(step.name)

    def inputs(self, where: str, outline: Outline, at: int | None) -> None:
        """Tries the inputs of a step, or of the trigger, of an outline."""
        self.tried(where, lambda: inputs_constraint(outline.scope(), at))

    def tried(self, where: str, make: Callable[[], Constraint]) -> bool:
        """Whether a constraint can be made, built, and ended."""
        try:
            constraint = make()
        except Empty as empty:
            return self.failed(where, f"nothing can be written for {empty}")
        try:
            matcher = compile_grammar(self.vocabulary, constraint.grammar)
        except GrammarError as error:
            return self.failed(where, f"the grammar cannot be built: {error}")
        try:
            tokens = len(closing_path(matcher, constraint))
        except GrammarError as error:
            return self.failed(where, f"the grammar cannot be ended: {error}")
        except Empty as empty:
            return self.failed(where, f"nothing can be written for {empty}")
        self.built.append(Built(where, len(constraint.grammar), tokens))
        return True

    def failed(self, where: str, message: str) -> bool:
        self.problems.append(GrammarProblem(where, message))
        return False
