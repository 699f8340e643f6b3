"""A prompted model behind an OpenAI-compatible endpoint, as a rival: two prompts, no tuning.

The first prompt asks for the outline, a second one for the inputs of each step. A server that takes a grammar
in the request (vLLM, SGLang, llama.cpp built with llguidance) can be sent the same grammars that the decoder
here uses: then each segment is one request that continues the answer so far. Otherwise what is written may
be wrong, and its errors are counted.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from string import Template
from typing import Any

import httpx

from decoding.constraint import Constraint
from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl, fill, read_dsl
from flowdsl.decompile import outline_text, step_line
from flowdsl.errors import EnvironmentNotReady, FlowIssue
from flowdsl.instance import Field, Instance, Step, TriggerType
from flowdsl.model import Flow
from flowdsl.outline import Limits, Outline, read_outline
from flowdsl.pairs import Pair
from flowdsl.requirement import forms_of
from flowdsl.retrieve import Search
from flowdsl.scope import Scope
from flowdsl.specialise import NO_INPUTS, inputs_constraint
from flowdsl.systems import Answer
from flowdsl.tables import header_input, owner_of
from flowdsl.unconstrained import headed
from grammars.kinds import LISTS, RECORDS
from grammars.spelling import spell_label, spell_name

Message = Mapping[str, str]

#: The environment variable that holds the key of the endpoint, if it wants one.
KEY = "FLOWDSL_API_KEY"
#: How often a request is tried that the server is too busy for, and the seconds between, doubled each time.
_TRIES, _PAUSE = 4, 1.0
_STEPS, _TRIGGERS, _TABLES, _COLUMNS, _LABELS, _PILLS = 12, 4, 5, 12, 8, 16
_FENCE = re.compile(r"```[a-z]*\n(.*?)(?:```|\Z)", re.DOTALL)


class EndpointError(EnvironmentNotReady):
    """The endpoint cannot be reached, or refuses."""


@dataclass(frozen=True)
class Endpoint:
    """A server that speaks OpenAI's chat completions.

    Attributes:
        url: up to and with ``/v1``.
        model: the name that the server knows it by.
        grammar: the field of the request that takes a grammar, dots for nesting (vLLM:
            ``structured_outputs.grammar``, before that ``guided_grammar``; llama.cpp: ``grammar``; SGLang:
            ``ebnf``); None: the server takes none.
        grammar_prefix: what the server wants before the Lark text (llama.cpp and SGLang: ``%llguidance {}``).
        max_tokens: of one answer.
    """

    url: str
    model: str
    grammar: str | None = None
    grammar_prefix: str = ""
    max_tokens: int = 1000
    timeout: float = 300.0
    client: httpx.Client = field(default_factory=httpx.Client, compare=False, repr=False)

    def complete(self, messages: Sequence[Message], grammar: str | None = None) -> tuple[str, Mapping[str, float]]:
        """The answer to messages, and the tokens that it took.

        If the last message is the assistant's, it is continued.

        Raises:
            EndpointError: with what the server said.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        if messages[-1]["role"] == "assistant":  # vLLM and SGLang; others continue it anyway, or begin anew
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if grammar is not None and self.grammar is not None:
            *outer, last = self.grammar.split(".")
            place = body
            for name in outer:
                place = place.setdefault(name, {})
            place[last] = self.grammar_prefix + ("\n" if self.grammar_prefix else "") + grammar
        data = self._post(body)
        try:
            text = data["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError):
            raise EndpointError(f"{self.url} answers something else than a chat completion") from None
        usage = data.get("usage") or {}
        took = {"prompt_tokens": usage.get("prompt_tokens", 0), "output_tokens": usage.get("completion_tokens", 0)}
        return str(text), took

    def _post(self, body: Mapping[str, Any]) -> Any:
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for left in reversed(range(_TRIES)):
            try:
                answer = self.client.post(
                    f"{self.url.rstrip('/')}/chat/completions", json=body, headers=headers, timeout=self.timeout
                )
                if answer.status_code in {429, 503} and left:
                    time.sleep(self._pause(answer, left))
                    continue
                if answer.is_error:
                    told = " ".join(answer.text.split())[:300]
                    hint = f" (is {KEY} set?)" if answer.status_code in {401, 403} else ""
                    raise EndpointError(f"{self.url} refuses, {answer.status_code}: {told}{hint}")
                return answer.json()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise EndpointError(f"{self.url} cannot be asked: {error or type(error).__name__}") from None
        raise AssertionError("unreachable")

    @staticmethod
    def _pause(answer: httpx.Response, left: int) -> float:
        said = answer.headers.get("retry-after", "")
        return min(60.0, float(said)) if said.replace(".", "", 1).isdigit() else _PAUSE * 2 ** (_TRIES - 1 - left)


@dataclass(frozen=True)
class Prompted:
    """The system: see the module."""

    endpoint: Endpoint

    @property
    def settings(self) -> Mapping[str, Any]:
        names = ("url", "model", "grammar", "max_tokens")
        return {"system": "prompted", **{name: getattr(self.endpoint, name) for name in names}}

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        took: dict[str, float] = {"requests": 0}
        prior = compile_dsl(pair.prior, instance) if pair.prior is not None else None
        asked = _Asked(self.endpoint, pair.requirement, instance, prior, took)
        try:
            text, flow, issues = asked.constrained() if self.endpoint.grammar else asked.free()
        except EndpointError as error:
            return Answer(error=str(error), took=took)
        kinds = tuple(issue.kind for issue in issues)
        return Answer(flow, kinds, text, took=took)


@dataclass(frozen=True)
class _Asked:
    """One requirement."""

    endpoint: Endpoint
    requirement: str
    instance: Instance
    prior: Flow | None
    took: dict[str, float]

    def free(self) -> tuple[str, Flow, list[FlowIssue]]:
        """Without grammars: what is written is read as far as it can be."""
        outline = _bare(self._complete(outline_prompt(self.requirement, self.instance, self._prior)))
        state, _ = read_dsl(outline, self.instance)
        scope, lines = Scope.of(state, self.instance), []
        for line, at, begins in headed(outline):
            lines.append(line)
            if not begins or at not in state.owners or not _takes(scope, at):
                continue
            prompt = inputs_prompt(self.requirement, scope, outline, at, line)
            lines += [f"  {text.strip()}" for text in _bare(self._complete(prompt)).split("\n") if ":" in text]
        text = "\n".join(lines) + "\n"
        flow, issues = read_dsl(text, self.instance)
        return text, flow, issues

    def constrained(self) -> tuple[str, Flow, list[FlowIssue]]:
        """With grammars: as `generate_flow` does it."""
        spans = [self.requirement]
        if self.prior is not None:
            spans += [o.annotation for o in (self.prior.trigger, *self.prior.components) if o and o.annotation]
        start = Outline(
            self.instance,
            requirement="\n".join(spans),
            forms=forms_of(self.requirement) if self.instance.triggers else ("fragment", "subflow"),
            limits=Limits.for_requirement(self.requirement),
        )
        prompt = outline_prompt(self.requirement, self.instance, self._prior)
        written = self._complete(prompt, start.constraint())
        state = read_outline(written, start)
        flow, parts = state.flow, [written]
        for at in flow.owners:
            scope = Scope.of(flow, self.instance, state.loops)
            constraint = inputs_constraint(scope, at)
            if constraint.grammar != NO_INPUTS:
                line = _line(scope, at)
                text = self._complete(inputs_prompt(self.requirement, scope, written, at, line), constraint)
                parts.append(text)
                flow = fill(flow, at, text, self.instance, state.loops)
        return "".join(parts), flow, check_flow(flow, self.instance)

    def _complete(self, messages: Sequence[Message], constraint: Constraint | None = None) -> str:
        """One answer; under a constraint one request for each of its segments."""
        written = ""
        while True:
            so_far = [{"role": "assistant", "content": written}] if written else []
            text, took = self.endpoint.complete([*messages, *so_far], constraint.grammar if constraint else None)
            for name, number in {**took, "requests": 1}.items():
                self.took[name] = self.took.get(name, 0) + number
            written += text
            constraint = constraint.after(text) if constraint is not None else None
            if constraint is None:
                return written

    @property
    def _prior(self) -> str:
        return outline_text(self.prior, self.instance) if self.prior is not None else ""


def _bare(answer: str) -> str:
    """An answer without fences and without what is said before and after them."""
    fenced = _FENCE.search(answer)
    return (fenced[1] if fenced else answer).strip("\n")


def _takes(scope: Scope, at: int | None) -> bool:
    """Whether there is anything to fill in."""
    _, definition = owner_of(scope, at)
    named = header_input(definition)
    return definition is not None and any(one != named for one in definition.inputs)


def _line(scope: Scope, at: int | None) -> str:
    if at is None:
        return outline_text(Flow(trigger=scope.trigger), scope.instance).rstrip("\n")
    return step_line(scope, at)


# -- prompts -----------------------------------------------------------------------------------


@cache
def template(name: str) -> tuple[str, Template]:
    """The system text and the user's template of a file in `prompts/`."""
    text = (resources.files("flowdsl") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    system, user = text.removeprefix("[system]\n").split("[user]\n")
    return system.strip(), Template(user.strip())


def outline_prompt(requirement: str, instance: Instance, prior: str = "") -> list[dict[str, str]]:
    """The prompt of the first stage.

    >>> messages = outline_prompt("Every day, log hello", Instance.load("servicenow"))
    >>> messages[1]["content"].splitlines()[0], messages[1]["content"].splitlines()[-1]
    ('Triggers:', 'Requirement: Every day, log hello')
    """
    search = Search.of(instance)
    system, user = template("prompted_outline")
    content = user.substitute(
        triggers=_listed(search.triggers(requirement, _TRIGGERS)),
        steps=_listed(search.steps(requirement, _STEPS)),
        tables="\n".join(f"- {table.name}: {table.label}" for table in search.tables(requirement, _TABLES)) or "- none",
        prior=f"Change this workflow:\n{prior}" if prior else "",
        requirement=requirement,
    )
    return _messages(system, content)


def inputs_prompt(requirement: str, scope: Scope, outline: str, at: int | None, line: str) -> list[dict[str, str]]:
    """The prompt of the second stage for one step (`at` None: the trigger)."""
    system, user = template("prompted_inputs")
    owner, definition = owner_of(scope, at)
    named = header_input(definition)
    inputs = [_described(one) for one in definition.inputs if one != named] if definition is not None else []
    table = scope.table(at)
    words = f"{owner.annotation or ''} {requirement}"
    columns = Search.of(scope.instance).columns(table, words, _COLUMNS) if table else []
    content = user.substitute(
        requirement=requirement,
        outline=outline.strip("\n"),
        step=f"the trigger: {line}" if at is None else f"step {at + 1}: {line}",
        inputs="; ".join(inputs) or "none",
        fields="; ".join(map(_described, columns)) or "none",
        pills=", ".join(_pills(scope, at)) or "none",
    )
    return _messages(system, content)


def _messages(system: str, content: str) -> list[dict[str, str]]:
    lines = "\n".join(line for line in content.splitlines() if line)
    return [{"role": "system", "content": system}, {"role": "user", "content": lines}]


def _listed(items: Sequence[Step] | Sequence[TriggerType]) -> str:
    return "\n".join(f"- {spell_name(i.name)}: {i.label}. {i.description}".rstrip(" .") for i in items) or "- none"


def _described(one: Field) -> str:
    labels = [spell_label(choice.label) for choice in one.choices[:_LABELS]]
    what = ", ".join(labels) if labels else f"{one.type} {one.reference}" if one.reference else one.type
    return f"{spell_name(one.name)} ({what}{', needed' if one.mandatory else ''})"


def _pills(scope: Scope, at: int | None) -> Iterator[str]:
    for source in list(scope.sources(at))[::-1][:_PILLS]:
        typed = source.typed
        of = f" ({typed.kind}{' of ' + typed.table if typed.table else ''})" if typed.kind in RECORDS | LISTS else ""
        yield f"{{{{{source.path}}}}}{of}"
