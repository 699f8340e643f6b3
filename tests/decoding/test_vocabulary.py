"""Vocabularies: two sources, padding, several EOS ids, and what is refused."""

import pytest
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from decoding import Model, ModelError, Vocabulary, compile_grammar
from decoding.vocabulary import SLICES, _nemo_tekken

TEXTS = [
    "When an incident is created,\n look up 1234 records",
    'a "quoted" {brace}',
    "naïve café → 日本 🙂",
    "",
    " x\t\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_encode_as_the_tokenizer_does(model: Model, text: str) -> None:
    ids = model.vocabulary.encode(text)
    assert ids == model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert model.vocabulary.decode(ids) == text
    assert b"".join(model.vocabulary.token_bytes[token] for token in ids).decode() == text


@pytest.mark.parametrize("text", TEXTS)
def test_tekken_as_mistral_common_does(nemo: Vocabulary, text: str) -> None:
    oracle = Tekkenizer.from_file(str(_nemo_tekken()))
    assert nemo.encode(text) == oracle.encode(text, bos=False, eos=False)
    assert nemo.decode(nemo.encode(text)) == text
    assert (nemo.size, nemo.eos) == (oracle.n_words, (oracle.eos_id,)) == (131072, (2,))


def test_special_tokens_in_text_are_text(model: Model, nemo: Vocabulary) -> None:
    for vocabulary, text in ((model.vocabulary, "<|im_end|>"), (nemo, "</s>")):
        ids = vocabulary.encode(text)
        assert len(ids) > 1
        assert vocabulary.decode(ids) == text


def test_padding_is_never_allowed(model: Model) -> None:
    padded = Vocabulary.from_transformers(model.tokenizer, size=model.vocabulary.size + 77)
    matcher = compile_grammar(padded, "start: /(.|\\n)*/")
    assert padded.size == model.vocabulary.size + 77
    assert max(matcher.allowed()) < model.vocabulary.size
    assert len(matcher.mask()) == (padded.size + 31) // 32


def test_every_eos_id_is_allowed_at_the_end(model: Model) -> None:
    vocabulary = Vocabulary.from_transformers(model.tokenizer, eos=[2, 0])
    assert vocabulary.eos == (2, 0)
    matcher = compile_grammar(vocabulary, 'start: "a"+')
    assert not {0, 2} & set(matcher.allowed())
    matcher.consume(vocabulary.encode("a"))
    assert {0, 2} <= set(matcher.allowed())


def test_masks_do_not_depend_on_slices(model: Model) -> None:
    plain = Vocabulary(model.vocabulary.engine.with_slices([]))
    text = r"""start: "x " /"[^"\\{\x00-\x1F\x7F]{1,20}"/ "\n" """
    one, other = compile_grammar(model.vocabulary, text), compile_grammar(plain, text)
    for token in model.vocabulary.encode('x "free text here"\n'):
        assert one.allowed() == other.allowed()
        one.consume([token])
        other.consume([token])
    assert len(SLICES) == 3


def test_what_cannot_be_used_is_refused(model: Model, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ModelError, match="fast tokenizer"):
        Vocabulary.from_transformers(object())
    with pytest.raises(ModelError, match="logits"):
        Vocabulary.from_transformers(model.tokenizer, size=1000)
    with pytest.raises(ModelError, match="EOS"):
        Vocabulary.from_transformers(model.tokenizer, eos=[])
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    with pytest.raises(ModelError, match="tekken"):
        Vocabulary.from_tekken(path)
    path.write_text("{}")
    with pytest.raises(ModelError, match="tekken"):
        Vocabulary.from_tekken(path)
