"""A model that writes freely, as a rival: what the grammars are worth.

The prompts, the two stages and the decoder are those of `generate_flow`; only the grammars are gone. The
model writes an outline and, for each of its steps that takes any, inputs, greedily and until it ends them
itself. The texts are put together as DSL and read as far as they can be; what is wrong is counted. A line
that cannot be read is a line less, as for a prompted model (`flowdsl.prompted`): that is kinder than the
published measure, to which an answer that cannot be read is the empty flow.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flowdsl.changes import kept
from flowdsl.compile import compile_dsl, read_dsl, without_inputs
from flowdsl.decompile import input_lines
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.pairs import Pair
from flowdsl.scope import Scope
from flowdsl.specialise import is_asked
from flowdsl.syntax import OutlineLine, parse_lines
from flowdsl.systems import Answer, chosen_names

if TYPE_CHECKING:
    from decoding import Model
    from flowdsl.ask import Prompts
    from flowdsl.result import FlowStats

#: Any text at all, and its end at any moment.
_ANY = "start: /(.|\\n)*/\n"
_HEADERS = frozenset({"end", "subflow", "input", "output"})


@dataclass(frozen=True)
class Unconstrained:
    """The system: see the module.

    Attributes:
        max_tokens: of the outline, and again of the inputs of each step; default: those of a whole flow.
        suggestions: see `chosen_names`.
    """

    model: "Model"
    described: Mapping[str, Any]
    max_tokens: int | None = None
    suggestions: str = "retrieved"

    @property
    def settings(self) -> Mapping[str, Any]:
        options = {"max_tokens": self.max_tokens, "suggestions": self.suggestions}
        return {"system": "unconstrained", **self.described, "options": options}

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        from flowdsl.ask import Prompts
        from flowdsl.requirement import read_requirement
        from flowdsl.retrieve import Search

        requirement = read_requirement(pair.requirement, Search.of(instance).words, is_edit=pair.prior is not None).text
        prior = None if pair.prior is None else compile_dsl(pair.prior, instance)
        names = chosen_names(self.suggestions, pair, instance)
        text, stats = self._written(Prompts(self.model, requirement, instance, instance, prior, names))
        flow, issues = read_dsl(text, instance)
        took = {name: value for name, value in asdict(stats).items() if isinstance(value, int | float)}
        return Answer(flow, tuple(issue.kind for issue in issues), text, took=took)

    def _written(self, prompts: "Prompts") -> tuple[str, "FlowStats"]:
        """Both stages put together as DSL, and what they took.

        One pass for each token, as where text is generated plainly; the steps are written side by side.
        """
        from decoding import Constraint, PrefixCache, Row, common_prefix, decode, decode_batch
        from flowdsl.generate import DEFAULT_TOKENS
        from flowdsl.result import FlowStats

        limit, cache = self.max_tokens or DEFAULT_TOKENS, PrefixCache()
        outline = decode(
            self.model, prompts.outline, Constraint(_ANY), max_tokens=limit, temperature=0, cache=cache, width=0
        )
        lines = list(headed(outline.text))
        flow, loops = _bare(outline.text, lines, prompts.instance)
        scope, known = Scope.of(flow, prompts.instance, loops), flow
        if prompts.prior is not None:
            known = kept(prompts.prior, flow, prompts.instance, loops)
        inputs = {at: input_lines(Scope.of(known, prompts.instance, loops), at) for at in flow.owners}
        asked = [at for at in flow.owners if known.owner(at) == flow.owner(at) and is_asked(scope, at)]
        rows = [prompts.inputs(known, loops, at) for at in asked]
        shared = common_prefix(*rows)
        decoded = decode_batch(
            self.model,
            rows[0][:shared] if rows else [],
            [Row(tuple(row[shared:]), Constraint(_ANY), limit) for row in rows],
            temperature=0,
            cache=cache,
            width=0,
        )
        inputs |= {at: one.text.split("\n") for at, one in zip(asked, decoded, strict=True)}
        text: list[str] = []
        for line, at, is_head in lines:
            text += [line, *(f"  {written}" for written in inputs.get(at, ()) if is_head and written)]
        return "".join(f"{line}\n" for line in text), FlowStats().plus(outline).plus(*decoded)


def headed(outline: str) -> Iterator[tuple[str, int | None, bool]]:
    r"""The lines of a text as outline: each with the step that it belongs to, and whether it begins it.

    A step is given by its index, the trigger by None. What cannot be read begins nothing.

    >>> list(headed('ON daily\nlog\n?'))
    [('ON daily', None, True), ('log', 0, True), ('?', 0, False)]
    """
    count = 0
    at: int | None = None
    for line in outline.rstrip("\n").split("\n"):
        read, issues = parse_lines(line)
        head = read[0] if read and not issues else None
        begins = isinstance(head, OutlineLine) and head.form not in _HEADERS
        if begins and isinstance(head, OutlineLine):
            at = None if head.form == "trigger" else count
            count += head.form != "trigger"
        yield line, at, begins


def _bare(
    text: str, lines: list[tuple[str, int | None, bool]], instance: Instance
) -> tuple[Flow, dict[int, str | None]]:
    """An outline as far as it can be read, and the tables that its loops name."""
    flow, _ = read_dsl(text, instance)
    loops: dict[int, str | None] = {}
    for line, at, begins in lines:
        if begins and at is not None and flow.components[at].is_kind("FOREACH"):
            (head,), _ = parse_lines(line)
            loops[at] = head.names[1] if isinstance(head, OutlineLine) and len(head.names) > 1 else None
    return without_inputs(flow, instance, flow.owners), loops
