"""Which pills of a step may fit some words: suggestions for the prompts.

>>> from flowdsl import Flow, Instance
>>> from flowdsl.scope import Scope
>>> flow = Flow.from_json({"trigger": {"type": "record_create", "inputs": [{"name": "table", "value": "incident"}]},
...                        "components": [{"category": "action", "definition": "send_sms", "order": 1}]})
>>> walked_pills(Scope.of(flow, Instance.load("servicenow")), 0, "text the manager of its assignment group", 1)[0][0]
'{{trigger.current.assignment_group.manager}}'
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from flowdsl.instance import Field, Instance
from flowdsl.retrieve import stems
from flowdsl.scope import Scope, Source
from flowdsl.typed import held
from grammars.kinds import RECORDS
from grammars.spelling import spell_name

#: Columns in a row, and how many walks are followed from one length to the next.
DEPTH, BEAM = 3, 8
#: What each column costs, in words matched.
LENGTH_COST = 0.3


@dataclass(frozen=True)
class _Walk:
    """A pill on the way: its path, its last column, where it is, and the words that it has matched."""

    path: str
    column: Field | None
    table: str | None
    matched: frozenset[str]
    cost: float

    @property
    def score(self) -> float:
        return len(self.matched) - self.cost


def walked_pills(scope: Scope, at: int | None, words: str, limit: int) -> list[tuple[str, Field]]:
    """The dot-walked pills in scope that share most with some words, best first; each with its last column."""
    wanted = frozenset(stems(words))
    found: dict[str, float] = {}
    columns: dict[str, Field] = {}
    for rank, source in enumerate(reversed(list(scope.sources(at)))):
        for walk in _walks(scope.instance, source, wanted, rank):
            found[walk.path] = max(walk.score, found.get(walk.path, 0.0))
            assert walk.column is not None
            columns[walk.path] = walk.column
    best = sorted((path for path in found if found[path] > 0), key=lambda path: -found[path])
    return [(f"{{{{{path}}}}}", columns[path]) for path in best[:limit]]


def _walks(instance: Instance, source: Source, wanted: frozenset[str], rank: int) -> Iterator[_Walk]:
    """Walks from one root that match more words with each column; `rank` prefers what is near."""
    if source.typed.kind not in RECORDS:
        return
    level = [_Walk(source.path, None, source.typed.table, frozenset(), 0.05 * rank)]
    for _ in range(DEPTH):
        following = []
        for walk in level:
            for column, words in _spoken(instance, walk.table) if walk.table else ():
                matched = walk.matched | (words & wanted)
                if len(matched) > len(walk.matched):
                    rest = 0.05 * len(words - wanted)
                    table = held(column).table if held(column).kind in RECORDS else None
                    path = f"{walk.path}.{spell_name(column.name)}"
                    following.append(_Walk(path, column, table, matched, walk.cost + LENGTH_COST + rest))
        level = sorted(following, key=lambda walk: -walk.score)[:BEAM]
        yield from level


@lru_cache(maxsize=1024)
def _spoken(instance: Instance, table: str) -> list[tuple[Field, frozenset[str]]]:
    """The columns of a table, each with the stems of its label (or name)."""
    columns = instance.columns(table).values()
    return [(column, frozenset(stems(column.label or column.name))) for column in columns]
