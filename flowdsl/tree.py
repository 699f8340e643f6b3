"""The nesting of a flow's components, whatever state they are in.

Built once and in linear time, also for components whose `order` or `block` is wrong: such a
component stands at top level.

>>> from flowdsl.model import Component
>>> tree = Tree((Component(category="flowlogic", definition="TRY", order=1),
...              Component(definition="log", order=2, block=1), Component(definition="log", order=3)))
>>> tree.parent, tree.children[None], tree.contains(0, 1), tree.contains(0, 2)
((None, 0, None), (0, 2), True, False)
"""

import itertools
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
        self._near: dict[str, list[int | None]] = {}
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

    def branch(self, i: int) -> int | None:
        """The innermost IF, ELSEIF, ELSE or CATCH around `i`."""
        return self._nearest("IF ELSEIF ELSE CATCH")[i]

    def parallel_branch(self, i: int) -> int | None:
        """The innermost branch of a PARALLEL around `i`."""
        return self._nearest("PARALLEL_BRANCH")[i]

    def private(self, i: int) -> int | None:
        """The innermost block around `i` whose outputs are not visible after it."""
        return self._nearest("IF ELSEIF ELSE FOREACH DOUNTIL CATCH")[i]

    def _nearest(self, kinds: str) -> list[int | None]:
        if kinds not in self._near:
            near: list[int | None] = []
            for above in self.parent:
                here = above is not None and self.components[above].is_kind(*kinds.split())
                near.append(above if here or above is None else near[above])
            self._near[kinds] = near
        return self._near[kinds]

    def common(self, first: int, second: int) -> int | None:
        """The innermost component that contains both, or is one of them and contains the other."""
        if first == second or self.contains(first, second):
            return first
        above: int | None = first
        for level in reversed(self._jumps):
            if above is not None and (higher := level[above]) is not None and not self._holds(higher, second):
                above = higher
        while above is not None and not self._holds(above, second):
            above = self.parent[above]
        return above

    def _holds(self, outer: int, inner: int) -> bool:
        return outer == inner or self.contains(outer, inner)

    @cached_property
    def _jumps(self) -> list[list[int | None]]:
        """For each component its 1st, 2nd, 4th, 8th ... ancestor."""
        levels = [list(self.parent)]
        while any(above is not None for above in levels[-1]):
            last = levels[-1]
            levels.append([None if above is None else last[above] for above in last])
        return levels

    @cached_property
    def chain_head(self) -> tuple[int, ...]:
        """For each component the first of its IF ... ELSE or TRY ... CATCH chain (else itself)."""
        head = list(range(len(self.components)))
        for siblings in self.children.values():
            for before, i in itertools.pairwise(siblings):
                if self.components[i].is_kind("ELSEIF", "ELSE", "CATCH"):
                    head[i] = head[before]
        return tuple(head)
