"""What a model thought of a text, worked out the plain way: one pass over all of it, a mask at each position."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from decoding import Constraint, Decoded, Model, compile_grammar


@dataclass(frozen=True)
class Recomputed:
    """Of each position at which more than one token is allowed: log p of what came, and the mass masked away."""

    logprobs: tuple[float, ...]
    removed: tuple[float, ...]


@torch.inference_mode()
def recompute(model: Model, prompt: Sequence[int], constraint: Constraint, decoded: Decoded) -> Recomputed:
    """From the prompt, the constraint and the tokens alone; the model may have only one EOS id."""
    (eos,) = model.vocabulary.eos
    logits = model.network(torch.tensor([[*prompt, *decoded.tokens]]), use_cache=False).logits[0]
    rows = torch.log_softmax(logits[len(prompt) - 1 :].double(), -1)
    decided = len(decoded.tokens) - decoded.stats.closing_tokens
    logprobs, removed, at = [], [], 0
    segment: Constraint | None = constraint
    for text in decoded.segments:
        assert segment is not None
        matcher = compile_grammar(model.vocabulary, segment.grammar)
        done = b""
        while at <= decided and not matcher.stopped:
            ends = done == text.encode()
            if at == decided and not (ends and decoded.stats.finish_reason == "complete"):
                break
            token = eos if ends else decoded.tokens[at]
            allowed = matcher.allowed()
            assert token in allowed
            if len(allowed) > 1:
                kept = torch.logsumexp(rows[at][allowed], 0)
                logprobs.append(float(rows[at][token] - kept))
                removed.append(float(1 - kept.exp()))
            if ends:
                break
            matcher.consume([token])
            done += model.vocabulary.decode_bytes([token])
            at += 1
        segment = segment.after(text)
    return Recomputed(tuple(logprobs), tuple(removed))
