"""Making a model write a given text, so that everybody in a comparison writes the same one.

Every pass, mask and decision takes place as ever; only the logit of the token that goes on with the text is
raised before the decision. What it takes does not depend on how good the model is.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers import LogitsProcessor

import decoding.decoder as decoder
from decoding import Vocabulary
from decoding.choose import choose
from decoding.lane import Logits
from decoding.output import Bits
from decoding.writer import Writer

RAISED = 1e5


class Strayed(Exception):
    """The grammar does not let the text through."""


class Teacher(LogitsProcessor):
    """For `generate`: raises each token of `text` in turn. Comes before the processor that masks."""

    def __init__(self, prompt: int, tokens: Sequence[int]):
        self.prompt, self.tokens = prompt, list(tokens)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        at = input_ids.shape[1] - self.prompt
        if at < len(self.tokens):
            scores[:, self.tokens[at]] += RAISED
        return scores


@contextmanager
def taught(vocabulary: Vocabulary, texts: Sequence[str]) -> Iterator[None]:
    """Outputs of `decode` and `decode_batch` meanwhile: the first is the first of `texts`, and so on.

    Raises:
        Strayed: in the call that is made to write something that its grammar does not accept.
    """
    left = list(texts)
    wanted: dict[int, bytes] = {}
    make = decoder._writer

    def taught_writer(*args: Any) -> Writer:
        made = make(*args)
        if not left:
            raise Strayed("more outputs than texts")
        wanted[id(made.output)] = left.pop(0).encode()
        made.sample = lambda allowed: int(allowed.argmax())
        made.decide = lambda row, bits, *rest: choose(_raised(row, bits, made), bits, *rest)
        return made

    def _raised(row: Logits, bits: Bits, made: Writer) -> Logits:
        text = wanted[id(made.output)]
        written = vocabulary.decode_bytes(made.output.tokens)
        if not text.startswith(written):
            raise Strayed(f"{written[-40:]!r} instead of {text[len(written) - 10 :][:40]!r}")
        row = row.copy()
        row[next_token(vocabulary, text[len(written) :], bits)] = RAISED
        return row

    with mock.patch.object(decoder, "_writer", taught_writer):
        yield


def next_token(vocabulary: Vocabulary, rest: bytes, bits: Bits) -> int:
    """The token that goes on with `rest`: as the tokenizer cuts it, or else the longest that is allowed."""
    if rest:
        usual = vocabulary.encode(rest.decode("utf-8", "ignore"))[:1]
        if usual and bits[usual[0]]:
            return usual[0]
        texts = vocabulary.token_bytes
        fits: list[int] = [
            token for token in np.flatnonzero(bits).tolist() if texts[token] and rest.startswith(texts[token])
        ]
        if fits:
            fits.sort(key=lambda token: len(texts[token]))
            return fits[-1]
    ends = [token for token in vocabulary.eos if bits[token]]
    if not ends:
        raise Strayed(f"{rest[:40]!r} is not in the grammar")
    return ends[0]
