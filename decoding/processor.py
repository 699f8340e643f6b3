"""Masks for whoever runs the passes: Outlines, or transformers' own `generate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import llguidance
import llguidance.torch
import torch
from outlines.processors.base_logits_processor import OutlinesLogitsProcessor

from decoding.cache import common_prefix
from decoding.errors import DecodeError
from decoding.mask import apply_masks
from decoding.matcher import Matcher, compile_grammar
from decoding.vocabulary import Vocabulary


@dataclass
class _Row:
    """A matcher and the output tokens that it has consumed, all of them accepted."""

    tokens: list[int]
    matcher: Matcher


class GrammarProcessor(OutlinesLogitsProcessor):
    """A logits processor with a grammar for each row.

    A pure function of the input ids: what rows were before only saves work. So beams may swap rows and
    prompt look-up may take tokens back. The width of the prompt is that of the first call after `reset`
    (Outlines calls it; a call whose rows do not begin with that prompt starts anew by itself). Rows that
    have ended, and rows that are no prefix of a sentence (rejected drafts), are left alone.

    Args:
        vocabulary: of the model whose logits come.
        grammars: one Lark text for all rows, or one for each prompt. With several rows a prompt (beams,
            several samples) neighbouring rows share the prompt's grammar.

    Raises:
        GrammarError: a grammar is wrong; now, not at the first token.

    Example::

        model = load_model()
        outlined = outlines.from_transformers(model.network, model.tokenizer)
        processor = GrammarProcessor(model.vocabulary, 'start: "yes" | "no"')
        outlines.Generator(outlined, processor=processor)("Is the sky blue?", max_new_tokens=4)
    """

    def __init__(self, vocabulary: Vocabulary, grammars: str | Sequence[str]):
        super().__init__("torch")
        self.vocabulary = vocabulary
        texts = [grammars] if isinstance(grammars, str) else list(grammars)
        self._starts = [compile_grammar(vocabulary, text) for text in texts]
        self._executor = llguidance.LLExecutor()
        self._eos = set(vocabulary.eos)
        self.reset()

    def reset(self) -> None:
        """Forget the prompt: the next call brings a new one."""
        self._prompt: torch.Tensor | None = None
        self._rows: list[_Row] = []

    def process_logits(  # type: ignore[override]  # its base class takes every tensor library
        self, input_ids: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Masked logits.

        Args:
            input_ids: (rows, tokens), prompt and output so far.
            logits: (rows, vocabulary), of the next token.

        Raises:
            DecodeError: the number of rows is no multiple of the number of grammars.
            GrammarError: a grammar hit a limit or a dead end.
        """
        rows = input_ids.shape[0]
        if rows % len(self._starts):
            raise DecodeError(f"{rows} rows cannot share {len(self._starts)} grammars: give one for each prompt")
        if self._prompt is None or not self._begins(input_ids):
            self._prompt, self._rows = input_ids.clone(), []
        outputs = input_ids[:, self._prompt.shape[1] :].tolist()
        self._rows, live = self._follow(outputs)
        if not live:
            return logits
        masks = torch.full((rows, (self.vocabulary.size + 31) // 32), -1, dtype=torch.int32)
        jobs = [(self._rows[row].matcher.engine, row) for row in live]
        llguidance.torch.fill_next_token_bitmask_par(self._executor, jobs, masks)
        for row in live:
            self._rows[row].matcher.check()
        masked = apply_masks(logits, masks)
        if len(live) == rows:
            return masked
        alive = torch.zeros(rows, 1, dtype=torch.bool)
        alive[live] = True
        return torch.where(alive.to(logits.device), masked, logits)

    def _begins(self, input_ids: torch.Tensor) -> bool:
        prompt = self._prompt
        if prompt is None or len(prompt) != len(input_ids) or input_ids.shape[1] < prompt.shape[1]:
            return False
        return bool(torch.equal(input_ids[:, : prompt.shape[1]], prompt))

    def _follow(self, outputs: list[list[int]]) -> tuple[list[_Row], list[int]]:
        """A matcher for each output, and the rows that still go on."""
        share = len(outputs) // len(self._starts)
        sources = [self._source(row, output, share) for row, output in enumerate(outputs)]
        uses = Counter(source for source in sources if source is not None)
        rows, live = [], []
        for row, (source, output) in enumerate(zip(sources, outputs, strict=True)):
            if source is None:
                state = _Row([], self._starts[row // share].copy())
            else:
                uses[source] -= 1
                old = self._rows[source]
                state = _Row(list(old.tokens), old.matcher.copy()) if uses[source] else old
            if self._advance(state, output):
                live.append(row)
            rows.append(state)
        return rows, live

    def _source(self, row: int, output: list[int], share: int) -> int | None:
        """The old row of the same grammar that shares most with `output`; itself if that is as good."""
        if not self._rows:
            return None
        first = row // share * share
        common = {old: common_prefix(self._rows[old].tokens, output) for old in range(first, first + share)}
        return max(common, key=lambda old: (common[old], old == row))

    def _advance(self, state: _Row, output: list[int]) -> bool:
        """Bring `state` to `output`; whether a mask is wanted after it."""
        end = next((index for index, token in enumerate(output) if token in self._eos), None)
        wanted = output if end is None else output[:end]
        common = common_prefix(state.tokens, wanted)
        state.matcher.rollback(len(state.tokens) - common)
        fits = state.matcher.accepts(wanted[common:])
        state.matcher.consume(wanted[common : common + fits])
        state.tokens = wanted[: common + fits]
        return end is None and len(state.tokens) == len(wanted)
