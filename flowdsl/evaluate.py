"""Judges a system: answers every pair of a split, and records each answer with its figures."""

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flowdsl.compile import compile_dsl
from flowdsl.features import FEATURES, features
from flowdsl.instance import Instance
from flowdsl.measures import measure
from flowdsl.pairs import Pair, instance_for
from flowdsl.records import Record, Run, open_run, read_run
from flowdsl.systems import Answer, System, digest

#: Is told of each case: the record, how many are done, and how many there are.
OnCase = Callable[[Record, int, int], None]


def evaluate(
    pairs: Sequence[Pair],
    system: System,
    path: str | Path,
    name: str = "run",
    *,
    restart: bool = False,
    on_case: OnCase | None = None,
    instances: Callable[[str], Instance] = instance_for,
) -> Run:
    """Answers all pairs; cases that the run in `path` holds already are not done again.

    An answer that fails, for whatever reason, is a case without a flow, with its error.

    Args:
        path: where the run is kept, see `records`.
        name: what reports call it.
        restart: begins anew if there is a run in `path`.
        instances: what the names of instances in the pairs stand for.

    Raises:
        UsageError: `path` holds a run of another system or of other pairs.
    """
    settings = {**system.settings, "pairs": digest(pairs), "flowdsl": _version()}
    with open_run(path, name, settings, restart) as run:
        done = {record.id for record in run.done}
        left = [pair for pair in pairs if pair.id not in done]
        for record in run.done:
            if on_case is not None:
                on_case(record, len(done), len(pairs))
        for number, pair in enumerate(left, start=len(done) + 1):
            record = judged(pair, system, instances(pair.instance))
            run.add(record)
            if on_case is not None:
                on_case(record, number, len(pairs))
    return read_run(path)


def judged(pair: Pair, system: System, instance: Instance) -> Record:
    """One case."""
    reference = compile_dsl(pair.flow, instance)
    prior = None if pair.prior is None else compile_dsl(pair.prior, instance)
    started = time.perf_counter()
    try:
        answer = system.answer(pair, instance)
    except Exception as error:  # one case must not end a run of hours
        answer = Answer(error=f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - started
    found = features(reference, instance, pair.tags, prior)
    return Record(
        id=pair.id,
        requirement=pair.requirement,
        wanted=reference.to_json(),
        candidate=answer.flow.to_json() if answer.flow is not None else None,
        figures=measure(answer.flow, reference, instance),
        took={"seconds": seconds, **answer.took},
        split=pair.split,
        instance=pair.instance,
        tags=pair.tags,
        features=tuple(name for name in FEATURES if name in found),
        issues=answer.issues,
        text=answer.text,
        error=answer.error,
    )


def some(pairs: Iterable[Pair], limit: int | None) -> list[Pair]:
    """The first `limit` pairs in an order that looks random but is always the same (None: all, as they are).

    So 20 cases of a split are among 40 of it, and a run of 20 is half of a run of 40.
    """
    listed = list(pairs)
    if limit is None:
        return listed
    return sorted(listed, key=lambda pair: sha256(pair.id.encode()).digest())[:limit]


def _version() -> Any:
    try:
        return version("flowdsl")
    except PackageNotFoundError:
        return None
