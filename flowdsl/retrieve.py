"""Which names of an instance fit some words: suggestions for the prompts.

Lexical for now: rare words that the text shares with a name, a label or a description. Suggestions
steer the model; the grammar admits the whole catalogue either way.

>>> from flowdsl.instance import Instance
>>> search = Search.of(Instance.load("servicenow"))
>>> "look_up_records" in [step.name for step in search.steps("find the incidents and email them")]
True
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from snowballstemmer import stemmer

from flowdsl.instance import Field, Instance, Step, Table, TriggerType

_WORD = re.compile(r"[^\W_]+")
_STOP = frozenset(
    "a an the of to in on at for and or if is are be by with from it its this that them their they then as".split()
)
_STEM = stemmer("english")

#: Words of users that a catalogue says otherwise.
_SYNONYMS = {
    "find": ("look", "records"),
    "search": ("look", "records"),
    "get": ("look",),
    "mail": ("email", "send"),
    "text": ("sms",),
    "notify": ("notification", "email", "send"),
    "inform": ("notification", "email"),
    "tell": ("email",),
    "set": ("update",),
    "change": ("update",),
    "changes": ("updated",),
    "becomes": ("updated",),
    "reassign": ("update",),
    "assign": ("update",),
    "close": ("update",),
    "resolve": ("update",),
    "open": ("create",),
    "opened": ("created",),
    "raised": ("created",),
    "approve": ("approval",),
    "manager": ("user",),
    "people": ("user",),
    "person": ("user",),
    "remove": ("delete",),
    "every": ("daily", "weekly"),
    "monday": ("weekly",),
    "day": ("daily",),
    "week": ("weekly",),
    "month": ("monthly",),
}


class Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...


T = TypeVar("T", Step, TriggerType, Table, Field)


def stems(text: str, synonyms: bool = True) -> list[str]:
    """The stems of the words that say something, with what the catalogue may call them."""
    words = [word for word in (w.lower() for w in _WORD.findall(text)) if word not in _STOP]
    if synonyms:
        words += [synonym for word in words for synonym in _SYNONYMS.get(word, ())]
    return [_STEM.stemWord(word) for word in words]


@dataclass(frozen=True)
class Ranking(Generic[T]):
    """Items with the stems of their texts, and how rare each stem is among them."""

    items: tuple[T, ...]
    texts: tuple[Counter[str], ...]
    weight: dict[str, float]

    @classmethod
    def over(cls, items: Sequence[T], texts: Iterable[str]) -> "Ranking[T]":
        counts = tuple(Counter(stems(text)) for text in texts)
        seen = Counter(stem for count in counts for stem in count)
        weight = {stem: math.log(1 + len(items) / n) for stem, n in seen.items()}
        return cls(tuple(items), counts, weight)

    def best(self, query: str, limit: int) -> list[T]:
        """The items that share most with the query, best first; fewer than `limit` if few share anything."""
        wanted = set(stems(query))
        scored = []
        for i, count in enumerate(self.texts):
            score = sum(self.weight[stem] for stem in wanted if stem in count)
            if score > 0:
                scored.append((-score / math.sqrt(8 + len(count)), i))
        return [self.items[i] for _, i in sorted(scored)[:limit]]


@dataclass(frozen=True)
class Search:
    """The rankings of one instance."""

    instance: Instance
    step_ranking: Ranking[Step]
    trigger_ranking: Ranking[TriggerType]
    table_ranking: Ranking[Table]

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, instance: Instance) -> "Search":
        """The search over an instance, made once."""
        described = [f"{step.name} {step.label} {step.description}" for step in instance.steps]
        triggers = [f"{t.name} {t.label} {t.description}" for t in instance.triggers]
        tables = [f"{table.name} {table.label}" for table in instance.tables]
        return cls(
            instance,
            Ranking.over(instance.steps, described),
            Ranking.over(instance.triggers, triggers),
            Ranking.over(instance.tables, tables),
        )

    def steps(self, text: str, limit: int = 8) -> list[Step]:
        return self.step_ranking.best(text, limit)

    def triggers(self, text: str, limit: int = 4) -> list[TriggerType]:
        return self.trigger_ranking.best(text, limit)

    def tables(self, text: str, limit: int = 5) -> list[Table]:
        return self.table_ranking.best(text, limit)

    def columns(self, table: str, text: str, limit: int = 8) -> list[Field]:
        """The columns of a table that fit."""
        return column_ranking(self.instance, table).best(text, limit)

    @property
    def words(self) -> frozenset[str]:
        """Lower-case words of step and trigger labels."""
        items: list[Step | TriggerType] = [*self.instance.steps, *self.instance.triggers]
        labels = (item.label or item.name for item in items)
        return frozenset(word.lower() for label in labels for word in _WORD.findall(label) if len(word) > 2) - _STOP


@lru_cache(maxsize=256)
def column_ranking(instance: Instance, table: str) -> Ranking[Field]:
    """The ranking of a table's columns."""
    columns = tuple(instance.columns(table).values())
    texts = [f"{c.name} {c.label} {' '.join(choice.label for choice in c.choices)}" for c in columns]
    return Ranking.over(columns, texts)
