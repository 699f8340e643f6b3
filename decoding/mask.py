"""Masks on tensors: plain torch operations on whatever device the logits are, nothing compiled."""

from __future__ import annotations

import torch


def apply_masks(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """`logits` with minus infinity wherever the mask has no bit.

    Args:
        logits: float, (rows, tokens), any device.
        masks: int32, (rows, words), 32 tokens a word. Tokens beyond the last word are not allowed.

    Returns:
        A new tensor like `logits`.

    >>> apply_masks(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[5]], dtype=torch.int32))
    tensor([[1., -inf, 3.]])
    """
    return logits.masked_fill(~unpack_masks(masks.to(logits.device), logits.shape[-1]), float("-inf"))


def unpack_masks(masks: torch.Tensor, tokens: int) -> torch.Tensor:
    """int32 masks (rows, words) as booleans (rows, tokens)."""
    bits = torch.arange(32, dtype=torch.int32, device=masks.device)
    spread = (masks.unsqueeze(-1) >> bits).bitwise_and_(1).to(torch.bool).flatten(1)
    missing = tokens - spread.shape[1]
    if missing > 0:
        return torch.nn.functional.pad(spread, (0, missing), value=False)
    return spread[:, :tokens]
