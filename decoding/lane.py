"""What has been read of one row: its output, and drafts beyond it as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


@dataclass(eq=False)
class Node:
    """A token that was read, and those read after it.

    Attributes:
        slot: where its keys and values are; -1 where the reader has no slots.
        row: the logits after it; None when nobody asked for them.
        drafted: read before it was decided.
    """

    token: int
    slot: int = -1
    row: Logits | None = None
    drafted: bool = False
    children: dict[int, Node] = field(default_factory=dict)


@dataclass
class Draft:
    """A token that may come, and what may come after it.

    Attributes:
        wanted: whether a choice follows, so that its logits are wanted.
    """

    token: int
    wanted: bool
    children: dict[int, Draft] = field(default_factory=dict)

    def size(self) -> int:
        return 1 + sum(child.size() for child in self.children.values())


class Lane:
    """The reading of one row.

    Attributes:
        prompt: tokens before the output that this row alone has.
        slots: of what has been read of the prompt and the output so far.
        passes: forward passes that read tokens of this row.
        drafted, accepted: tokens read before they were decided, and those that came out.
    """

    def __init__(self, prompt: Sequence[int]):
        self.prompt = list(prompt)
        self.slots: list[int] = []
        self.passes = self.drafted = self.accepted = 0
        self._at: Node | None = None  # the last token of prompt and output that has been read
        self._depth = 0  # output tokens read

    def logits(self, output: Sequence[int]) -> Logits | None:
        """The logits after `output`, which begins with what it was before; None if they must be read."""
        while self._at is not None and self._depth < len(output):
            child = self._at.children.get(output[self._depth])
            if child is None or (child.row is None and self._depth + 1 == len(output)):
                return None
            self._at = child
            self._depth += 1
            self.slots.append(child.slot)
            self.accepted += child.drafted
        return None if self._at is None else self._at.row

    def pending(self, output: Sequence[int]) -> list[int]:
        """The tokens of prompt and output that are still to be read."""
        if self._at is None:
            return [*self.prompt, *output]
        return list(output[self._depth :])

    def ahead(self) -> Iterator[Node]:
        """The drafts that hang on the last token that was read."""
        nodes = [] if self._at is None else list(self._at.children.values())
        while nodes:
            node = nodes.pop()
            yield node
            nodes += node.children.values()

    def grow(self, certain: list[Node], drafted: int) -> None:
        """Take over what was read: the nodes of the pending tokens, and how many drafts hang on the last."""
        written = len(certain) - (len(self.prompt) if self._at is None else 0)
        self.slots += [node.slot for node in certain]
        self._at = certain[-1]
        self._depth += written
        self.passes += 1
        self.drafted += drafted

    def read(self, output: Sequence[int]) -> list[int]:
        """Prompt and output as far as they have been read: the tokens whose slots `slots` are."""
        return [] if self._at is None else [*self.prompt, *output[: self._depth]]
