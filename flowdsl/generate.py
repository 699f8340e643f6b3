"""From a requirement to a flow: the outline, then the inputs of every step.

What comes out compiles and checks: each token is drawn under a grammar that admits only what can
still become a valid flow of the instance.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from decoding import (
    Constraint,
    Decoded,
    Model,
    PrefixCache,
    Row,
    closing_path,
    common_prefix,
    compile_grammar,
    decode,
    decode_batch,
    load_tuned,
    minimum_tokens,
    rehearse,
    with_drafts,
)
from flowdsl.answers import Decision, Uncertain, assumptions, decisions, uncertain, uncovered
from flowdsl.ask import Prompts
from flowdsl.changes import changes, kept
from flowdsl.check import check_flow
from flowdsl.compile import fill, without_inputs
from flowdsl.decompile import decompile, outline_text
from flowdsl.errors import BudgetTooSmall, FlowError, InvalidFlow, UsageError
from flowdsl.inputs_drafts import inputs_drafts
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.narrow import narrowed
from flowdsl.outline import Limits, Outline, loop_tables, read_outline
from flowdsl.outline_drafts import outline_drafts
from flowdsl.requirement import Requirement, forms_of, read_requirement
from flowdsl.result import FlowResult, FlowStats
from flowdsl.retrieve import Search, Suggestions
from flowdsl.scope import Scope
from flowdsl.similarity import flow_similarity
from flowdsl.specialise import NO_INPUTS, inputs_constraint

#: Tokens of a flow unless the caller says otherwise: some forty steps.
DEFAULT_TOKENS = 1500

#: Of effort "best": outlines beside the most probable one. Of all sampling: the temperature.
SAMPLES, WARMTH = 6, 0.8

#: Is told what becomes final: {"event": "trigger" | "step" | "inputs" | "warning" | "done", "text": ...}.
OnEvent = Callable[[Mapping[str, Any]], None]

#: The adapter of the embedded model: `flowdsl train` made it.
ADAPTER = Path(__file__).parent / "adapter"

_PREFIXES: dict[int, PrefixCache] = {}
_LOCK = threading.Lock()


@cache
def bundled() -> Instance:
    """The bundled instance."""
    return Instance.load("servicenow")


@cache
def default_model() -> Model:
    """The embedded model with the adapter that comes with the package, loaded once."""
    return load_tuned(ADAPTER)


def _prefixes(model: Model) -> PrefixCache:
    with _LOCK:
        return _PREFIXES.setdefault(id(model), PrefixCache())


def generate_flow(
    requirement: str,
    instance: Instance | None = None,
    model: Model | None = None,
    *,
    allow: Collection[str] | None = None,
    deny: Collection[str] | None = None,
    deadline: float | None = None,
    prior: Flow | None = None,
    placeholders: bool = True,
    max_tokens: int | None = None,
    seed: int | None = None,
    temperature: float = 0.0,
    effort: str = "fast",
    n: int = 1,
    on_event: OnEvent | None = None,
    _suggestions: Suggestions | None = None,
) -> FlowResult:
    """A valid flow for a requirement in plain words.

    Args:
        instance: whose steps, tables and columns it may use (default: the bundled one).
        model: what chooses (default: the embedded model).
        allow, deny: names of steps, triggers and tables that this request may, or may not, use.
        deadline: seconds after which the flow is ended as it stands, complete and valid.
        prior: a flow that the requirement is an instruction to change.
        placeholders: whether what the instance has no step for is left open, as a step that says so.
        max_tokens: of both stages together, forced tokens included; outlines that are given up do not count.
        seed, temperature: for sampling; 0 takes the most probable token each time.
        effort: "fast"; "best" also samples outlines and fills in the one that is most like all of them.
        n: how many distinct flows; those after the first are sampled and stand in `alternatives`, the most
            probable first.
        on_event: is told of each part as it becomes final.

    Raises:
        InvalidRequirement: the text is empty, too long, or no requirement.
        BudgetTooSmall: `max_tokens` leaves no room for a complete flow; the message names the minimum.
        UsageError: an argument makes no sense.

    >>> from flowdsl import generate_flow  # doctest: +SKIP
    >>> print(generate_flow("When an incident is created, email the caller").dsl)  # doctest: +SKIP
    """
    if effort not in {"fast", "best"}:
        raise UsageError(f"effort is 'fast' or 'best', not {effort!r}")
    if n < 1 or temperature < 0 or (max_tokens is not None and max_tokens < 1):
        raise UsageError("n and max_tokens are at least 1, temperature at least 0")
    whole = instance or bundled()
    offered = narrowed(whole, allow, deny)
    if not offered.steps:
        raise UsageError(f"the instance {whole.name!r} offers no step" + (" after allow and deny" if deny else ""))
    read = read_requirement(requirement, Search.of(whole).words, is_edit=prior is not None)
    chosen = model or default_model()
    ends = time.monotonic() + deadline if deadline is not None else None
    tokens = max_tokens or DEFAULT_TOKENS
    best = effort == "best"
    run = _Run(
        read, offered, whole, chosen, tokens, seed, temperature, ends, on_event, prior, placeholders, _suggestions, best
    )
    for warning in read.warnings:
        run.tell("warning", warning)
    first = run.flow()
    if n == 1:
        return first
    more = sorted(_more(run, first, n - 1), key=lambda result: -result.logprob)
    return replace(first, alternatives=tuple(more))


def _more(run: "_Run", first: FlowResult, count: int) -> Iterator[FlowResult]:
    """Further flows, each different from those before; fewer if sampling finds no more."""
    seen = {first.dsl}
    for attempt in range(4 * count):
        if len(seen) > count:
            return
        seed = (run.seed or 0) + attempt + 1
        result = replace(run, seed=seed, temperature=run.temperature or WARMTH, on_event=None, best=False).flow()
        if result.dsl not in seen:
            seen.add(result.dsl)
            yield result


@dataclass(frozen=True)
class _Run:
    """One request: everything that the two stages need."""

    requirement: Requirement
    instance: Instance
    whole: Instance
    model: Model
    max_tokens: int
    seed: int | None
    temperature: float
    ends: float | None
    on_event: OnEvent | None
    prior: Flow | None = None
    placeholders: bool = False
    suggestions: Suggestions | None = None
    best: bool = False

    def tell(self, event: str, text: str, **more: Any) -> None:
        if self.on_event is not None:
            self.on_event({"event": event, "text": text, **more})

    def flow(self) -> FlowResult:
        """Both stages, and what is to be said of the outcome."""
        started = time.perf_counter()
        drawn = self._outline()
        between = time.perf_counter()
        filled = self._inputs(drawn)
        ended = time.perf_counter()
        flow = filled.flow
        if issues := check_flow(flow, self.whole):
            raise FlowError(f"this should not happen, please report it: {issues[0]}", tuple(issues))
        scope = Scope.of(flow, self.whole)
        result = FlowResult(
            flow=flow,
            dsl=decompile(flow, self.whole),
            uncovered=uncovered(self.requirement.text, flow),
            assumptions=assumptions(self.requirement.text, scope),
            uncertain=(*drawn.uncertain, *filled.uncertain),
            warnings=self.requirement.warnings,
            stats=replace(filled.stats, seconds={"outline": between - started, "inputs": ended - between}),
            diff=tuple(changes(self.prior, flow, self.whole)) if self.prior is not None else (),
            decisions=filled.decisions,
        )
        self.tell("done", result.dsl)
        return result

    # -- stages --------------------------------------------------------------------------------

    def _outline(self) -> "_Drawn":
        """The first stage: an outline that leaves enough of the budget for its inputs.

        What its inputs are sure not to exceed may be more than what they take: if it does not fit, they are tried.
        """
        text = self.requirement.text
        start = Outline(
            self.instance,
            requirement=self._spans,
            unmatched=self._prompts.names.unmatched if self.placeholders else (),
            forms=forms_of(text) if self.instance.triggers else ("fragment", "subflow"),
            limits=Limits.for_requirement(text),
        )
        constraint = with_drafts(start.constraint(), outline_drafts(text, self.instance))
        shortest = closing_path(compile_grammar(self.model.vocabulary, constraint.grammar), constraint)
        least = self._needed(read_outline(self.model.vocabulary.decode(shortest), start))
        if (minimum := len(shortest) + sum(least.values())) > self.max_tokens:
            raise BudgetTooSmall(
                f"max_tokens is {self.max_tokens}, but the shortest flow for this instance takes {minimum}"
            )
        prompt = self._prompts.outline
        budget = self.max_tokens
        stats = FlowStats()
        while True:
            with ThreadPoolExecutor(max_workers=1) as ahead:
                decoded = self._decode(prompt, constraint, budget, self._stream(start, ahead))
            stats = stats.plus(decoded)
            if self.prior is not None:
                if decoded.text == outline_text(self.prior, self.whole):
                    decoded, stats = self._changed(decoded, constraint, budget, stats)
                if not self.best:
                    self._tell_lines(decoded.text)
            drawn = self._drawn(decoded, start, stats)
            spare = self.max_tokens - drawn.written - sum(drawn.needed.values())
            if spare >= 0:
                return self._agreed(decoded, drawn, start, constraint) if self.best else drawn
            if (filled := self._side_by_side(self._keeping(drawn))) is not None:
                return replace(drawn, filled=filled)  # its inputs took fewer tokens than what is sure to be enough
            if budget <= len(shortest):  # as short, but its inputs take more
                return self._shortest(start, shortest, least, stats)
            budget = max(len(shortest), min(budget - 1, drawn.written - 1, self._room(decoded.text, drawn.needed)))

    def _drawn(self, decoded: Decoded, start: Outline, stats: FlowStats) -> "_Drawn":
        state, written = read_outline(decoded.text, start), decoded.stats.output_tokens
        close = uncertain(None, decoded.text, decoded.choices)
        chosen = decisions(None, decoded.text, decoded.choices)
        return _Drawn(state, self._needed(state), written, replace(stats, output_tokens=written), close, chosen)

    def _room(self, outline: str, needed: Mapping[int | None, int]) -> int:
        """The tokens of as many lines of an outline as the budget takes with the fewest tokens of their inputs."""
        tokens = inputs = room = 0
        counts = iter(needed.values())
        for line in outline.splitlines(keepends=True):
            tokens += len(self.model.vocabulary.encode(line))
            inputs += next(counts, 0) if line.startswith(('"', "ON ")) else 0
            if tokens + inputs <= self.max_tokens:
                room = tokens
        return room

    def _shortest(
        self, start: Outline, tokens: Sequence[int], needed: Mapping[int | None, int], stats: FlowStats
    ) -> "_Drawn":
        """The outline that is sure to leave enough for its inputs."""
        text = self.model.vocabulary.decode(tokens)
        self._tell_lines(text)
        stats = replace(stats, output_tokens=len(tokens), finish_reason="budget")
        return _Drawn(read_outline(text, start), needed, len(tokens), stats)

    def _changed(
        self, same: Decoded, constraint: Constraint, budget: int, stats: FlowStats
    ) -> tuple[Decoded, FlowStats]:
        """Of sampled outlines the most probable that is not the one before the edit; that one if none is.

        Small models like to copy. An instruction asks for a change, so what is most probable is looked for among
        the changes. (Where only inputs change, the outline does, too: the instruction becomes an annotation.)
        """
        for warmth in (WARMTH, 2 * WARMTH):
            sampled = self._sampled(constraint, budget, warmth)
            stats = stats.plus(*sampled)
            other = [one for one in sampled if one.text != same.text and one.stats.finish_reason == "complete"]
            if other:
                return max(other, key=lambda one: sum(choice.logprob for choice in one.choices)), stats
        return same, stats

    def _agreed(self, first: Decoded, drawn: "_Drawn", start: Outline, constraint: Constraint) -> "_Drawn":
        """Of an outline and sampled ones the one that is most like all of them (outline FlowSim).

        The least Bayes risk: what the model is sure of is in most of them, what it guesses in few.
        """
        sampled = self._sampled(constraint, self.max_tokens, self.temperature or WARMTH)
        stats = drawn.stats.plus(*sampled)
        whole = [one for one in sampled if one.stats.finish_reason == "complete"]  # what was cut short has no say
        found = {first.text: drawn}
        for one in whole:
            if one.text not in found:
                found[one.text] = self._drawn(one, start, drawn.stats)
        flows = {text: one.state.flow for text, one in found.items()}

        def likeness(text: str) -> float:
            others = (flows[one.text] for one in (first, *whole))
            return sum(flow_similarity(flows[text], other, inputs=False) for other in others)

        fitting = [t for t, one in found.items() if one.written + sum(one.needed.values()) <= self.max_tokens]
        best = max(fitting, key=likeness)
        self._tell_lines(best)
        reason = drawn.stats.finish_reason if best == first.text else "complete"
        return replace(found[best], stats=replace(stats, output_tokens=found[best].written, finish_reason=reason))

    def _sampled(self, constraint: Constraint, budget: int, temperature: float) -> list[Decoded]:
        """Outlines beside the most probable one, side by side."""
        return decode_batch(
            self.model,
            self._prompts.outline,
            [Row((), constraint, budget, (self.seed or 0) + 1 + i) for i in range(SAMPLES)],
            temperature=temperature,
            cache=_prefixes(self.model),
            stop=self._is_over if self.ends is not None else None,
        )

    @cached_property
    def _prompts(self) -> Prompts:
        return Prompts(self.model, self.requirement.text, self.instance, self.whole, self.prior, self.suggestions)

    @property
    def _spans(self) -> str:
        """What annotations are spans of: the requirement, and what the prior flow's steps say."""
        prior = self.prior
        owners = (prior.trigger, *prior.components) if prior is not None else ()
        return "\n".join([self.requirement.text, *(o.annotation for o in owners if o is not None and o.annotation)])

    def _needed(self, state: Outline) -> dict[int | None, int]:
        """The fewest tokens that the inputs of the trigger and of each step take."""
        return {at: self._needed_at(state, at) for at in state.flow.owners}

    def _rehearse(self, state: Outline, at: int | None) -> None:
        self._needed_at(state, at)
        rehearse(self.model.vocabulary, self._constraint(state.scope(), at))

    def _needed_at(self, state: Outline, at: int | None) -> int:
        return minimum_tokens(self.model.vocabulary, inputs_constraint(state.scope(), at))

    def _inputs(self, drawn: "_Drawn") -> "_Filled":
        """The second stage: the inputs of the trigger and of every step, side by side.

        Where that takes more than the budget, or what one step says rules out what another one says (SLA
        percentages must rise, say), they are written one after the other, each knowing those before it.

        In an edit, steps whose lines are as they were keep their inputs, unless that gives a flow with issues.
        """
        if drawn.filled is not None:
            return drawn.filled
        known = self._keeping(drawn)
        filled = self._side_by_side(known) or self._in_order(known)
        if known is not drawn and check_flow(filled.flow, self.whole):
            return self._side_by_side(drawn) or self._in_order(drawn)
        return filled

    def _keeping(self, drawn: "_Drawn") -> "_Drawn":
        """What is left to write where the steps of an edit keep what they can."""
        if self.prior is None:
            return drawn
        state = drawn.state
        flow = kept(self.prior, state.flow, self.whole, state.loops)
        needed = {at: count for at, count in drawn.needed.items() if flow.owner(at) == state.flow.owner(at)}
        return replace(drawn, state=replace(state, trigger=flow.trigger, components=flow.components), needed=needed)

    def _side_by_side(self, drawn: "_Drawn") -> "_Filled | None":
        """None where that takes too much, or gives a flow with issues.

        Each row may take all that is left, so that none is cut if together they fit.
        """
        state, flow = drawn.state, drawn.state.flow
        left = self.max_tokens - drawn.written
        scope, prompts = state.scope(), self._prompts
        rows: dict[int | None, tuple[list[int], Constraint]] = {}
        for at in drawn.needed:
            constraint = self._constraint(scope, at)
            if constraint.grammar != NO_INPUTS:
                rows[at] = prompts.inputs(flow, state.loops, at), constraint
        shared = common_prefix(*(prompt for prompt, _ in rows.values()))
        decoded = decode_batch(
            self.model,
            next(iter(rows.values()))[0][:shared] if rows else [],
            [
                Row(tuple(prompt[shared:]), constraint, max(left, drawn.needed[at]), self._seed(at))
                for at, (prompt, constraint) in rows.items()
            ],
            temperature=self.temperature,
            cache=_prefixes(self.model),
            stop=self._is_over if self.ends is not None else None,
        )
        if sum(one.stats.output_tokens for one in decoded) > left:
            return None
        for at, one in zip(rows, decoded, strict=True):
            flow = fill(flow, at, one.text, self.instance, state.loops)
        if check_flow(flow, self.whole):
            return None
        filled = _Filled(flow, drawn.stats.plus(*decoded), drawn.uncertain, drawn.decisions)
        for at, one in zip(rows, decoded, strict=True):
            filled = self._told(filled, at, one)
        return filled

    def _in_order(self, drawn: "_Drawn") -> "_Filled":
        state, left = drawn.state, self.max_tokens - drawn.written
        filled = _Filled(state.flow, drawn.stats, drawn.uncertain, drawn.decisions)
        prompts, reserved = self._prompts, sum(drawn.needed.values())
        for at, needed in drawn.needed.items():
            reserved -= needed
            flow = filled.flow
            constraint = self._constraint(Scope.of(flow, self.instance, state.loops), at)
            if constraint.grammar == NO_INPUTS:
                continue
            decoded = self._decode(prompts.inputs(flow, state.loops, at), constraint, left - reserved, None)
            left -= decoded.stats.output_tokens
            flow = fill(flow, at, decoded.text, self.instance, state.loops)
            filled = self._told(replace(filled, flow=flow, stats=filled.stats.plus(decoded)), at, decoded)
        return filled

    def _constraint(self, scope: Scope, at: int | None) -> Constraint:
        return with_drafts(inputs_constraint(scope, at), inputs_drafts(self.requirement.text, scope, at))

    def _told(self, filled: "_Filled", at: int | None, decoded: Decoded) -> "_Filled":
        """Tells the inputs of a step; adds what was chosen in them, and what nearly went another way."""
        where = filled.flow.where(at)
        self.tell("inputs", decoded.text, where=where)
        close = uncertain(where, decoded.text, decoded.choices)
        chosen = decisions(where, decoded.text, decoded.choices)
        return replace(filled, uncertain=(*filled.uncertain, *close), decisions=(*filled.decisions, *chosen))

    def _seed(self, at: int | None) -> int | None:
        return None if self.seed is None else self.seed + (0 if at is None else at + 1)

    def _decode(
        self, prompt: Sequence[int], constraint: Constraint, budget: int, on_text: Callable[[str], None] | None
    ) -> Decoded:
        return decode(
            self.model,
            prompt,
            constraint,
            max_tokens=budget,
            temperature=self.temperature,
            seed=self.seed,
            cache=_prefixes(self.model),
            on_text=on_text,
            stop=self._is_over if self.ends is not None else None,
        )

    def _is_over(self) -> bool:
        return self.ends is not None and time.monotonic() > self.ends

    def _stream(self, start: Outline, ahead: Executor) -> Callable[[str], None]:
        """Takes the lines of an outline as they become final: tells them, and sees to the grammars of their inputs.

        A grammar takes some 50 ms to build, most of it beside the passes that write the next lines.
        """
        pending, state = "", start

        def on_text(text: str) -> None:
            nonlocal pending, state
            *lines, pending = (pending + text).split("\n")
            for line in lines:
                if not self.best and self.prior is None:
                    self._tell_lines(f"{line}\n")
                before, state = state, read_outline(f"{line}\n", state)
                if new := set(state.flow.owners) - set(before.flow.owners):
                    ahead.submit(self._rehearse, state, new.pop())

        return on_text

    def _tell_lines(self, outline: str) -> None:
        for line in outline.split("\n")[:-1]:
            self.tell("trigger" if line.startswith("ON ") else "step", line)


