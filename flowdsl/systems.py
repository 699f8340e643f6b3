"""What turns a requirement into a flow, to be judged: models, and rivals that need none.

A system answers pairs one by one. It sees the requirement, the prior flow and the instance, never the
reference; but for one that is told the names that the reference uses, to see what better suggestions would
be worth.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.errors import FlowError
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.pairs import Pair
from flowdsl.renamed import Renamed
from flowdsl.retrieve import Suggestions, named_first, stems
from flowdsl.similarity import flow_similarity

if TYPE_CHECKING:
    from decoding import Model

#: A constant flow has at most so many steps; the best is looked for among so many, by so many others.
_SHORT, _CANDIDATES, _JUDGES = 3, 40, 120


@dataclass(frozen=True)
class Answer:
    """What a system made of a requirement.

    Attributes:
        flow: the flow, as far as there is one.
        issues: the kinds of what is wrong with it, in order; of a text, also where it could not be read.
        text: what was written, where there is more to it than the flow.
        error: why there is no flow.
        took: tokens and passes, by the names of `FlowStats`.
    """

    flow: Flow | None = None
    issues: tuple[str, ...] = ()
    text: str = ""
    error: str | None = None
    took: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, flow: Flow, instance: Instance) -> "Answer":
        """A flow that is right or not; it is checked here."""
        return cls(flow, tuple(issue.kind for issue in check_flow(flow, instance)))


class System(Protocol):
    """`settings` is all that its answers depend on, as JSON: a run goes on only under the same."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def answer(self, pair: Pair, instance: Instance) -> Answer: ...


@dataclass(frozen=True)
class Generator:
    """`generate_flow` with some model.

    Attributes:
        described: what the model is, as JSON.
        options: of `generate_flow`.
        suggestions: see `chosen_names`.
    """

    model: "Model"
    described: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    suggestions: str = "retrieved"

    @property
    def settings(self) -> Mapping[str, Any]:
        options = dict(self.options) | {"suggestions": self.suggestions}
        return {"system": "generate", **self.described, "options": options}

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        from decoding.errors import DecodingError
        from flowdsl.generate import generate_flow

        prior = None if pair.prior is None else compile_dsl(pair.prior, instance)
        names = chosen_names(self.suggestions, pair, instance)
        try:
            result = generate_flow(
                pair.requirement, instance, self.model, prior=prior, _suggestions=names, **self.options
            )
        except (FlowError, DecodingError) as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        stats = {name: value for name, value in asdict(result.stats).items() if isinstance(value, int | float)}
        answer = Answer.of(result.flow, instance)
        return Answer(result.flow, answer.issues, took=stats)


def chosen_names(kind: str, pair: Pair, instance: Instance) -> Suggestions | None:
    """What the outline prompt lists.

    Args:
        kind: "retrieved": what the search finds (None); "none": nothing; "perfect": the trigger, the steps and
            the tables of the reference, in the order of the catalogue, filled up with what the search finds.
    """
    from flowdsl.tuned import STEPS, TABLES, TRIGGERS, suggested, used

    if kind == "retrieved":
        return None
    found = suggested(instance, pair.requirement)
    if kind == "none":
        return replace(found, triggers=(), steps=(), tables=())
    wanted = used(compile_dsl(pair.flow, instance), instance)
    return replace(
        found,
        triggers=named_first(wanted.triggers, found.triggers, TRIGGERS),
        steps=named_first(wanted.steps, found.steps, STEPS),
        tables=named_first(wanted.tables, found.tables, TABLES),
    )


def adapter_digest(folder: str | Path) -> str | None:
    """SHA-256 over the files of an adapter, in order of name; None if there is no such folder."""
    folder = Path(folder)
    if not folder.is_dir():
        return None
    hashed = sha256()
    for path in sorted(folder.glob("adapter*")):
        hashed.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


