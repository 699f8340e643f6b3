"""How alike two flows are: FlowSim, and the three smaller measures that come with it.

FlowSim reads both flows as trees and takes the tree edit distance of Zhang and Shasha ("Simple fast
algorithms for the editing distance between trees and related problems", SIAM J. Comput. 18(6), 1989, the
algorithm with key roots): one minus the distance over the sizes. It is the measure of arXiv 2505.24189
("FlowSim") as the same group released it with StarFlow; that the two implementations are the same is
likely, not certain. Scores of several flows are averaged as they are, large and small alike.

The distance is computed here rather than by the package `zss`, which gives the same numbers (the tests
compare them) but keeps every edit script: 1,000 steps would take gigabytes. It does not read the DSL,
does not ask an instance, and does not judge: a wrong flow has a score too.

Odd on purpose, since published numbers have them: a query is compared as a whole only if each of its parts
has exactly one operator, and counts as one free node otherwise (a value that holds ``=``, a column that
ends in a capital, a trailing ``^EQ``); a component whose block does not exist is not seen at all; trigger
types outside `TRIGGER_TYPES` are replaced at the price of a value.

>>> daily = {"trigger": {"type": "daily"}, "components": [{"definition": "log", "order": 1}]}
>>> weekly = daily | {"trigger": {"type": "weekly"}}
>>> flow_similarity(weekly, daily), trigger_match(weekly, daily), component_match(weekly, daily)
(0.5, 0.0, 1.0)
"""

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any

from flowdsl.errors import FlowError
from flowdsl.model import Flow

#: Types of triggers as the released measure knows them.
TRIGGER_TYPES = frozenset(
    "record_create record_update record_create_or_update daily weekly monthly repeat run_once "
    "email sla_task service_catalog metric rest_async".split()
)
#: Nodes that only hold others; adding or removing one is free.
FREE_LABELS = frozenset(
    "flow trigger components inputs outputs condition conditions email_conditions fields values field_values".split()
)
#: Inputs whose value is read as a query.
QUERY_INPUTS = frozenset("condition conditions email_conditions fields values field_values".split())

#: A tree of more nodes is not built. No flow comes near; components that share an order multiply.
MAX_NODES = 50_000
#: Two trees that need more cells of the distance table are not compared (about a minute).
MAX_CELLS = 100_000_000

_OPERATORS = (
    "VALCHANGES RELATIVEGT RELATIVEGE RELATIVELE RELATIVELT BETWEEN CHANGESTO CHANGESFROM EMPTYSTRING ISEMPTY "
    "ISNOTEMPTY STARTSWITH ENDSWITH SAMEAS NOTON NOT_LIKE NOT_IN LIKE NOT IN ON != >= <= = > <"
).split()
_COMPARISON = re.compile(rf"(?<![A-Z=,])({'|'.join(name.replace('_', ' ') for name in _OPERATORS)})")
_LOGICAL = re.compile(r"(\^EQ|\^OR|\^NQ|\^|OR)")
_EMPTY_FLOW: Mapping[str, Any] = {"trigger": None, "components": []}


class _Malformed(Exception):
    """No tree can be made of it."""


@dataclass(slots=True, eq=False)
class Node:
    """A node of the tree that FlowSim compares."""

    label: str
    children: "list[Node]" = field(default_factory=list)


def flow_similarity(
    candidate: Flow | Mapping[str, Any] | str, reference: Flow | Mapping[str, Any] | str, inputs: bool = True
) -> float:
    """FlowSim of two flows, in [0, 1]; 1.0 for equal trees, and the same with the arguments swapped.

    Args:
        candidate, reference: a flow, its JSON, or JSON text (also between a first ```` ```json ```` and the
            last ```` ``` ````). Text that is no JSON is the empty flow.
        inputs: False compares the outlines alone.

    Returns:
        1 - distance / (size + size). 0.0 if one of the two is so malformed that it has no tree.

    Raises:
        FlowError: the two are different and too large to compare (`MAX_CELLS`). Nesting alone is no limit:
            two outlines of 1,000 nested blocks take a second, with their inputs a minute; two flows of
            some 100 nested blocks with further steps before and after each are too much.

    Source: arXiv 2505.24189 (evaluation: FlowSim); the tree, costs and sizes are those of the StarFlow release.

    >>> flow = {"trigger": None, "components": [{"definition": "log", "order": 1}, {"definition": "log", "order": 2}]}
    >>> shorter = {"trigger": None, "components": [{"definition": "log", "order": 1}]}
    >>> round(flow_similarity(shorter, flow), 4), flow_similarity("no JSON", flow)
    (0.6667, 0.0)
    """
    try:
        first, second = flow_tree(candidate, inputs), flow_tree(reference, inputs)
    except _Malformed:
        return 0.0
    distance = tree_distance(first, second)
    size = _size(first) + _size(second)
    # An input called `flow` costs 1 and counts 0: the clamp is for such.
    return max(0.0, 1.0 - distance / size) if size else float(distance == 0)


