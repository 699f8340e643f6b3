"""What a model is asked, as token ids: short prompts if it was tuned on them, else worked examples in a chat.

A tuned model says so itself: its folder, or that of its adapter, has a `flowdsl.json` with "prompts".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from decoding import Model
from flowdsl.changes import lines_before
from flowdsl.decompile import outline_text
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.outline import pieces
from flowdsl.prompt import inputs_messages, outline_messages
from flowdsl.retrieve import Suggestions
from flowdsl.scope import Scope
from flowdsl.tuned import STYLE, inputs_prompt, outline_prompt, suggested


@dataclass(frozen=True)
class Prompts:
    """The prompts of one request.

    Attributes:
        requirement: on one line.
        instance: whose names are suggested.
        whole: the instance with all its names, which `prior` may have.
        prior: the flow that the requirement is an instruction to change, if it is one.
        suggestions: what the outline prompt lists; default: what the search finds.
    """

    model: Model
    requirement: str
    instance: Instance
    whole: Instance
    prior: Flow | None = None
    suggestions: Suggestions | None = None

    @property
    def is_tuned(self) -> bool:
        return self.model.metadata.get("prompts") == STYLE

    @cached_property
    def names(self) -> Suggestions:
        """What may fit the requirement.

        Raises:
            InvalidRequirement: it refers to a name that there is not.
        """
        return self.suggestions or suggested(self.instance, self.requirement)

    @cached_property
    def outline(self) -> list[int]:
        """What stands before the outline; made once, since that of every step begins with it."""
        prior = outline_text(self.prior, self.whole) if self.prior is not None else ""
        if not self.is_tuned:
            return self.model.chat(outline_messages(self.requirement, self.names, prior))
        text = outline_prompt(self.requirement, self.names, prior)
        return [*prompt_start(self.model), *self.model.vocabulary.encode(text)]

    def inputs(self, flow: Flow, loops: Mapping[int, str | None], at: int | None) -> list[int]:
        """What stands before the inputs of one step (`at` None: the trigger) of an outline.

        Args:
            flow: the outline, with the inputs that are known already.
            loops: as in `Scope.of`.
        """
        scope = Scope.of(flow, self.instance, loops)
        before = lines_before(self.prior, flow, self.whole, loops, at) if self.prior is not None else []
        if not self.is_tuned:
            outline = outline_text(flow, self.instance, numbers=True, loops=loops)
            return self.model.chat(inputs_messages(self.requirement, scope, outline, at, before))
        vocabulary = self.model.vocabulary
        written = [t for p in pieces(outline_text(flow, self.instance, loops=loops)) for t in vocabulary.encode(p)]
        return [*self.outline, *written, *vocabulary.encode(inputs_prompt(self.requirement, scope, at, before))]


def prompt_start(model: Model) -> list[int]:
    """The ids that begin every prompt of a tuned model: its BOS token, if it has one."""
    bos = model.tokenizer.bos_token_id
    return [] if bos is None else [bos]
