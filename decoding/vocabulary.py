"""The tokens of a model as the grammar engine sees them. Knows no model weights and no grammar."""

from __future__ import annotations

import base64
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import llguidance
import llguidance.hf
import numpy as np
import numpy.typing as npt

from decoding.errors import ModelError

_TEXT = r'[^"\\{}\x00-\x1F\x7F]'

#: Classes of tokens whose share of a mask is computed once per vocabulary: free text in double quotes
#: without escapes and braces. A slice helps where it is contained in the live terminal, so there is one
#: for each length that may be left of a bounded one. Measured with 131,072 tokens inside a terminal of at
#: most 120 characters, one thread: masks p50 2.2 ms without slices, 2.4 ms with llguidance's own (their
#: class contains the brace), 0.04 ms with these; p90 2.4 ms and 0.12 ms.
SLICES = (_TEXT + "{1,8}", _TEXT + "{1,16}", _TEXT + "{1,32}")

#: See `Vocabulary.closing_ranks`.
ENDING = 1 << 31


class Vocabulary:
    """A tokenizer for masks: ids, texts, and which ids end a sequence.

    Attributes:
        size: number of logits of the model, padding included (masks have this many bits).
        eos: ids that end a sequence, at least one.
        engine: the llguidance tokenizer behind it.

    Building one takes about half a second: keep it. It may be shared by threads.
    """

    def __init__(self, engine: llguidance.LLTokenizer):
        self.engine = engine
        self.size: int = engine.vocab_size
        self.eos: tuple[int, ...] = tuple(engine.eos_tokens)
        self.built: OrderedDict[str, Any] = OrderedDict()  # grammars by text, kept by `decoding.matcher`
        self.lock = threading.Lock()

    @classmethod
    def from_transformers(
        cls, tokenizer: Any, *, size: int | None = None, eos: int | Iterable[int] | None = None
    ) -> Vocabulary:
        """The vocabulary of a fast transformers tokenizer.

        Args:
            tokenizer: a `PreTrainedTokenizerFast`.
            size: number of logits of the model, when it is padded beyond the tokenizer.
            eos: id or ids that end a sequence; the tokenizer's own by default.

        Raises:
            ModelError: a slow-only tokenizer, no EOS token, or more tokens than logits.
        """
        from transformers import PreTrainedTokenizerFast

        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelError(
                f"{type(tokenizer).__name__} is not a fast tokenizer, and masks need one: save the model with a "
                "tokenizer.json (for Mistral's tekken.json load it with mistral_format=False)"
            )
        ids = _eos_ids(tokenizer.eos_token_id if eos is None else eos)
        if size is not None and len(tokenizer) > size:
            raise ModelError(
                f"the tokenizer has {len(tokenizer)} tokens but the model only {size} logits: "
                "they do not belong together, or the model's embeddings were not resized"
            )
        try:
            engine = llguidance.hf.from_tokenizer(tokenizer, n_vocab=size, eos_token=ids, slices=list(SLICES))
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the tokenizer cannot be used for masks: {error}") from None
        return cls(engine)

    @classmethod
    def embedded(cls) -> Vocabulary:
        """The vocabulary of the embedded model, without its weights.

        Raises:
            ModelError: the model is not there and cannot be fetched.
        """
        from transformers import AutoTokenizer

        from decoding.embedded import embedded_path

        return cls.from_transformers(AutoTokenizer.from_pretrained(embedded_path()))

    @classmethod
    def from_tekken(cls, path: str | Path | None = None, *, size: int | None = None) -> Vocabulary:
        """The vocabulary of a Mistral tekken file; by default Mistral-Nemo's, out of `mistral-common`.

        In such a file the special ids come first, so that the rank of a token is its id less their number.

        Raises:
            ModelError: the file is missing or not a tekken file, or `mistral-common` is not installed.
        """
        path = _nemo_tekken() if path is None else Path(path)
        try:
            data = json.loads(path.read_text("utf-8"))
            config = data["config"]
            total, offset = config["default_vocab_size"], config["default_num_special_tokens"]
            ranks = {base64.b64decode(t["token_bytes"]): t["rank"] + offset for t in data["vocab"][: total - offset]}
            named = {t["rank"]: t["token_str"] for t in data.get("special_tokens") or ()}
            pattern = config["pattern"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is not a readable tekken file ({error!r})") from None
        named = {0: "<unk>", 1: "<s>", 2: "</s>"} | named
        special = {named.get(i, f"<SPECIAL_{i}>"): i for i in range(offset)}
        engine = llguidance.LLTokenizer.from_tiktoken(  # type: ignore[attr-defined]  # missing from the stubs
            encoder=ranks,
            special_tokens=special,
            pattern=pattern,
            eos_token=special["</s>"],
            n_vocab=total if size is None else size,
            slices=list(SLICES),
        )
        return cls(engine)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every id, in order of id; b"" for padding. Made when first asked for (0.1 s)."""
        return [self.engine.decode_bytes([token]) for token in range(self.size)]

    @cached_property
    def closing_ranks(self) -> npt.NDArray[np.int64]:
        """How good each token is to end a text with: the lower the better, distinct, below 2**32.

        Tokens made of quotes, closing braces and newlines are below `ENDING`; then shorter ones come first.
        """
        texts = self.token_bytes
        lengths = np.array([min(len(text), 255) for text in texts], dtype=np.int64)
        others = np.array([bool(text.strip(b'"}\n')) for text in texts], dtype=np.int64)
        ranks: npt.NDArray[np.int64] = others * ENDING + (lengths << 22) + np.arange(self.size)
        return ranks

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as the model would write it: no special tokens added or read."""
        ids = self.engine.tokenize_str(text)
        if any(map(self.engine.is_special_token, ids)):
            return self.engine.greedy_tokenize(text)  # it spells one out: text all the same
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; incomplete UTF-8 becomes the replacement character."""
        return self.engine.decode_str(list(ids))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Bytes of `ids`: tokens may cut a character in two."""
        return self.engine.decode_bytes(list(ids))


def _eos_ids(eos: int | Iterable[int] | None) -> list[int]:
    ids = [] if eos is None else [eos] if isinstance(eos, int) else list(dict.fromkeys(eos))
    if not ids:
        raise ModelError("the tokenizer names no EOS token, so that no output could end: set its eos_token")
    return ids


def _nemo_tekken() -> Path:
    try:
        import mistral_common
    except ImportError:
        raise ModelError("the Mistral-Nemo vocabulary comes with mistral-common: pip install mistral-common") from None
    return Path(mistral_common.__file__).parent / "data" / "tekken_240718.json"
