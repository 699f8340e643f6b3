"""The logits processor, through Outlines and through transformers, against `decode`."""

import outlines
import pytest
import torch
from decoding_cases import FLOW, GRAMMARS, OBJECT, PROMPTS, SUBSET, accepts, ask

from decoding import DecodeError, GrammarError, GrammarProcessor, Model, compile_grammar, decode
from decoding.mask import apply_masks


@torch.inference_mode()
def generate(model: Model, processor: GrammarProcessor, rows: list[list[int]], **options: object) -> list[list[int]]:
    """Output ids of a left-padded batch, without what follows the end."""
    width = max(map(len, rows))
    ids = torch.tensor([[2] * (width - len(row)) + row for row in rows])
    attend = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    settings = {"do_sample": False, "pad_token_id": 2, **options}
    out = model.network.generate(ids, attention_mask=attend, logits_processor=[processor], **settings)
    outputs = out[:, width:].tolist()
    return [output[: output.index(2)] if 2 in output else output for output in outputs]


@pytest.mark.parametrize("name", ["object", "subset"])
def test_outlines_gives_the_text_of_decode(model: Model, name: str) -> None:
    outlined = outlines.from_transformers(model.network, model.tokenizer)
    generator = outlines.Generator(outlined, processor=GrammarProcessor(model.vocabulary, GRAMMARS[name].grammar))
    for text in PROMPTS:  # twice with one processor: reset between
        prompt = outlined.tokenizer.encode(outlined.type_adapter.format_input(text))[0][0].tolist()
        expected = decode(model, prompt, GRAMMARS[name], max_tokens=70)
        assert expected.stats.finish_reason == "complete"
        assert generator(text, max_new_tokens=70, do_sample=False) == expected.text


def test_outlines_batch_with_a_grammar_for_each_row(model: Model) -> None:
    outlined = outlines.from_transformers(model.network, model.tokenizer)
    processor = GrammarProcessor(model.vocabulary, [OBJECT.grammar, SUBSET.grammar])
    texts = outlines.Generator(outlined, processor=processor).batch(list(PROMPTS), max_new_tokens=50, do_sample=False)
    assert accepts(model.vocabulary, OBJECT, texts[0])
    assert accepts(model.vocabulary, SUBSET, texts[1])


def test_a_batch_of_rows_equals_single_rows(model: Model) -> None:
    """Rows end at different times and are then left alone; equal lengths, so that padding plays no part."""
    prompt = ask(model, PROMPTS[0])
    names = ["object", "subset", "flow"]
    processor = GrammarProcessor(model.vocabulary, [GRAMMARS[name].grammar for name in names])
    outputs = generate(model, processor, [prompt] * 3, max_new_tokens=24)
    for name, output in zip(names, outputs, strict=True):
        expected = decode(model, prompt, GRAMMARS[name], max_tokens=50)
        kept = expected.stats.output_tokens - expected.stats.closing_tokens
        assert output == list(expected.tokens[:kept])[:24]


def test_prompt_lookup_gives_the_same_text(model: Model) -> None:
    prompt = ask(
        model, 'FLOW "look up the look up" look_up "look up the look up" IF "look up" create_task ' + PROMPTS[0]
    )
    plain = generate(model, GrammarProcessor(model.vocabulary, OBJECT.grammar), [prompt], max_new_tokens=60)
    drafted = generate(
        model,
        GrammarProcessor(model.vocabulary, OBJECT.grammar),
        [prompt],
        max_new_tokens=60,
        prompt_lookup_num_tokens=4,
    )
    assert drafted == plain
    assert accepts(model.vocabulary, OBJECT, model.vocabulary.decode(plain[0]))


def test_beams_and_samples_stay_in_the_grammar(tiny: Model) -> None:
    processor = GrammarProcessor(tiny.vocabulary, [SUBSET.grammar, OBJECT.grammar])
    for options in ({"num_beams": 3, "num_return_sequences": 3}, {"do_sample": True, "num_return_sequences": 4}):
        torch.manual_seed(1)
        outputs = generate(tiny, processor, [[5, 6], [9, 7]], max_new_tokens=100, **options)
        half = len(outputs) // 2
        for constraint, some in ((SUBSET, outputs[:half]), (OBJECT, outputs[half:])):
            for output in some:
                assert accepts(tiny.vocabulary, constraint, tiny.vocabulary.decode(output))


def test_a_pure_function_of_the_ids(tiny: Model) -> None:
    """Rows swapped, shortened, lengthened by many tokens, ended: always the mask of a fresh matcher."""
    vocabulary = tiny.vocabulary
    processor = GrammarProcessor(vocabulary, FLOW.grammar)
    prompt = [5, 6, 7]
    logits = torch.zeros(2, vocabulary.size)
    texts = [
        "",
        'FLOW "ab',
        "FLO",
        'FLOW "ab"\nlook_up "x"\n',
        'FLOW "ab"\ncreate',
        'FLOW "ab"\nlook_up "x"\nEND\n',
        "",
    ]
    rows = [vocabulary.encode(text) for text in texts]
    for one in rows:
        for other in rows:
            if len(one) > len(other):  # equal lengths, as tensors have
                one = one[: len(other)]
            ids = torch.tensor([prompt + one, prompt + other[: len(one)]], dtype=torch.long)
            masked = processor(ids, logits)
            for row, output in enumerate((one, other[: len(one)])):
                fresh = compile_grammar(vocabulary, FLOW.grammar)
                fresh.consume(output)
                assert torch.isfinite(masked[row]).nonzero().flatten().tolist() == fresh.allowed()


def test_ended_and_impossible_rows_are_left_alone(tiny: Model) -> None:
    vocabulary = tiny.vocabulary
    processor = GrammarProcessor(vocabulary, 'start: "ab" | "cd" | "ef"')
    processor(torch.tensor([[5, 6]] * 3), torch.zeros(3, vocabulary.size))
    ab, xy = vocabulary.encode("ab"), vocabulary.encode("xy")
    ids = torch.tensor([[5, 6, *ab, 2, 2], [5, 6, *xy, *xy, *xy][: 2 + len(ab) + 2], [5, 6, *ab, 2, 9]])
    logits = torch.randn(3, vocabulary.size)
    assert torch.equal(processor(ids, logits), logits)


def test_a_new_prompt_starts_anew_without_reset(tiny: Model) -> None:
    processor = GrammarProcessor(tiny.vocabulary, SUBSET.grammar)
    for prompt in ([5, 6, 7], [8, 9], [5, 6, 9, 9, 9]):
        output = generate(tiny, processor, [prompt], max_new_tokens=60)[0]
        assert accepts(tiny.vocabulary, SUBSET, tiny.vocabulary.decode(output))


def test_what_does_not_fit_is_refused(tiny: Model) -> None:
    with pytest.raises(GrammarError):
        GrammarProcessor(tiny.vocabulary, ["start: ("])
    processor = GrammarProcessor(tiny.vocabulary, ['start: "a"', 'start: "b"'])
    with pytest.raises(DecodeError, match="3 rows"):
        processor(torch.tensor([[5], [6], [7]]), torch.zeros(3, tiny.vocabulary.size))


def test_masks_on_tensors() -> None:
    masks = torch.tensor([[-1, 1], [0, -2147483648]], dtype=torch.int32)
    for width in (33, 64, 70):
        kept = torch.isfinite(apply_masks(torch.zeros(2, width), masks))
        assert kept[0].nonzero().flatten().tolist() == list(range(33))
        assert kept[1].nonzero().flatten().tolist() == ([63] if width > 63 else [])