def tree_bleu(
    candidate: Flow | Mapping[str, Any] | str, reference: Flow | Mapping[str, Any] | str, inputs: bool = True
) -> float:
    """The share of the reference's different (parent, child) labels that the candidate has too.

    Not symmetric: what the candidate has in excess costs nothing. 0.0 if there is no tree; if the
    reference has no such pair, 1.0 for a candidate without one, else 0.0.

    Source: "TreeBLEU" of the StarFlow release, after Gui et al., "WebCode2M" (arXiv 2404.06369, evaluation).

    >>> flow = {"trigger": {"type": "daily"}, "components": [{"definition": "log", "order": 1}]}
    >>> tree_bleu({"trigger": {"type": "daily"}, "components": []}, flow)
    0.5
    """
    try:
        mine, wanted = (set(_pairs(flow_tree(flow, inputs))) for flow in (candidate, reference))
    except _Malformed:
        return 0.0
    return len(mine & wanted) / len(wanted) if wanted else float(not mine)


def trigger_match(candidate: Flow | Mapping[str, Any] | str, reference: Flow | Mapping[str, Any] | str) -> float:
    """1.0 if type and inputs of the triggers are equal (in any order), else 0.0.

    Source: "trigger match" of the StarFlow release.

    >>> trigger_match({"trigger": None}, {"trigger": None}), trigger_match({"trigger": {"type": "daily"}}, {})
    (1.0, 0.0)
    """
    try:
        return float(_trigger_key(read_flow(candidate)) == _trigger_key(read_flow(reference)))
    except _Malformed:
        return 0.0


def component_match(candidate: Flow | Mapping[str, Any] | str, reference: Flow | Mapping[str, Any] | str) -> float:
    """The Jaccard index of the different steps, by category, definition and scope; case counts.

    1.0 if neither has a step, 0.0 if one is malformed. Source: "component match" of the StarFlow release.

    >>> flow = {"components": [{"definition": "log", "order": 1}, {"definition": "send_sms", "order": 2}]}
    >>> component_match({"components": [{"definition": "log", "order": 1}]}, flow)
    0.5
    """
    try:
        mine, wanted = ({_step_label(item) for item in _components(read_flow(f))} for f in (candidate, reference))
    except _Malformed:
        return 0.0
    return len(mine & wanted) / len(mine | wanted) if mine | wanted else 1.0


# -- reading -----------------------------------------------------------------------------------


def read_flow(flow: Flow | Mapping[str, Any] | str) -> Any:
    """The JSON of a flow, of JSON, or of text that should hold JSON."""
    if isinstance(flow, Flow):
        return flow.to_json()
    if not isinstance(flow, str):
        return flow
    if "```json" in flow:
        flow = flow.partition("```json")[2].rpartition("```")[0]
    try:
        return json.loads(flow)
    except (ValueError, RecursionError):
        return _EMPTY_FLOW


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Malformed
    return value


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple):
        raise _Malformed
    return [_mapping(item) for item in value]


