"""A grammar at work on one row of tokens. Raises where llguidance would go on in a silent error state."""

from __future__ import annotations

from collections.abc import Sequence

import llguidance
import numpy as np
import numpy.typing as npt

from decoding.errors import GrammarError
from decoding.vocabulary import Vocabulary

Mask = npt.NDArray[np.int32]

#: llguidance's own limits are met by grammars of 10^5 names, and the ones on a step only at run time, in
#: the middle of an output. A grammar text is ours, not a stranger's: what builds must also run.
LIMITS = llguidance.LLParserLimits(
    max_items_in_row=1_000_000,
    initial_lexer_fuel=200_000_000,
    step_lexer_fuel=200_000_000,
    step_max_items=50_000_000,
    max_lexer_states=10_000_000,
    max_grammar_size=100_000_000,
    verbose_errors=False,
)

#: Built grammars kept per vocabulary: at most so many, and at most so many characters of grammar text.
KEPT_GRAMMARS, KEPT_CHARACTERS = 256, 32_000_000


class Matcher:
    """The state of one output under one grammar; made by `compile_grammar`.

    Not for use by several threads at once (`copy` it instead).

    Attributes:
        vocabulary: the tokens it speaks.
        engine: the llguidance matcher behind it.
    """

    def __init__(self, vocabulary: Vocabulary, engine: llguidance.LLMatcher):
        self.vocabulary = vocabulary
        self.engine = engine
        self.check()

    def mask(self) -> Mask:
        """The allowed next tokens: int32 array of ``ceil(size / 32)`` words, bit i % 32 of word i // 32.

        EOS ids are allowed where the output may end. At a forced point only the forced token is.

        Raises:
            GrammarError: nothing can follow (the grammar has a dead end), or a limit was hit.
        """
        mask = np.zeros((self.vocabulary.size + 31) // 32, dtype=np.int32)
        self.engine.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self.check()
        if not mask.any():
            raise GrammarError("dead end in the grammar: no token can follow")
        return mask

    def allowed(self) -> list[int]:
        """The allowed next tokens as ids, rising: `mask` for people and tests."""
        ids: list[int] = allowed_ids(self.mask()).tolist()
        return ids

    def forced(self) -> list[int]:
        """The tokens that must come next, [] where there is a choice (to end is one, too)."""
        tokens = self.engine.compute_ff_tokens()
        self.check()
        words = self.vocabulary
        if any(map(words.engine.is_special_token, tokens)):  # literal text such as "<|im_end|>": no end is meant
            spelled = [part for token in tokens for part in words.encode(words.decode([token]))]
            if self.accepts(spelled) == len(spelled):
                return spelled
        return tokens

    def accepts(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` could be consumed from here; changes nothing."""
        count = self.engine.validate_tokens(list(tokens))
        self.check()
        return count

    def consume(self, tokens: Sequence[int]) -> None:
        """Go on by `tokens`.

        Raises:
            GrammarError: the grammar does not allow them; the state is then what it was before.
        """
        tokens = list(tokens)
        count = self.accepts(tokens)
        if count < len(tokens):
            text = self.vocabulary.engine.dbg_tokens(tokens[count : count + 1])
            raise GrammarError(f"token {count} of {len(tokens)}, {text}, is not allowed here")
        self.engine.consume_tokens(tokens)
        self.check()

    def rollback(self, count: int) -> None:
        """Undo the last `count` consumed tokens.

        Raises:
            GrammarError: there were fewer, or the grammar uses ``max_tokens=`` or ``stop=``.
        """
        if count:
            self.engine.rollback(count)
            self.check()

    def copy(self) -> Matcher:
        """An independent matcher in the same state (5 to 200 microseconds)."""
        return Matcher(self.vocabulary, self.engine.deep_copy())

    @property
    def accepting(self) -> bool:
        """Whether the output may end here."""
        return self.engine.is_accepting()

    @property
    def stopped(self) -> bool:
        """Whether the output must end here."""
        return self.engine.is_stopped()

    def check(self) -> None:
        """Raise what the engine has silently run into, if anything."""
        if self.engine.is_error():
            raise GrammarError(_message(self.engine))


def compile_grammar(vocabulary: Vocabulary, text: str) -> Matcher:
    """A matcher at the start of the grammar `text` (Lark as llguidance reads it).

    Built grammars are kept with the vocabulary, by text; this hands out copies. Thread-safe.

    Raises:
        GrammarError: the text is not a grammar (with llguidance's message and place), or matches nothing.
    """
    with vocabulary.lock:
        pristine: Matcher | None = vocabulary.built.get(text)
        if pristine is not None:
            vocabulary.built.move_to_end(text)
            return pristine.copy()
    grammar = llguidance.LLMatcher.grammar_from_lark(text)
    pristine = Matcher(vocabulary, llguidance.LLMatcher(vocabulary.engine, grammar, log_level=0, limits=LIMITS))
    pristine.mask()  # meets the limits and a dead start now, and warms the lexer for every copy
    with vocabulary.lock:
        built = vocabulary.built
        built[text] = pristine
        characters = sum(map(len, built))
        while len(built) > 1 and (len(built) > KEPT_GRAMMARS or characters > KEPT_CHARACTERS):
            characters -= len(built.popitem(last=False)[0])
        return pristine.copy()


def allowed_bits(mask: Mask, size: int) -> npt.NDArray[np.bool_]:
    """A packed mask as `size` booleans."""
    return np.unpackbits(mask.view(np.uint8), count=size, bitorder="little").view(np.bool_)


def allowed_ids(mask: Mask) -> npt.NDArray[np.int64]:
    """The ids in a packed mask, rising.

    >>> allowed_ids(np.array([5, 1], dtype=np.int32)).tolist()
    [0, 2, 32]
    """
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))


def _message(engine: llguidance.LLMatcher) -> str:
    message = engine.get_error().replace("<non-verbose/>", "").strip()
    reason = engine.stop_reason()
    if reason == "InternalError" and "NoExtension" in message:
        return "dead end in the grammar: no token can follow"
    if reason in ("ParserTooComplex", "LexerTooComplex") and "doesn't satisfy" not in message:
        message = f"{message} ({reason}: write long lists of names as terminals, not as rule alternatives)"
    return message or f"the grammar engine stopped: {reason}"
