"""What an output must look like: a grammar, the ways to end it soon, and what comes after it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Constraint:
    r"""One segment of the output, and how the next one follows from it.

    Segments exist because a later part may depend on an earlier choice: the grammar of the next part is
    computed from the text of this one, and the key/value cache simply goes on.

    Attributes:
        grammar: Lark text as llguidance reads it.
        closers: texts that bring the output to its end soonest, best first. They are hints for running
            out of budget: any of them (or of its suffixes) is used only where the grammar accepts it.
        then: given the text of this segment, the constraint of the next one. ``None``, or returning
            ``None``, is the end of the output. It must be a pure function: it is also asked about texts
            that the budget merely considers.
        drafts: texts that may well come in this segment, best first; or, given the text of the segment so
            far, what may well come next. They are hints that save passes: they are used as far as the grammar
            accepts them, and never change what comes out. A function must be pure and quick.

    >>> colour = Constraint('start: "red" | "blue"', then=lambda text: Constraint(f'start: " {text}"'))
    >>> colour.then("red").grammar
    'start: " red"'
    """

    grammar: str
    closers: tuple[str, ...] = ()
    then: "Callable[[str], Constraint | None] | None" = None
    drafts: "tuple[str, ...] | Callable[[str], Iterable[str]]" = ()

    def after(self, text: str) -> "Constraint | None":
        """The constraint of the segment that follows this one's `text`, or None at the end."""
        return None if self.then is None else self.then(text)


def with_drafts(constraint: Constraint, drafts: Callable[[str], Iterable[str]]) -> Constraint:
    """`constraint` and all that follows it, with drafts that are asked with the whole text so far.

    >>> chain = Constraint('start: "red" | "blue"', then=lambda text: Constraint('start: " sky" | " sea"'))
    >>> hinted = with_drafts(chain, lambda text: ["red sky"[len(text):]])
    >>> hinted.drafts("re"), hinted.then("red").drafts(" s")
    (['d sky'], ['ky'])
    """
    return _with_drafts(constraint, drafts, "")


def _with_drafts(constraint: Constraint, drafts: Callable[[str], Iterable[str]], before: str) -> Constraint:
    then = constraint.then

    def following(text: str) -> Constraint | None:
        after = None if then is None else then(text)
        return None if after is None else _with_drafts(after, drafts, before + text)

    return replace(constraint, then=following, drafts=lambda text: drafts(before + text))
