"""Grammar-constrained decoding: tokens, masks, passes. Knows nothing of what the text means.

The names below are loaded when first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decoding.budget import closing_path, minimum_tokens
    from decoding.cache import PrefixCache, common_prefix
    from decoding.constraint import Constraint, with_drafts
    from decoding.decoder import Row, decode, decode_batch
    from decoding.draft import rehearse
    from decoding.embedded import embedded_path
    from decoding.errors import BudgetError, DecodeError, DecodingError, GrammarError, ModelError
    from decoding.matcher import Matcher, compile_grammar
    from decoding.model import Model, load_model, load_tuned
    from decoding.processor import GrammarProcessor
    from decoding.result import Choice, Decoded, Stats
    from decoding.vocabulary import Vocabulary

_HOMES = {
    "budget": ("closing_path", "minimum_tokens"),
    "cache": ("PrefixCache", "common_prefix"),
    "constraint": ("Constraint", "with_drafts"),
    "decoder": ("Row", "decode", "decode_batch"),
    "draft": ("rehearse",),
    "embedded": ("embedded_path",),
    "errors": ("BudgetError", "DecodeError", "DecodingError", "GrammarError", "ModelError"),
    "matcher": ("Matcher", "compile_grammar"),
    "model": ("Model", "load_model", "load_tuned"),
    "processor": ("GrammarProcessor",),
    "result": ("Choice", "Decoded", "Stats"),
    "vocabulary": ("Vocabulary",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BudgetError",
    "Choice",
    "Constraint",
    "DecodeError",
    "Decoded",
    "DecodingError",
    "GrammarError",
    "GrammarProcessor",
    "Matcher",
    "Model",
    "ModelError",
    "PrefixCache",
    "Row",
    "Stats",
    "Vocabulary",
    "closing_path",
    "common_prefix",
    "compile_grammar",
    "decode",
    "decode_batch",
    "embedded_path",
    "load_model",
    "load_tuned",
    "minimum_tokens",
    "rehearse",
    "with_drafts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
