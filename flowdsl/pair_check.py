"""Whether pairs are fit to train and judge models with."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flowdsl.compile import compile_dsl
from flowdsl.decompile import decompile
from flowdsl.errors import InvalidFlow, InvalidInstance
from flowdsl.model import Component, Flow
from flowdsl.pairs import ORIGINS, SPLITS, Pair, instance_for

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class PairProblem:
    """One thing that is wrong with a pair; `id` says which."""

    id: str
    message: str

    def __str__(self) -> str:
        return f"{self.id}: {self.message}"


def validate_pairs(pairs: Iterable[Pair]) -> tuple[PairProblem, ...]:
    """Everything that is wrong with the pairs of one or several splits.

    Each flow compiles, checks clean and is spelled canonically; each annotation is an exact span of the
    requirement (of an edit: or what the prior flow says); ids are unique; nothing is asked for twice,
    letter case and punctuation aside.

    >>> pair = Pair("dev-1", "Every day, log hello", 'ON "Each day" daily\\n  time: 00:00\\n', split="dev")
    >>> print(*validate_pairs([pair]))
    dev-1: trigger: the annotation 'Each day' is no span of the requirement
    """
    problems: list[PairProblem] = []
    ids: set[str] = set()
    asked: dict[tuple[str, str, str | None], Pair] = {}
    for pair in pairs:
        problems += (PairProblem(pair.id, message) for message in _problems(pair))
        if pair.id in ids:
            problems.append(PairProblem(pair.id, "the id is not unique"))
        ids.add(pair.id)
        words = " ".join(_WORD.findall(pair.requirement.casefold()))
        first = asked.setdefault((pair.instance, words, pair.prior), pair)
        if first is not pair:
            where = f" ({first.split})" if first.split != pair.split else ""
            problems.append(PairProblem(pair.id, f"the same requirement as {first.id}{where}"))
    return tuple(problems)


def _problems(pair: Pair) -> Iterator[str]:
    for value, known in ((pair.origin, ORIGINS), (pair.split, SPLITS)):
        if value not in known:
            yield f"{value!r} is none of {', '.join(known)}"
    if not pair.requirement.strip() or pair.requirement != pair.requirement.strip():
        yield "the requirement is empty, or has space around it"
    try:
        instance = instance_for(pair.instance)
    except InvalidInstance as error:
        yield str(error)
        return
    texts = {"flow": pair.flow} | ({"prior": pair.prior} if pair.prior is not None else {})
    flows: dict[str, Flow] = {}
    for name, text in texts.items():
        try:
            flows[name] = compile_dsl(text, instance)
        except InvalidFlow as error:
            yield from (f"{name}: {issue}" for issue in error.errors)
            continue
        if decompile(flows[name], instance) != text:
            yield f"{name}: not in the canonical spelling"
    if "flow" in flows:
        said = [span for _, span in annotations(flows["prior"])] if "prior" in flows else []
        yield from _span_problems(flows["flow"], pair.requirement, said)


def annotations(flow: Flow) -> Iterator[tuple[int | str, str]]:
    """What the trigger and each step are annotated with, by order; empty where there is nothing."""
    for owner in (flow.trigger, *flow.components):
        if owner is not None:
            yield (owner.order if isinstance(owner, Component) else "trigger"), owner.annotation or ""


def _span_problems(flow: Flow, requirement: str, said: list[str]) -> Iterator[str]:
    for where, span in annotations(flow):
        owner = f"step {where}" if isinstance(where, int) else where
        if not span:
            yield f"{owner}: no annotation"
        elif span in said:
            continue
        elif span not in requirement:
            yield f"{owner}: the annotation {span!r} is no span of the requirement"
        elif span != span.strip():
            yield f"{owner}: the annotation {span!r} has space around it"
        elif (
            not re.search(rf"(?<!\w){re.escape(span)}(?!\w)", requirement)
            and span[:1].isalnum()
            and span[-1:].isalnum()
        ):
            yield f"{owner}: the annotation {span!r} begins or ends inside a word"
