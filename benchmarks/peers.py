"""The others: each writes the same text from the same prompt through `model.generate`, at its best.

What they could prepare in advance (reading the part of the prompt that all requests share, compiling their
grammar, which is one for the whole instance) is done before the clock starts.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessorList

from benchmarks.formats import json_schema, lark_grammar, plain_dsl, plain_json
from benchmarks.meter import Meter, metered
from benchmarks.teach import Teacher
from decoding import Model
from flowdsl import Flow, Instance

#: Makes the processors for one output; they serve once.
Processors = Callable[[], list[Any]]


@dataclass(frozen=True)
class Peer:
    """One way to write a flow.

    Attributes:
        text: what it writes of a flow.
        processors: what masks its logits.
        options: more arguments for `generate`.
        compiled: seconds that its grammar took.
    """

    name: str
    text: Callable[[Flow, Instance], str]
    processors: Processors
    options: dict[str, Any]
    compiled: float = 0.0

    def run(self, model: Model, prompt: Sequence[int], shared: Any, tokens: Sequence[int]) -> Meter:
        """Write `tokens` after `prompt`, the beginning of which has been read into the cache `shared`."""
        ids = torch.tensor([list(prompt)], device=model.device)
        processors = LogitsProcessorList([Teacher(len(prompt), tokens), *self.processors()])
        past = copy.deepcopy(shared)
        with torch.inference_mode(), metered(model.network) as meter:
            out = model.network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=past,
                max_new_tokens=len(tokens),
                min_new_tokens=len(tokens),
                do_sample=False,
                logits_processor=processors,
                pad_token_id=model.vocabulary.eos[0],
                **self.options,
            )
        written = out[0, len(prompt) :].tolist()
        if written != list(tokens):
            raise ValueError(f"{self.name} wrote {model.vocabulary.decode(written)[-60:]!r}")
        return meter


def peers(model: Model, instance: Instance) -> list[Peer]:
    """All of them, their grammars compiled."""
    made = [
        Peer("unconstrained generate", plain_dsl, list, {}),
        Peer("unconstrained, prompt look-up", plain_dsl, list, {"prompt_lookup_num_tokens": 8}),
    ]
    for make in (_outlines_cfg, _xgrammar, _outlines_json):
        begun = time.perf_counter()
        name, text, processors = make(model, instance)
        processors()
        made.append(Peer(name, text, processors, {}, time.perf_counter() - begun))
    return made


def _outlines_cfg(model: Model, instance: Instance) -> tuple[str, Callable[[Flow, Instance], str], Processors]:
    import outlines
    from outlines.backends import get_cfg_logits_processor

    steered = outlines.from_transformers(model.network, model.tokenizer)
    made = get_cfg_logits_processor(None, steered, lark_grammar(instance))

    def processors() -> list[Any]:
        made.reset()
        return [made]

    return "Outlines CFG, stock processor", plain_dsl, processors


def _xgrammar(model: Model, instance: Instance) -> tuple[str, Callable[[Flow, Instance], str], Processors]:
    import xgrammar
    from xgrammar.contrib.hf import LogitsProcessor

    info = xgrammar.TokenizerInfo.from_huggingface(model.tokenizer, vocab_size=model.vocabulary.size)
    grammar = xgrammar.Grammar.from_lark(lark_grammar(instance), tokenizer_info=info)
    compiled = xgrammar.GrammarCompiler(info).compile_grammar(grammar)
    return "XGrammar, HF processor", plain_dsl, lambda: [LogitsProcessor(compiled)]


def _outlines_json(model: Model, instance: Instance) -> tuple[str, Callable[[Flow, Instance], str], Processors]:
    """With the backend that is quicker here; the default one needs minutes for the schema."""
    import outlines
    from outlines.backends import get_json_schema_logits_processor

    steered = outlines.from_transformers(model.network, model.tokenizer)
    made = get_json_schema_logits_processor("llguidance", steered, json_schema(instance))

    def processors() -> list[Any]:
        made.reset()
        return [made]

    return "Outlines JSON schema", lambda flow, _: plain_json(flow), processors
