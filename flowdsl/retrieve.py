"""Which names of an instance fit some words: suggestions for the prompts.

Ranked by meaning (embeddings) and by rare words shared, for the text as a whole and for each of its
clauses. Suggestions steer the model; the grammar admits the whole catalogue either way.

>>> from flowdsl.instance import Instance
>>> search = Search.of(Instance.load("servicenow"))
>>> "look_up_records" in [step.name for step in search.steps("find the incidents and email them")]
True
>>> search.suggest("For each critical incident, email the caller").logic
('FOREACH',)
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib import resources
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowdsl.clauses import clauses, is_event, is_timed, logic, opening
from flowdsl.encoder import Encoder, Vectors
from flowdsl.instance import SYS_ID, Field, Instance, Step, Table, TriggerType, table_input
from flowdsl.neighbours import EXACT, Neighbours
from flowdsl.tags import Tags, resolve_tags
from flowdsl.vectors import Stored, file_stem, index_folder, kept_arrays, vectors_of
from flowdsl.words import STOP, Lexicon, spoken, stems

__all__ = ["Ranking", "Search", "Suggestions", "stems"]

#: What a full lexical match weighs, where a full match of meaning weighs 1.
LEXICAL = 0.8
#: Candidates that a clause brings in where not every entry is scored.
_CANDIDATES = 100
#: Characters of a text that are embedded.
_LONGEST = 600
#: What the rest of a requirement is taken off, where a part of it is asked for.
_AROUND = 0.5
#: Columns that a flow writes or asks for without their being named, whatever a table calls them.
_EVERYDAY = ("Short description", "Assigned to", "Assignment group", "State", "Active")
#: Steps from which on each has one view: the second adds 0.01 to recall and doubles the index.
_MANY = 20_000
#: What is added to the score of triggers of the kind that the beginning of a requirement asks for.
_KIND = 0.5
#: What the most central table is given before any word is read.
_CENTRAL = 0.3
#: What is taken off a score for being second to another of the same query: this times ln 2, for the third ln 3 ...
_RANK = 0.4
#: What the nearest table counts for in how well anything fits: flows do much to records without a step's words.
_TABLE = 0.5
#: Cosine from which on two texts say that the same is done.
_ALIKE = 0.6
#: Below this fit nothing in the catalogue does what a clause asks for. Of the annotations in tests/corpus
#: 2 in 100 lie below; `benchmarks/retrieval.py` prints what it does to others.
_LEAST_FIT = -0.2
#: Of the steps suggested, the part that may be steps for any table.
_STAPLES = 3
_KEPT = 4096


class Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)
T = TypeVar("T", Step, TriggerType, Table, Field)


@dataclass(frozen=True)
class Suggestions:
    """What may fit a requirement, best first.

    Attributes:
        logic: the flow logic that its steering words ask for.
        unmatched: the clauses for which the catalogue has nothing.
    """

    triggers: tuple[TriggerType, ...]
    steps: tuple[Step, ...]
    tables: tuple[Table, ...]
    logic: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Queries:
    """Texts to search with.

    Attributes:
        vectors: (texts, `WIDTH`), or None without a model.
        handicap: of each text: what is taken off every score that it gives.
    """

    texts: tuple[str, ...]
    vectors: Vectors | None
    handicap: Vectors


@dataclass(frozen=True, eq=False)
class Ranking(Generic[T]):
    """Items that can be ranked by how well they fit texts.

    Attributes:
        starts: of each item the number of its first view; a view is a text of it that is embedded.
        neighbours: the vectors of the views, or None without a model.
    """

    items: tuple[T, ...]
    lexicon: Lexicon
    starts: NDArray[np.int64]
    neighbours: Neighbours | None

    def scores(self, queries: Queries) -> tuple[NDArray[np.int64], Vectors]:
        """Numbers of items, rising, and how well each fits each query: (queries, items)."""
        lexical: Vectors = np.stack([self.lexicon.scores(text) for text in queries.texts]) * np.float32(LEXICAL)
        if self.neighbours is None or queries.vectors is None:
            return np.arange(len(self.items)), np.maximum.reduceat(lexical, self.starts, axis=1)
        if self.neighbours.graph is None:
            views = lexical + self.neighbours.cosines(queries.vectors)
            return np.arange(len(self.items)), np.maximum.reduceat(views, self.starts, axis=1)
        near, _ = self.neighbours.nearest(queries.vectors, _CANDIDATES)
        hits = np.unique(np.concatenate([near.ravel(), *(_highest(row) for row in lexical)]))
        numbers = np.unique(np.searchsorted(self.starts, hits, side="right") - 1).astype(np.int64)
        counts = np.append(self.starts, len(self.neighbours.vectors))[numbers + 1] - self.starts[numbers]
        firsts = np.cumsum(counts) - counts
        rows = np.repeat(self.starts[numbers] - firsts, counts) + np.arange(counts.sum())
        views = lexical[:, rows] + self.neighbours.cosines(queries.vectors, rows)
        return numbers, np.maximum.reduceat(views, firsts, axis=1)

    def best(self, queries: Queries, limit: int, bonus: Sequence[float] = ()) -> list[T]:
        """The items that fit, best first: above all the best of each query, so that no clause goes without.

        Args:
            bonus: what is added to the score of each item.
        """
        if not self.items or not queries.texts:
            return []
        numbers, scores = self.scores(queries)
        touched = scores.max(0) > 0
        if len(bonus):
            scores = scores + np.asarray(bonus, np.float32)[numbers]
        scores = np.round(scores, 4)  # what is closer than this is as good; then the catalogue's order decides
        order = np.argsort(-scores, axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(len(numbers))[None, :], 1)
        fit = (scores - _RANK * np.log1p(rank) - queries.handicap[:, None]).max(0)
        chosen = np.argsort(-np.round(fit, 4), kind="stable")
        if self.neighbours is None:  # words alone say nothing of items that share none
            chosen = chosen[touched[chosen]]
        return [self.items[numbers[i]] for i in chosen[:limit]]


@dataclass(frozen=True, eq=False)
class Search:
    """The rankings of one instance. The model is loaded, and the index made, by the first question."""

    instance: Instance
    _kept: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, instance: Instance) -> "Search":
        """The search over an instance, made once."""
        return cls(instance)

    def steps(self, text: str, limit: int = 12) -> list[Step]:
        """The steps that fit the clauses of a text; among them the first of those that work on any table."""
        best = self._steps.best(self.queries(text), limit)
        return with_reserve(best, self._staples[: limit // _STAPLES], limit)

    def triggers(self, text: str, limit: int = 4) -> list[TriggerType]:
        """The triggers that fit the beginning of a text."""
        first = opening(text)
        fits = _is_timed if is_timed(first) else _is_record if is_event(first) else None
        bonus = [_KIND if fits and fits(item) else 0.0 for item in self.instance.triggers]
        return self._triggers.best(self.queries(first, (text, _AROUND)), limit, bonus)

    def tables(self, text: str, limit: int = 5, *, step: str = "") -> list[Table]:
        """The tables that fit a text, or the part `step` of it."""
        queries = self.queries(step, (text, _AROUND)) if step else self.queries(text)
        return self._tables.best(queries, limit, self._weight)

    def columns(self, table: str, text: str, limit: int = 10, *, step: str = "") -> list[Field]:
        """The columns of a table that fit a text, by their own names or by their choices.

        Args:
            step: the part of the text that it is about, such as a step's annotation.
        """
        ranking = self._columns(table)
        queries = self.queries(step, (text, _AROUND)) if step else self.queries(text)
        everyday = [column for name in _EVERYDAY for column in ranking.best(self.queries(name), 1)]
        return with_reserve(ranking.best(queries, limit), everyday[: limit // 2], limit)

    def suggest(
        self, requirement: str, steps: int = 12, triggers: int = 4, tables: int = 5, *, tags: Tags | None = None
    ) -> Suggestions:
        """What may fit a requirement, at most so many of each.

        Args:
            tags: names that are to be among them; default: those that the requirement marks with ``#``.

        Raises:
            InvalidRequirement: the requirement refers to a name that there is not.
        """
        named = resolve_tags(requirement, self.instance) if tags is None else tags
        text = named.text if tags is None else requirement
        return Suggestions(
            named_first(named.triggers, self.triggers(text, triggers), triggers),
            named_first(named.steps, self.steps(text, steps), steps),
            named_first(named.tables, self.tables(text, tables), tables),
            logic(text),
            self.unmatched(text),
        )

    def unmatched(self, requirement: str) -> tuple[str, ...]:
        """The clauses of a requirement, after its beginning, for which the catalogue has nothing."""
        first = opening(requirement) if is_timed(requirement) or is_event(requirement) else ""
        parts = [part for part in clauses(requirement) if part not in clauses(first)]
        self.queries(requirement)  # one pass for all of them
        return tuple(part for part in parts if not self.has_step_for(part))

    def has_step_for(self, clause: str) -> bool:
        """Whether anything in the catalogue does what a clause asks for.

        >>> search = Search.of(Instance.load("servicenow"))
        >>> search.has_step_for("email the caller"), search.has_step_for("print a badge at reception")
        (True, False)
        """
        return not clauses(clause) or self.fit(clause) >= _LEAST_FIT

    def fit(self, clause: str) -> float:
        """How much better the catalogue fits a clause than what other software does; without a model, infinity."""
        if self._encoder is None or not self.instance.steps or not self._elsewhere.items:
            return math.inf
        asked = self.queries(clause)
        whole = Queries(asked.texts[:1], None if asked.vectors is None else asked.vectors[:1], asked.handicap[:1])
        step, foreign = (float(ranking.scores(whole)[1].max()) for ranking in (self._steps, self._elsewhere))
        table = float(self._tables.scores(whole)[1].max()) if self.instance.tables else 0.0
        return step + _TABLE * table - foreign

    @property
    def words(self) -> frozenset[str]:
        """Lower-case words of step and trigger labels."""
        items: list[Step | TriggerType] = [*self.instance.steps, *self.instance.triggers]
        labels = (item.label or item.name for item in items)
        found = re.compile(r"[^\W_]+").findall
        return frozenset(word.lower() for label in labels for word in found(label) if len(word) > 2) - STOP

    # -- queries -------------------------------------------------------------------------------

    def queries(self, *texts: str | tuple[str, float]) -> Queries:
        """Texts as a whole and their clauses, embedded in one pass but for those met before.

        Args:
            texts: each may have a handicap.
        """
        handicaps: dict[str, float] = {}
        for given in texts:
            text, handicap = given if isinstance(given, tuple) else (given, 0.0)
            for part in (" ".join(text.split()), *clauses(text)):
                if part:
                    handicaps.setdefault(part, handicap)
        parts, handicap_array = tuple(handicaps), np.array(list(handicaps.values()), np.float32)
        if self._encoder is None or not parts:
            return Queries(parts, None, handicap_array)
        known = {part: vector for part in parts if (vector := self._kept.get(part)) is not None}
        if missing := [part for part in parts if part not in known]:
            known |= zip(missing, self._encoder.encode(missing), strict=True)
            if len(self._kept) > _KEPT:
                self._kept.clear()
            self._kept.update(known)
        return Queries(parts, np.stack([known[part] for part in parts]), handicap_array)

    @cached_property
    def _encoder(self) -> Encoder | None:
        return Encoder.default()

    # -- rankings ------------------------------------------------------------------------------

    @cached_property
    def _steps(self) -> Ranking[Step]:
        return self._ranking("steps", self.instance.steps)

    @cached_property
    def _triggers(self) -> Ranking[TriggerType]:
        return self._ranking("triggers", self.instance.triggers)

    @cached_property
    def _tables(self) -> Ranking[Table]:
        return self._ranking("tables", self.instance.tables)

    @cached_property
    def _elsewhere(self) -> Ranking[Step]:
        """What software does that the catalogue has not: of a list of such things those unlike any step."""
        lines = _elsewhere()
        listed, own = self._ranking("elsewhere", lines).neighbours, self._steps.neighbours
        if listed is None or own is None:
            return self._ranking("elsewhere", lines)
        _, cosines = own.nearest(listed.vectors.astype(np.float32), 1)
        return self._ranking(
            "elsewhere", tuple(line for line, near in zip(lines, cosines[:, 0], strict=True) if near < _ALIKE)
        )

    @cached_property
    def _by_table(self) -> dict[str, Ranking[Field]]:
        return {}

    def _columns(self, table: str) -> Ranking[Field]:
        if table not in self._by_table:
            self._by_table[table] = self._ranking("columns", tuple(self.instance.columns(table).values()))
        return self._by_table[table]

    @cached_property
    def _staples(self) -> list[Step]:
        """Steps that work on any table, those that are needed most first: look up, change, create."""
        return [step for _, step in sorted(_uses(self.instance.steps), key=lambda pair: pair[0])]

    @cached_property
    def _weight(self) -> list[float]:
        """How central each table is: by its columns, and by the columns that refer to it."""
        instance = self.instance
        referred = Counter(column.reference for table in instance.tables for column in table.columns)
        sizes = [math.log1p(len(instance.columns(table.name))) for table in instance.tables]
        links = [math.log1p(referred[table.name]) for table in instance.tables]
        most, widest = max(links, default=0) or 1.0, max(sizes, default=0) or 1.0
        return [_CENTRAL * (size / widest + link / most) / 2 for size, link in zip(sizes, links, strict=True)]

    def _views(self, item: Step | TriggerType | Table | Field) -> list[str]:
        """What is embedded of an item; of very many steps only the longest text, so that the index stays small."""
        views = _views(item)
        return views[-1:] if isinstance(item, Step) and len(self.instance.steps) > _MANY else views

    def _ranking(self, kind: str, items: tuple[T, ...]) -> Ranking[T]:
        views: list[list[str]] = [self._views(item) for item in items]
        starts = np.cumsum([0, *map(len, views)])[:-1]

        def words() -> Lexicon:
            return Lexicon.of([text for item, own in zip(items, views, strict=True) for text in _words(item, own)])

        if self._encoder is None or not items:
            return Ranking(items, words(), starts, None)
        rows, vectors, digest = self._index
        wanted = np.array([rows[view] for texts in views for view in texts], np.int64)
        first, last = int(wanted[0]), int(wanted[-1])
        is_range = np.array_equal(wanted, np.arange(first, last + 1))
        mine = vectors[first : last + 1] if is_range else vectors[wanted]
        if digest is None or len(mine) <= EXACT:
            return Ranking(items, words(), starts, Neighbours.of(mine))
        stem = index_folder() / f"{file_stem(self.instance.name)}-{kind}-{digest[:12]}"
        lexicon = Lexicon.of_arrays(kept_arrays(stem.with_suffix(".words"), lambda: words().arrays()))
        return Ranking(items, lexicon, starts, Neighbours.of(mine, stem))

    @cached_property
    def _index(self) -> tuple[dict[str, int], Stored, str | None]:
        """Every text of the instance with the row of its vector, the vectors, and the digest of the file."""
        assert self._encoder is not None
        instance = self.instance
        items: Iterable[Step | TriggerType | Table | Field] = (
            *instance.triggers,
            *instance.steps,
            *instance.tables,
            *(column for table in instance.tables for column in table.columns),
            SYS_ID,
            *_elsewhere(),
        )
        texts = list(dict.fromkeys(view for item in items for view in self._views(item)))
        vectors, digest = vectors_of(instance.name, texts, self._encoder)
        return {text: row for row, text in enumerate(texts)}, vectors, digest


def _highest(row: Vectors) -> NDArray[np.int64]:
    """The places of the highest positive numbers, in any order."""
    places = np.flatnonzero(row)
    if len(places) > _CANDIDATES:
        places = places[np.argpartition(row[places], -_CANDIDATES)[-_CANDIDATES:]]
    return places


@cache
def _elsewhere() -> tuple[Step, ...]:
    lines = (resources.files("flowdsl") / "elsewhere.txt").read_text(encoding="utf-8").splitlines()
    return tuple(Step(name=f"elsewhere {number}", label=line) for number, line in enumerate(lines))


def named_first(named: Sequence[N], best: Sequence[N], limit: int) -> tuple[N, ...]:
    """The named items, then the best others; more than the limit only if more are named."""
    names = {item.name for item in named}
    return (*named, *(item for item in best if item.name not in names))[: max(limit, len(named))]


def with_reserve(best: list[N], reserve: Sequence[N], limit: int) -> list[N]:
    """The best items, the last of them giving way to those of the reserve that are missing.

    >>> from flowdsl.instance import Table
    >>> a, b, c = (Table(name=name) for name in "abc")
    >>> [table.name for table in with_reserve([a, b], [c], 2)]
    ['a', 'c']
    """
    reserved = {item.name: item for item in reserve}
    missing = [item for name, item in reserved.items() if name not in {item.name for item in best}]
    spare = [item.name for item in best if item.name not in reserved]
    dropped = set(spare[::-1][: max(0, len(best) + len(missing) - limit)])
    return [*(item for item in best if item.name not in dropped), *missing][:limit]


def _label(item: Step | TriggerType | Table | Field) -> str:
    return item.label or spoken(item.name) or item.name


def _views(item: Step | TriggerType | Table | Field) -> list[str]:
    """What is embedded of an item, each by itself."""
    label = _label(item)
    views = [label]
    if isinstance(item, Step | TriggerType):
        views += [f"{label}: {item.description}"] if item.description else []
    elif spoken(item.name).lower() not in label.lower():
        views.append(spoken(item.name) or item.name)
    if isinstance(item, Field):
        views += [f"{label}: {choice.label}" for choice in item.choices]
    return [view[:_LONGEST] for view in views]


def _words(item: Step | TriggerType | Table | Field, views: Sequence[str]) -> list[str]:
    """What words are compared with, for each view: those of steps go with their names."""
    if isinstance(item, Step | TriggerType) and not item.name.startswith("elsewhere "):
        return [f"{spoken(item.name)} {view}" for view in views]
    return list(views)


def _uses(steps: Iterable[Step]) -> Iterable[tuple[int, Step]]:
    """Steps that take the table as an input, with how soon they are needed."""
    for step in steps:
        if table_input(step.inputs) is None:
            continue
        inputs, outputs = {item.type for item in step.inputs}, {item.type for item in step.outputs}
        if "records" in outputs:
            yield 0, step
        elif {"template_value", "record"} <= inputs:
            yield 1, step
        elif "conditions" in inputs and "record" in outputs:
            yield 2, step
        elif "template_value" in inputs:
            yield 3, step


def _is_timed(trigger: TriggerType) -> bool:
    return any(item.type in {"time", "date_time", "duration"} for item in trigger.inputs) and not _is_record(trigger)


def _is_record(trigger: TriggerType) -> bool:
    return table_input(trigger.inputs) is not None
