"""Two flows as the trees that FlowSim compares, line by line, and what differs."""

from difflib import unified_diff

from flowdsl.model import Flow
from flowdsl.similarity import Node, flow_tree


def tree_lines(flow: Flow) -> list[str]:
    """The tree of a flow, one node a line; what only holds other nodes is left out where it adds nothing.

    >>> tree_lines(Flow.from_json({"trigger": {"type": "daily"}, "components": [{"definition": "log", "order": 1,
    ...     "inputs": [{"name": "log_message", "value": "a"}]}]}))
    ['trigger daily', 'action log', '    log_message: a']
    """
    lines: list[str] = []

    def tell(node: Node, depth: int) -> None:
        for child in node.children:
            label = child.label
            if label in {"components", "inputs", "trigger"}:
                inner = depth + 1 if label == "inputs" else depth
                if label == "trigger":
                    lines.append(f"trigger {child.children[0].label if child.children else '(none)'}")
                    for kind in child.children:
                        tell(kind, depth)
                else:
                    tell(child, inner)
            elif child.children and all(not leaf.children for leaf in child.children) and "___" not in label:
                lines.append("  " * depth + label + " " + " ".join(leaf.label for leaf in child.children if leaf.label))
            else:
                category, _, rest = label.partition("___")
                lines.append("  " * depth + (f"{category} {rest.partition('___')[0]}" if rest else label))
                tell(child, depth + 1)

    tell(flow_tree(flow), 0)
    return [line.replace("\n", "\\n") for line in lines]


def tree_diff(candidate: Flow, reference: Flow) -> str:
    """A unified diff from the candidate to the reference: ``-`` is too much, ``+`` is missing.

    >>> print(tree_diff(Flow.from_json({"trigger": {"type": "daily"}, "components": []}),
    ...                 Flow.from_json({"trigger": {"type": "weekly"}, "components": []})))
    -trigger daily
    +trigger weekly
    """
    mine, wanted = tree_lines(candidate), tree_lines(reference)
    lines = list(unified_diff(mine, wanted, lineterm="", n=max(len(mine), len(wanted))))
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
