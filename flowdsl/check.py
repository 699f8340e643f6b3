"""Everything that can be wrong with a flow, in one list.

`docs/rules.md` says for each rule where else it holds: most are in the grammars, so that what is
generated cannot break them. Here they are checked on any JSON, in linear time, without exceptions.

>>> from flowdsl.instance import Instance
>>> flow = {"trigger": None, "components": [{"category": "flowlogic", "definition": "ELSE", "order": 1}]}
>>> [issue.kind for issue in check_flow(flow, Instance.load("servicenow"))]
['else_without_if', 'empty_block']
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from flowdsl.check_inputs import check_inputs
from flowdsl.errors import FlowIssue, did_you_mean
from flowdsl.instance import Instance, Step
from flowdsl.lenient import Draft, read_any
from flowdsl.logic import LOGIC
from flowdsl.model import BLOCKS, PLACEHOLDER, Component, Flow
from flowdsl.scope import Scope
from flowdsl.tree import Tree

#: Out of scope for now; named so that the message can say so.
NOT_INCLUDED = frozenset(
    "DECISION SETFLOWVARIABLES APPENDFLOWVARIABLES GETFLOWOUTPUT DYNAMICFLOW WORKFLOW ASSIGNSUBFLOWOUTPUTS".split()
)
SLA_TRIGGER, SLA_TIMER = "sla_task", "sla_percentage_timer"


def check_flow(flow: Flow | Any, instance: Instance) -> list[FlowIssue]:
    """Every issue of a flow, or of any JSON value that should be one; an empty list if it is valid."""
    draft = read_any(flow)
    tree = Tree(draft.components)
    scope = Scope(instance, tree, draft.trigger, draft.items.get("inputs", ()))
    issues = list(draft.issues)
    issues += _header(draft, instance)
    issues += _numbering(tree)
    issues += _chains(tree)
    issues += _jumps(tree)
    issues += _definitions(scope)
    issues += _sla(draft, tree)
    if draft.trigger is not None and (definition := scope.trigger_type):
        issues += check_inputs(scope, None, draft.trigger, definition)
    for i, component in enumerate(tree.components):
        if step := _known(component, instance):
            issues += check_inputs(scope, i, component, step)
    return issues


def _known(component: Component, instance: Instance) -> Step | None:
    if component.is_logic:
        return LOGIC.get(component.definition)
    return instance.step_by_name.get(component.definition)


# -- the head ----------------------------------------------------------------------------------


def _header(draft: Draft, instance: Instance) -> Iterator[FlowIssue]:
    trigger = draft.trigger
    if trigger is not None and draft.is_subflow:
        yield FlowIssue("trigger_count", "a subflow has no trigger", "trigger")
    if trigger is not None and trigger.type not in instance.trigger_by_name:
        hint = did_you_mean(trigger.type, instance.trigger_by_name)
        yield FlowIssue("unknown_trigger", f"no trigger {trigger.type!r}{hint}", "trigger")
    for key, items in draft.items.items():
        for name, count in Counter(item.name for item in items).items():
            if count > 1:
                yield FlowIssue("duplicate_input", f"{name!r} is there {count} times in {key}", "flow")
        for item in items:
            if item.reference is not None and instance.tables and item.reference not in instance.table_by_name:
                yield FlowIssue("unknown_table", f"no table {item.reference!r}", "flow")
            if not item.name.strip() or any(mark in item.name for mark in "{}.\n"):
                yield FlowIssue("bad_value", f"{item.name!r} is no name for one of the {key}", "flow")


# -- order and nesting -------------------------------------------------------------------------


def _numbering(tree: Tree) -> Iterator[FlowIssue]:
    seen: set[int] = set()
    open_blocks: list[int] = []
    for i, component in enumerate(tree.components):
        order, block = component.order, component.block
        if order in seen:
            yield FlowIssue("order", f"the order {order} is there twice", order)
        elif order != i + 1:
            yield FlowIssue("order", f"the order is {order}, its place is {i + 1}", order)
        seen.add(order)
        if block is not None and tree.parent[i] is None:
            known = block in tree.index
            why = f"step {block} comes later or holds no steps" if known else f"there is no step {block}"
            yield FlowIssue("block", why, order)
        while open_blocks and open_blocks[-1] != tree.parent[i]:
            open_blocks.pop()
        if tree.parent[i] is not None and not open_blocks:
            yield FlowIssue("order", f"the block {block} ended before this step", order)
        if component.is_kind(*BLOCKS):
            open_blocks.append(i)


def _chains(tree: Tree) -> Iterator[FlowIssue]:
    """Rules on neighbours: IF ... ELSE, TRY ... CATCH, PARALLEL and its branches, END, empty blocks."""
    for parent, siblings in tree.children.items():
        in_parallel = parent is not None and tree.components[parent].is_kind("PARALLEL")
        before: Component | None = None
        ended = False
        for i in siblings:
            component = tree.components[i]
            where = component.order
            if ended:
                yield FlowIssue("after_end", "nothing may follow END in its branch", where)
            if component.is_kind("ELSE", "ELSEIF") and not (before and before.is_kind("IF", "ELSEIF")):
                yield FlowIssue("else_without_if", f"{component.definition} does not follow an IF", where)
            if component.is_kind("CATCH") and not (before and before.is_kind("TRY")):
                yield FlowIssue("catch_without_try", "CATCH does not follow a TRY", where)
            if before is not None and before.is_kind("TRY") and not component.is_kind("CATCH"):
                yield FlowIssue("try_without_catch", "TRY has no CATCH", before.order)
            if component.is_kind("PARALLEL_BRANCH") != in_parallel:
                message = "only branches stand in a PARALLEL" if in_parallel else "a branch stands in a PARALLEL"
                yield FlowIssue("parallel_branches", message, where)
            ended = ended or component.is_kind("END")
            before = component
        if before is not None and before.is_kind("TRY"):
            yield FlowIssue("try_without_catch", "TRY has no CATCH", before.order)
    for i, component in enumerate(tree.components):
        held = len(tree.children.get(i, ()))
        if component.is_kind("PARALLEL"):
            if held < 2:
                yield FlowIssue("parallel_branches", f"PARALLEL has {held} of at least 2 branches", component.order)
        elif component.is_kind(*BLOCKS) and not held:
            yield FlowIssue("empty_block", f"{component.definition} holds no step", component.order)


def _jumps(tree: Tree) -> Iterator[FlowIssue]:
    """BREAK and CONTINUE in a branch of a loop; GOBACKTO from a branch to a step before it."""
    # Of each component, top down: the loop state that its content is in.
    loops: list[str] = []
    for i, component in enumerate(tree.components):
        above = tree.parent[i]
        state = loops[above] if above is not None else "none"
        if component.is_kind("BREAK", "CONTINUE") and state != "branch":
            message = f"{component.definition} stands in an IF inside a FOREACH or DOUNTIL"
            yield FlowIssue("break_outside_loop", message, component.order)
        if component.is_kind("FOREACH", "DOUNTIL"):
            state = "loop"
        elif component.is_kind("IF", "ELSEIF", "ELSE") and state == "loop":
            state = "branch"
        loops.append(state)
        if component.is_kind("GOBACKTO"):
            target = component.get("step") or ""
            branch = tree.branch(i)
            if branch is None:
                yield FlowIssue("goback_target", "GOBACKTO stands in a branch or a CATCH", component.order)
            elif target not in _spelled(tree) or not may_go_back(tree, branch, _spelled(tree)[target]):
                message = f"cannot go back to {target[:20]!r} from here: not a step before this branch, around it"
                yield FlowIssue("goback_target", message, component.order, "step")


@lru_cache(maxsize=4)
def _spelled(tree: Tree) -> dict[str, int]:
    return {str(order): i for order, i in tree.index.items()}


def may_go_back(tree: Tree, branch: int, target: int) -> bool:
    """Whether a GOBACKTO in `branch` may name `target` (both by index).

    It comes before the branch, in a sequence around it, and inside the same PARALLEL branch; the IF
    or TRY that the branch belongs to counts.
    """
    if target > branch or tree.components[target].is_kind("ELSE", "ELSEIF", "CATCH", "PARALLEL_BRANCH"):
        return False
    above = tree.parent[target]
    if above is not None and not tree.contains(above, branch):
        return False
    parallel = tree.parallel_branch(branch)
    return parallel is None or tree.contains(parallel, target)


def goback_targets(tree: Tree, at: int) -> list[int]:
    """The orders of the steps that a GOBACKTO at index `at` may name."""
    branch = tree.branch(at)
    if branch is None:
        return []
    return [tree.components[i].order for i in range(branch + 1) if may_go_back(tree, branch, i)]


# -- definitions -------------------------------------------------------------------------------


def _definitions(scope: Scope) -> Iterator[FlowIssue]:
    for component in scope.tree.components:
        name, where = component.definition, component.order
        if component.is_logic:
            if name not in LOGIC:
                why = "is not included in flowdsl for now" if name in NOT_INCLUDED else "is no flow logic"
                yield FlowIssue("unknown_step", f"{name or 'an empty name'} {why}", where)
            if component.scope != "global":
                yield FlowIssue("wrong_scope", f"flow logic has the scope global, not {component.scope!r}", where)
        elif name == PLACEHOLDER and name not in scope.instance.step_by_name:
            if component.category != "action":
                yield FlowIssue("wrong_category", "a placeholder is an action", where)
            for item in component.inputs:
                yield FlowIssue("unknown_input", "a placeholder has no inputs", where, item.name)
        elif (step := scope.instance.step_by_name.get(name)) is None:
            if name.upper() in NOT_INCLUDED:
                yield FlowIssue("unknown_step", f"{name.upper()} is not included in flowdsl for now", where)
            else:
                hint = did_you_mean(name, scope.instance.step_by_name)
                hint = " (flow logic has the category flowlogic)" if name.upper() in LOGIC else hint
                yield FlowIssue("unknown_step", f"no step {name!r}{hint}", where)
        else:
            if component.category != step.category:
                message = f"{name} is of category {step.category}, not {component.category}"
                yield FlowIssue("wrong_category", message, where)
            if component.scope != step.scope:
                yield FlowIssue("wrong_scope", f"{name} has the scope {step.scope}, not {component.scope}", where)


def _sla(draft: Draft, tree: Tree) -> Iterator[FlowIssue]:
    highest = percentages_before(tree)
    for i, component in enumerate(tree.components):
        if not is_sla_timer(component):
            continue
        if draft.trigger is None or draft.trigger.type != SLA_TRIGGER:
            yield FlowIssue("sla_timer_outside_sla_flow", "an SLA timer needs the SLA trigger", component.order)
        percentage = _percentage(component)
        if percentage is not None and percentage <= highest[i]:
            message = f"{percentage} % does not come after {highest[i]} %"
            yield FlowIssue("sla_timer_order", message, component.order, "percentage")


def is_sla_timer(component: Component) -> bool:
    return component.definition == SLA_TIMER and not component.is_logic


def _percentage(component: Component) -> int | None:
    value = component.get("percentage") or ""
    return int(value[:12]) if value.isascii() and value.isdigit() else None


def percentages_before(tree: Tree) -> list[int]:
    """For each component the highest percentage that an SLA timer before it waits for, 0 if none.

    Before it means on a way that leads to it: the branches of an IF, and those of a PARALLEL, do not
    count for each other.
    """
    before: list[int] = []
    # Of each sequence: the highest before its latest chain, and with it.
    bases: dict[int | None, tuple[int, int]] = {None: (0, 0)}
    for i, component in enumerate(tree.components):
        above = tree.parent[i]
        base, reached = bases.setdefault(above, (before[above],) * 2 if above is not None else (0, 0))
        if not component.is_kind("ELSE", "ELSEIF", "PARALLEL_BRANCH"):
            base = reached
        bases[above] = (base, reached)
        before.append(base)
        percentage = _percentage(component) if is_sla_timer(component) else None
        holder: int | None = i
        while percentage is not None and holder is not None:
            holder = tree.parent[holder]
            base, reached = bases[holder]
            bases[holder] = (base, max(reached, percentage))
    return before
