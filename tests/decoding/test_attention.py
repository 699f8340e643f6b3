"""Attention of passes under a mask: what the definition says, and what PyTorch's own gives."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_llama

from decoding.attention import NAME, grouped_attention, use_grouped


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_is_softmax_attention(groups: int, share: int, tokens: int, before: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, slots = 4, before + tokens
    query = rng.normal(size=(groups * share, tokens, width))
    key, value = rng.normal(size=(2, groups, slots, width))
    sees = rng.random((tokens, slots)) < 0.5
    sees[np.arange(tokens), before + np.arange(tokens)] = True
    wanted = np.empty((tokens, groups * share, width))
    for head in range(groups * share):
        scores = query[head] @ key[head // share].T / 2
        weights = np.where(sees, np.exp(scores), 0.0)
        wanted[:, head] = weights / weights.sum(1, keepdims=True) @ value[head // share]
    mask = torch.zeros(1, 1, tokens, slots).masked_fill_(torch.from_numpy(~sees), float("-inf"))
    module = torch.nn.Module()
    module.num_key_value_groups = share  # type: ignore[assignment]  # as layers of transformers say it
    tensors = (torch.from_numpy(array[None]).float() for array in (query, key, value))
    found, _ = grouped_attention(module, *tensors, mask)
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-5)


def test_a_network_reads_the_same_with_it() -> None:
    network = tiny_llama(16)
    ids = torch.tensor([[5, 9, 2, 7, 11, 3]])
    sees = torch.ones(6, 6).tril().bool()
    sees[4, 2] = False
    mask = torch.zeros(1, 1, 6, 6).masked_fill_(~sees, float("-inf"))
    with torch.inference_mode():
        wanted, plain = network(ids, attention_mask=mask).logits, network(ids).logits
        use_grouped(network)
        assert network.config._attn_implementation == NAME
        torch.testing.assert_close(network(ids, attention_mask=mask).logits, wanted, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(network(ids).logits, plain, atol=1e-5, rtol=1e-4)
