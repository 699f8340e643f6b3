"""Random models: real in all but their opinions, and quick."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.4,
}


def tiny_llama(vocabulary_size: int, positions: int = 512) -> LlamaForCausalLM:
    """A random model of 2 layers with decided opinions."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        **_SIZES,
        max_position_embeddings=positions,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).float().eval()


def tiny_mistral(vocabulary_size: int, window: int | None = None) -> MistralForCausalLM:
    """A random model of another make; with a window, its rows cannot be packed: it is read another way."""
    torch.manual_seed(3)
    config = MistralConfig(
        vocab_size=vocabulary_size,
        **_SIZES,
        sliding_window=window,
    )
    return MistralForCausalLM(config).float().eval()