def uniform_model(model: "Model") -> "Model":
    """A model with the tokens of another that finds every token equally likely: it cannot choose.

    Sampled at temperature 1, it draws uniformly among the tokens that the grammar allows.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from decoding import Model

    config = LlamaConfig(
        vocab_size=model.vocabulary.size,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=model.positions,
        tie_word_embeddings=False,
    )
    network: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        network.get_output_embeddings().weight.zero_()
    network.generation_config.eos_token_id = getattr(model.network.generation_config, "eos_token_id", None)
    return Model.of(network.to(model.device), model.tokenizer, "uniform")


def random_model(model: "Model", seed: int = 0) -> "Model":
    """A model of the same make that has learned nothing: random weights."""
    import torch
    from transformers import AutoModelForCausalLM

    from decoding import Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make: Any = AutoModelForCausalLM
        network = make.from_config(model.network.config, dtype=model.dtype)
    network.generation_config = model.network.generation_config
    return Model.of(network.to(model.device), model.tokenizer, f"{model.name}, random weights")


# -- rivals without a model --------------------------------------------------------------------


def digest(pairs: Sequence[Pair]) -> str:
    """A hash of what the pairs hold."""
    return sha256("\n".join(sorted(pair.id + pair.flow for pair in pairs)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Nearest:
    """The flow of the training pair that is worded most alike (cosine of tf-idf over stems), as it is.

    Pairs of the same instance come first, if there are any. Of an edit, the prior flow as it is.
    """

    pairs: tuple[Pair, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"system": "nearest", "train": digest(self.pairs)}

    @cached_property
    def _rows(self) -> tuple[dict[str, float], ...]:
        return tuple(self._row(pair.requirement) for pair in self.pairs)

    @cached_property
    def _weights(self) -> dict[str, float]:
        seen = Counter(stem for pair in self.pairs for stem in set(stems(pair.requirement)))
        return {stem: math.log(1 + len(self.pairs) / n) for stem, n in seen.items()}

    def _row(self, text: str) -> dict[str, float]:
        row = {stem: n * self._weights.get(stem, 0.0) for stem, n in Counter(stems(text)).items()}
        length = math.sqrt(sum(value * value for value in row.values())) or 1.0
        return {stem: value / length for stem, value in row.items()}

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        if pair.prior is not None:
            return Answer(compile_dsl(pair.prior, instance))
        wanted = self._row(pair.requirement)
        best, found = (False, -1.0), None
        for other, row in zip(self.pairs, self._rows, strict=True):
            if other.id != pair.id:
                score = (other.instance == pair.instance, sum(wanted.get(stem, 0.0) * v for stem, v in row.items()))
                if found is None or score > best:
                    best, found = score, other
        return (
            Answer.of(found.compiled(), instance) if found is not None else Answer(error="there are no pairs to copy")
        )


@dataclass(frozen=True)
class Constant:
    """One short flow for all of an instance: of some training flows the one most like others (FlowSim)."""

    pairs: tuple[Pair, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"system": "constant", "train": digest(self.pairs)}

    @cached_property
    def _flows(self) -> dict[str, Flow | None]:
        return {}

    def flow(self, instance: str) -> Flow | None:
        """The flow for an instance: of its own pairs if there are any, else of all. None if there is no pair."""
        if instance not in self._flows:
            own = [pair for pair in self.pairs if pair.instance == instance] or self.pairs
            spread = sorted(own, key=lambda pair: sha256(pair.id.encode()).digest())
            judges = [pair.compiled() for pair in spread if pair.prior is None][:_JUDGES]
            flows = [flow for flow in judges if len(flow.components) <= _SHORT][:_CANDIDATES] or judges[:1]
            best = max(flows, key=lambda flow: sum(flow_similarity(flow, judge) for judge in judges), default=None)
            self._flows[instance] = best
        return self._flows[instance]

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        flow = self.flow(pair.instance)
        return Answer(error="there are no pairs to copy") if flow is None else Answer.of(flow, instance)


@dataclass(frozen=True)
class UnderOtherNames:
    """Another system, asked for flows of the renamed instance; its answers are judged under the old names."""

    system: System
    style: str

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**self.system.settings, "rename": self.style}

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        other = Renamed.of(instance, self.style)
        answer = self.system.answer(other.pair(pair), other.instance)
        return answer if answer.flow is None else replace(answer, flow=other.back.flow(answer.flow))
