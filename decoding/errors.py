"""The errors that decoding raises on purpose: one clear message each, naming the cause and the remedy."""


class DecodingError(Exception):
    """Base of every error of this package."""


class GrammarError(DecodingError):
    """A grammar cannot be read, matches nothing, has a dead end, or outgrew the engine's limits."""


class ModelError(DecodingError):
    """A model, its tokenizer or its adapter cannot be loaded or used."""


class BudgetError(DecodingError):
    """`max_tokens` is too small for any complete output.

    Attributes:
        minimum: the smallest `max_tokens` that works for this constraint, in tokens.
    """

    def __init__(self, message: str, minimum: int):
        super().__init__(message)
        self.minimum = minimum


class DecodeError(DecodingError):
    """A pass went wrong: the model returned no usable logits, or it cannot take the input."""