def _string(data: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise _Malformed
    return value


def _order(data: Mapping[str, Any]) -> int:
    order = data.get("order")
    if not isinstance(order, int):
        raise _Malformed
    return order


def _text(value: Any, spell: Any = str) -> str:
    try:
        text: str = spell(value)
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        raise _Malformed from None
    return text


def _components(data: Any) -> list[Mapping[str, Any]]:
    return _mappings(_mapping(data).get("components", []))


def _inputs(owner: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values, sorted by name."""
    given = owner.get("inputs")
    pairs = [(_string(item, "name"), item.get("value")) for item in _mappings([] if given is None else given)]
    return sorted(pairs, key=lambda pair: pair[0])


def _trigger_key(data: Any) -> Any:
    trigger = _mapping(data).get("trigger")
    if trigger is None:
        return None
    pairs = _inputs(_mapping(trigger))
    return _string(trigger, "type"), sorted((name, _text(value, repr)) for name, value in pairs)


def _step_label(component: Mapping[str, Any], upper: bool = False) -> str:
    category = _string(component, "category", "action")
    definition = _string(component, "definition")
    definition = definition.upper() if upper and category == "flowlogic" else definition
    return f"{category}___{definition}___{_string(component, 'scope', 'global')}"


# -- the tree ----------------------------------------------------------------------------------


def flow_tree(flow: Flow | Mapping[str, Any] | str, inputs: bool = True) -> Node:
    """The tree of a flow; raises a private exception if it has none."""
    data = _mapping(read_flow(flow))
    root = Node("flow")
    if "trigger" in data:
        root.children.append(_trigger_node(data["trigger"], inputs))
    for key in ("inputs", "outputs"):
        if data.get(key) is not None:
            root.children.append(Node(key, [_item_node(item) for item in _mappings(_mapping(data[key]).get("items"))]))
    root.children.append(_components_node(_components(data), inputs))
    return root


def _trigger_node(trigger: Any, inputs: bool) -> Node:
    if trigger is None:
        return Node("trigger")
    return Node("trigger", [Node(_string(_mapping(trigger), "type"), _inputs_node(trigger) if inputs else [])])


def _item_node(item: Mapping[str, Any]) -> Node:
    kind, reference = _string(item, "type"), item.get("reference")
    suffix = f" [{_text(reference)}]" if kind in {"reference", "records"} and reference is not None else ""
    return Node(f"{_string(item, 'name')}: {kind}{suffix}")


def _components_node(components: Sequence[Mapping[str, Any]], inputs: bool) -> Node:
    held: dict[int | None, list[Mapping[str, Any]]] = {}
    for component in components:
        block = component.get("block")
        if block is not None and not isinstance(block, int):
            raise _Malformed
        if block is None or _order(component) > block:
            held.setdefault(block, []).append(component)
    root = Node("components")
    open_nodes: list[tuple[Node, int | None]] = [(root, None)]
    count = 0
    while open_nodes:
        node, block = open_nodes.pop()
        for component in held.get(block, ()):
            child = Node(_step_label(component, upper=True), _inputs_node(component) if inputs else [])
            node.children.append(child)
            open_nodes.append((child, _order(component)))
            count += 1 + sum(1 for _ in _postorder(child))
            if count > MAX_NODES:
                raise _Malformed
    return root


def _inputs_node(owner: Mapping[str, Any]) -> list[Node]:
    nodes = []
    for name, value in _inputs(owner):
        if name not in QUERY_INPUTS:
            nodes.append(Node(f"{name}: {_text(value)}"))
        elif value is None or isinstance(value, str):
            nodes.append(Node(name, [query_tree(value or "")]))
        else:
            raise _Malformed
    return [Node("inputs", nodes)] if nodes else []


def query_tree(query: str) -> Node:
    """An encoded query, whatever the order of its parts; one empty node if it cannot be read.

    >>> tree = query_tree("b=2^aISEMPTY")
    >>> tree.label, [child.label for child in tree.children], [leaf.label for leaf in tree.children[0].children]
    ('^', ['a', 'b'], ['ISEMPTY', ''])
    """
    parts = []
    for part in _LOGICAL.split(query)[::2]:
        pieces = _COMPARISON.split(part)
        if len(pieces) != 3:
            return Node("")
        name, operator, value = pieces
        parts.append(Node(name, [Node(operator), Node(value)]))
    parts.sort(key=lambda part: part.label)
    tree = parts.pop()
    for join in sorted(_LOGICAL.findall(query), reverse=True):
        tree = Node(join, [parts.pop(), tree])
    return tree


def _pairs(root: Node) -> Iterator[tuple[str, str]]:
    for node in _postorder(root):
        for child in node.children:
            if node is not root or child.label not in {"trigger", "components"}:
                yield node.label, child.label


def _size(root: Node) -> int:
    return sum(node.label.partition(":")[0] not in FREE_LABELS for node in _postorder(root))


def _postorder(root: Node, mirrored: bool = False) -> list[Node]:
    """Children before their parent, from left to right, or from right to left."""
    step = -1 if mirrored else 1
    reverse, stack = [], [root]
    while stack:
        node = stack.pop()
        reverse.append(node)
        stack.extend(node.children[::step])
    return reverse[::-1]


# -- the distance ------------------------------------------------------------------------------


def _price(label: str) -> int:
    """What it costs to add or remove a node."""
    return int(label != "" and label not in FREE_LABELS)


@cache
def _heavy(label: str) -> bool:
    return label in TRIGGER_TYPES or label.startswith(("action", "flowlogic", "subflow"))


def _replacement(first: str, second: str) -> int:
    if first == second:
        return 0
    return 2 if _heavy(first) or _heavy(second) else 1


class _Numbered:
    """A tree by post-order numbers: labels, leftmost leaves and key roots of Zhang and Shasha.

    `shapes` holds one number for all subtrees that are equal, `work` the size of all different subtrees
    at key roots: equal ones are compared once.
    """

    def __init__(self, root: Node, mirrored: bool):
        nodes = _postorder(root, mirrored)
        number = {id(node): i for i, node in enumerate(nodes)}
        known: dict[tuple[Any, ...], int] = {}
        self.labels = [node.label for node in nodes]
        self.leftmost: list[int] = []
        self.shapes: list[int] = []
        for i, node in enumerate(nodes):
            children = [number[id(child)] for child in node.children[:: -1 if mirrored else 1]]
            self.leftmost.append(self.leftmost[children[0]] if children else i)
            self.shapes.append(known.setdefault((node.label, *(self.shapes[child] for child in children)), len(known)))
        self.keys = sorted({leaf: i for i, leaf in enumerate(self.leftmost)}.values())
        self.work = sum({self.shapes[i]: i - self.leftmost[i] + 1 for i in self.keys}.values())


def tree_distance(first: Node, second: Node) -> int:
    """The least cost that makes one tree the other.

    Trees read from right to left have the same distance; whichever reading is less work is taken
    (Dulucq and Touzet, "Analysis of tree edit distance algorithms", CPM 2003, on decomposition strategies).

    Raises:
        FlowError: more than `MAX_CELLS` cells.

    >>> tree_distance(Node("a", [Node("b"), Node("c")]), Node("a", [Node("c")]))
    1
    """
    a, b = _Numbered(first, False), _Numbered(second, False)
    if (a.labels, a.leftmost) == (b.labels, b.leftmost):
        return 0
    other_a, other_b = _Numbered(first, True), _Numbered(second, True)
    if other_a.work * other_b.work < a.work * b.work:
        a, b = other_a, other_b
    if a.work * b.work > MAX_CELLS:
        raise FlowError(
            f"the flows are too large to compare ({len(a.labels)} and {len(b.labels)} nodes, deeply nested): "
            "compare their outlines (inputs=False) or parts of them"
        )
    return _Distance(a, b).total()


class _Distance:
    """The table of distances between all subtrees, filled key root by key root."""

    def __init__(self, a: _Numbered, b: _Numbered):
        self.a, self.b = a, b
        self.removed = [_price(label) for label in a.labels]
        self.added = [_price(label) for label in b.labels]
        rows = {label: [_replacement(label, other) for other in b.labels] for label in set(a.labels)}
        self.replaced = [rows[label] for label in a.labels]
        self.between = [array("i", bytes(4 * len(b.labels))) for _ in a.labels]

    def total(self) -> int:
        filled: dict[tuple[int, int], tuple[int, int]] = {}
        for i in self.a.keys:
            for j in self.b.keys:
                like = filled.setdefault((self.a.shapes[i], self.b.shapes[j]), (i, j))
                if like == (i, j):
                    self._fill(i, j)
                else:
                    self._copy(i, j, *like)
        return self.between[-1][-1]

    def _copy(self, i: int, j: int, from_i: int, from_j: int) -> None:
        """What was found out for two subtrees that are equal to these."""
        height, width = i - self.a.leftmost[i], j - self.b.leftmost[j]
        for down in range(height + 1):
            found = self.between[from_i - down][from_j - width : from_j + 1]
            self.between[i - down][j - width : j + 1] = found

    def _fill(self, i: int, j: int) -> None:
        """Distances between the forests that end at each node under `i` and each under `j`."""
        start, left = self.a.leftmost[i], self.b.leftmost[j]
        added = self.added[left : j + 1]
        offsets = [leaf - left for leaf in self.b.leftmost[left : j + 1]]
        above = array("i", [0, *accumulate(added)])
        forests = [above]
        for x in range(start, i + 1):
            removed, offset = self.removed[x], self.a.leftmost[x] - start
            before, between = forests[offset], self.between[x]
            best = above[0] + removed
            row = array("i", [best])
            columns = zip(range(left, j + 1), added, offsets, above, above[1:], strict=False)
            for y, price, other_offset, diagonal, up in columns:
                if offset or other_offset:
                    best = min(best + price, up + removed, before[other_offset] + between[y])
                else:
                    best = between[y] = min(best + price, up + removed, diagonal + self.replaced[x][y])
                row.append(best)
            forests.append(row)
            above = row