@dataclass(frozen=True)
class _Drawn:
    """An outline, what is sure to be enough for its inputs, and what it took; its inputs, if they are known already."""

    state: Outline
    needed: Mapping[int | None, int]
    written: int
    stats: FlowStats
    uncertain: tuple[Uncertain, ...] = ()
    decisions: tuple[Decision, ...] = ()
    filled: "_Filled | None" = None


@dataclass(frozen=True)
class _Filled:
    flow: Flow
    stats: FlowStats
    uncertain: tuple[Uncertain, ...]
    decisions: tuple[Decision, ...]


def fill_inputs(
    flow: Flow,
    instance: Instance | None = None,
    model: Model | None = None,
    *,
    steps: Collection[int] | None = None,
    requirement: str | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    temperature: float = 0.0,
    on_event: OnEvent | None = None,
) -> FlowResult:
    """The second stage alone: new inputs for a whole outline, or for some of its steps.

    Args:
        flow: an outline: of its inputs only the tables are read, unless `steps` says otherwise.
        steps: the orders of the steps to fill (0: the trigger); the others keep what they have.
        requirement: what the inputs should say; default: the annotations.

    Raises:
        InvalidFlow: the outline itself has issues that inputs cannot mend.
    """
    whole = instance or bundled()
    chosen = model or default_model()
    wanted = [at for at in flow.owners if steps is None or (0 if at is None else flow.components[at].order) in steps]
    text = requirement or " ".join(o.annotation for o in (flow.trigger, *flow.components) if o and o.annotation)
    run = _Run(Requirement(text), whole, whole, chosen, max_tokens or DEFAULT_TOKENS, seed, temperature, None, on_event)
    bare = without_inputs(flow, whole, wanted)
    loops = loop_tables(bare, whole)
    if issues := [issue for issue in check_flow(bare, whole) if issue.kind != "missing_input"]:
        raise InvalidFlow(f"the outline has issues: {issues[0]}", tuple(issues))
    state = Outline(whole, trigger=bare.trigger, components=bare.components, loops=loops)
    needed = {at: minimum_tokens(chosen.vocabulary, inputs_constraint(state.scope(), at)) for at in wanted}
    filled = run._inputs(_Drawn(state, needed, 0, FlowStats()))
    if issues := check_flow(filled.flow, whole):
        raise InvalidFlow(f"the steps that were not filled have issues: {issues[0]}", tuple(issues))
    return FlowResult(
        filled.flow,
        decompile(filled.flow, whole),
        uncertain=filled.uncertain,
        stats=filled.stats,
        decisions=filled.decisions,
    )
