"""What a model is tuned on: both stages of a flow as one sequence of tokens.

    prompt | outline            <- trained
           | step 1 | inputs    <- trained
           | step 2 | inputs    <- trained

The steps stand side by side: each sees the prompt, the outline and itself, as it will when flows are
generated with a shared prefix. So a flow costs its prompt once, not once for every step.

Tokens are those that the decoder produces: the text is cut into the same pieces before it is encoded.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from decoding import Vocabulary
from flowdsl.changes import kept, lines_before
from flowdsl.compile import without_inputs
from flowdsl.decompile import input_lines, outline_text
from flowdsl.errors import InvalidRequirement
from flowdsl.instance import Instance, Step, Table, TriggerType
from flowdsl.model import Flow
from flowdsl.outline import pieces
from flowdsl.pairs import Pair, instance_for
from flowdsl.renamed import Renamed
from flowdsl.retrieve import Suggestions
from flowdsl.scope import Scope
from flowdsl.specialise import is_asked
from flowdsl.spellings import any_spelling
from flowdsl.tags import Tags
from flowdsl.tuned import STEPS, TABLES, TRIGGERS, inputs_prompt, outline_prompt, suggested, used

#: Sets of invented names for each instance.
INVENTED = 2

#: Not predicted.
IGNORED = -100

N = TypeVar("N", Step, TriggerType, Table)


@dataclass(frozen=True)
class TokenSequence:
    """One training example of `n` tokens.

    Attributes:
        tokens, positions: what the model reads, and where each stands for it (a step goes on from the outline).
        labels: the token to predict after each, `IGNORED` where none is trained.
        rows: the part each token belongs to: 0 the prompt and the outline, 1, 2 ... the steps. A token sees
            those before it of row 0 and of its own row.
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    labels: tuple[int, ...]
    rows: tuple[int, ...]

    @classmethod
    def of(
        cls, prompt: Sequence[int], outline: Sequence[int], steps: Sequence[tuple[list[int], list[int]]], eos: int
    ) -> "TokenSequence":
        r"""Lay out a prompt, the outline that follows it, and for each step its prompt and its inputs.

        >>> sequence = TokenSequence.of([5, 6], [7], [([8], [9])], eos=0)
        >>> sequence.tokens, sequence.labels, sequence.rows
        ((5, 6, 7, 8, 9), (-100, 7, 0, 9, 0), (0, 0, 0, 1, 1))
        """
        tokens = [*prompt, *outline]
        shared = len(tokens)
        labels = [IGNORED] * (len(prompt) - 1) + [*outline, eos]
        positions, rows = list(range(shared)), [0] * shared
        for number, (asked, written) in enumerate(steps, start=1):
            tokens += [*asked, *written]
            labels += [IGNORED] * (len(asked) - 1) + [*written, eos]
            positions += range(shared, shared + len(asked) + len(written))
            rows += [number] * (len(asked) + len(written))
        return cls(tuple(tokens), tuple(positions), tuple(labels), tuple(rows))


@dataclass(frozen=True)
class Variation:
    """How an example differs from one visit to the next.

    Attributes:
        missing: how often what the flow needs is left out of the suggestions.
        shuffled: how often they come in any order.
        steps: how many steps' inputs are trained at most.
        respelled: how often the names of the catalogue are spelled in another style.
        renamed: how often they are invented words, so that only labels say what they are.
    """

    missing: float = 0.1
    shuffled: float = 0.3
    steps: int = 3
    respelled: float = 0.25
    renamed: float = 0.12


def token_sequence(
    pair: Pair, vocabulary: Vocabulary, bos: Sequence[int], rng: random.Random, variation: Variation | None = None
) -> TokenSequence:
    """The training example of a pair, another one at each call.

    Args:
        bos: ids that begin every prompt.
    """
    variation = variation or Variation()
    instance = instance_for(pair.instance)
    flow, prior = pair.compiled(), pair.compiled_prior()
    names = varied(_suggested(pair.requirement, instance), flow, instance, rng, variation)
    spelled = any_spelling(rng, variation.respelled)
    if rng.random() < variation.renamed:
        other = Renamed.of(instance, f"opaque-{rng.randrange(INVENTED)}")
        names, flow = other.suggestions(names), other.flow(flow)
        prior = other.flow(prior) if prior is not None else None
        instance = other.instance
    changed = outline_text(prior, instance) if prior is not None else ""
    prompt = [*bos, *vocabulary.encode(spelled(outline_prompt(pair.requirement, names, changed)))]
    outline = [token for piece in pieces(spelled(outline_text(flow, instance))) for token in vocabulary.encode(piece)]
    loops = Scope.of(flow, instance).item_tables
    scope = Scope.of(flow, instance, loops)
    bare = without_inputs(flow, instance, flow.owners)
    known = kept(prior, bare, instance, loops) if prior is not None else bare
    before = Scope.of(known, instance, loops)
    asked = [at for at in flow.owners if known.owner(at) == bare.owner(at) and is_asked(before, at)]
    steps = []
    for at in sorted(rng.sample(asked, min(len(asked), variation.steps)), key=flow.owners.index):
        had = lines_before(prior, known, instance, loops, at) if prior is not None else []
        written = "".join(f"{line}\n" for line in input_lines(scope, at))
        asks = inputs_prompt(pair.requirement, before, at, had)
        steps.append((vocabulary.encode(spelled(asks)), vocabulary.encode(spelled(written))))
    return TokenSequence.of(prompt, outline, steps, vocabulary.eos[0])


def _suggested(requirement: str, instance: Instance) -> Suggestions:
    """As for a request; but what only looks like a reference, such as a channel's name, is just a word."""
    try:
        return suggested(instance, requirement)
    except InvalidRequirement:
        return suggested(instance, requirement, Tags(requirement))


def varied(names: Suggestions, flow: Flow, instance: Instance, rng: random.Random, variation: Variation) -> Suggestions:
    """Suggestions as a model may meet them: complete most of the time, in an order that says little."""
    wanted = used(flow, instance) if rng.random() >= variation.missing else Suggestions((), (), ())
    return replace(
        names,
        triggers=_mixed(names.triggers, wanted.triggers, TRIGGERS, rng, variation),
        steps=_mixed(names.steps, wanted.steps, STEPS, rng, variation),
        tables=_mixed(names.tables, wanted.tables, TABLES, rng, variation),
    )


def _mixed(
    found: Sequence[N], wanted: Sequence[N], limit: int, rng: random.Random, variation: Variation
) -> tuple[N, ...]:
    """What was found, with all that is wanted, at most so many."""
    missing = [item for item in wanted if item not in found]
    rng.shuffle(missing)
    kept = list(found)[: max(0, limit - len(missing))]
    for item in missing[:limit]:
        kept.insert(rng.randint(0, len(kept)), item)
    if rng.random() < variation.shuffled:
        rng.shuffle(kept)
    return tuple(kept)
