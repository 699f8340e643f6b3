"""The nesting of a flow's components, whatever state they are in.

Built once and in linear time, also for components whose `order` or `block` is wrong: such a
component stands at top level.

>>> from flowdsl.model import Component
>>> tree = Tree((Component(category="flowlogic", definition="TRY", order=1),
...              Component(definition="log", order=2, block=1), Component(definition="log", order=3)))
>>> tree.parent, tree.children[None], tree.contains(0, 1), tree.contains(0, 2)
((None, 0, None), (0, 2), True, False)
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from flowdsl.model import BLOCKS, Component


class Tree:
    """Components by their index in the list, with parent, children and containment."""

    def __init__(self, components: Sequence[Component]):
        self.components = tuple(components)
        index: dict[int, int] = {}
        parent: list[int | None] = []
        children: dict[int | None, list[int]] = {None: []}
        for i, component in enumerate(self.components):
            block = index.get(component.block) if component.block is not None else None
            if block is not None and not self.components[block].is_kind(*BLOCKS):
                block = None
            parent.append(block)
            children.setdefault(block, []).append(i)
            index.setdefault(component.order, i)
        self.index: Mapping[int, int] = index
        self.parent = tuple(parent)
        self.children: Mapping[int | None, tuple[int, ...]] = {key: tuple(value) for key, value in children.items()}

    @cached_property
    def _spans(self) -> tuple[list[int], list[int]]:
        """For each component, when a depth-first walk enters and leaves it."""
        enter, leave, clock = [0] * len(self.components), [0] * len(self.components), 0
        stack = [(i, False) for i in reversed(self.children[None])]
        while stack:
            i, left = stack.pop()
            clock += 1
            if left:
                leave[i] = clock
                continue
            enter[i] = clock
            stack.append((i, True))
            stack.extend((child, False) for child in reversed(self.children.get(i, ())))
        return enter, leave

    def contains(self, outer: int, inner: int) -> bool:
        """Whether `outer` is an ancestor of `inner`."""
        enter, leave = self._spans
        return enter[outer] < enter[inner] and leave[inner] < leave[outer]

    def ancestors(self, i: int) -> Iterator[int]:
        """The components around `i`, innermost first."""
        above = self.parent[i]
        while above is not None:
            yield above
            above = self.parent[above]

    @cached_property
    def chain_head(self) -> tuple[int, ...]:
        """For each component the first of its IF ... ELSE or TRY ... CATCH chain (else itself)."""
        head = list(range(len(self.components)))
        for siblings in self.children.values():
            for before, i in zip(siblings, siblings[1:], strict=False):
                if self.components[i].is_kind("ELSEIF", "ELSE", "CATCH"):
                    head[i] = head[before]
        return tuple(head)
