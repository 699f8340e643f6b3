"""Real parts for the tests: the embedded model in float32, its vocabulary, and a tiny random model."""

import pytest
import torch
from tiny import tiny_llama

from decoding import Model, Vocabulary, load_model

# Several test processes on few cores: threads that wait for each other cost minutes there.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model() -> Model:
    return load_model(dtype=torch.float32)


@pytest.fixture(scope="session")
def vocabulary(model: Model) -> Vocabulary:
    return model.vocabulary


@pytest.fixture(scope="session")
def nemo() -> Vocabulary:
    return Vocabulary.from_tekken()


@pytest.fixture(scope="session")
def tiny(model: Model) -> Model:
    return Model.of(tiny_llama(model.vocabulary.size), model.tokenizer, "tiny")


@pytest.fixture(scope="session")
def precise(model: Model) -> Model:
    """In float64: a pass of another shape rounds differently, which in float32 moves a sample once in some thousand."""
    return Model.of(tiny_llama(model.vocabulary.size).double(), model.tokenizer, "precise")
