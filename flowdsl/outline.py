"""Generating an outline: after each line, exactly what may come next.

An `Outline` is the state between two pieces of text. It never offers what cannot be completed: a
step whose mandatory pills are not in scope, a block that the limits leave no room to close.

>>> outline = Outline(Instance.load("servicenow"), requirement="Every day at 7, log hello")
>>> piece = outline.constraint()
>>> piece = piece.after('ON "Every day at 7"')
>>> "daily" in piece.grammar and "incident" in piece.grammar
True
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from decoding import Constraint
from flowdsl.check import SLA_TIMER, SLA_TRIGGER
from flowdsl.clauses import logic, without_clause
from flowdsl.compile import WORDS as LOGIC_NAMES
from flowdsl.instance import Instance, Step, TriggerType, table_input
from flowdsl.model import PLACEHOLDER, Category, Component, Flow, Input, Item, Items, Trigger
from flowdsl.reach import Reach
from flowdsl.scope import Scope
from flowdsl.specialise import trigger_tables
from flowdsl.syntax import OutlineLine, parse_lines
from flowdsl.tables import header_input, table_is_optional
from flowdsl.words import stems
from grammars.kinds import LISTS, kind_of
from grammars.outline import OPEN_TABLES, declaration_piece, line_piece, opening_piece, step_piece
from grammars.spelling import read_name, read_text, spell_name, spell_text

_DECLARED = tuple("string integer decimal boolean date date_time duration time choice list html journal".split())
_DECLARED_OF_TABLES = ("reference", "record", "records")
_MAX_DECLARED = 12
_OPENERS = {"IF": 1, "FOREACH": 1, "DOUNTIL": 1, "PARALLEL": 4, "TRY": 3}
#: An annotation, and what follows it; or a line without one.
_LINE = re.compile(r'((?:ON )?"(?:[^"\\\n]|\\.)*")?(.*\n)', re.DOTALL)
_BRANCHES = frozenset({"IF", "ELSEIF", "ELSE", "CATCH"})


@dataclass(frozen=True)
class Limits:
    """Bounds of a generated outline.

    Attributes:
        steps, depth: components in all, and blocks within blocks.
        repeats: how often the same words of the requirement may become the same step.
    """

    steps: int = 24
    depth: int = 5
    repeats: int = 1

    @classmethod
    def for_requirement(cls, text: str) -> "Limits":
        """Room for one step in every two words, which no real requirement needs, so that a model
        that does not find the end is stopped."""
        return cls(steps=min(cls.steps, 3 + len(text.split()) // 2))


@dataclass(frozen=True)
class Outline:
    """An outline up to some point.

    Attributes:
        instance: whose names may come.
        requirement: annotations are spans of it; None: any text.
        placeholders: whether any step may be left open.
        unmatched: parts of the requirement for which the instance has no step: what they ask for is left open.
        forms: what it may be: "flow", "fragment", "subflow".
        stack: the open blocks by order.
        loops: the table that each FOREACH (by index) runs over, None if it has none.
    """

    instance: Instance
    requirement: str | None = None
    placeholders: bool = False
    unmatched: tuple[str, ...] = ()
    forms: tuple[str, ...] = ("flow", "fragment", "subflow")
    limits: Limits = Limits()
    trigger: Trigger | None = None
    declared: tuple[tuple[str, Item], ...] | None = None
    components: tuple[Component, ...] = ()
    stack: tuple[int, ...] = ()
    loops: Mapping[int, str | None] = field(default_factory=dict)

    # -- the flow so far -----------------------------------------------------------------------

    @property
    def flow(self) -> Flow:
        """The outline as a flow; of the inputs it has the tables only."""
        groups = None if self.declared is None else {
            word: Items(items=tuple(item for w, item in self.declared if w == word)) for word in ("input", "output")
        }  # fmt: skip
        return Flow(
            trigger=self.trigger,
            inputs=groups["input"] if groups else None,
            outputs=groups["output"] if groups else None,
            components=self.components,
        )

    def scope(self) -> Scope:
        return Scope.of(self.flow, self.instance, self.loops)

    def _next_scope(self) -> Scope:
        """The scope with one more step where the next one would stand."""
        block = self.stack[-1] if self.stack else None
        ahead = Component(definition="", order=len(self.components) + 1, block=block)
        flow = self.flow.model_copy(update={"components": (*self.components, ahead)})
        return Scope.of(flow, self.instance, self.loops)

    # -- what may come -------------------------------------------------------------------------

    def constraint(self) -> Constraint:
        """What the text must look like from here to the end."""
        if self.trigger is None and self.declared is None and not self.components:
            return self._opening()
        return self._line()

    def _opening(self) -> Constraint:
        words = self._words()
        grammar = opening_piece(
            self.requirement,
            trigger="flow" in self.forms and bool(self.instance.triggers),
            fragment="fragment" in self.forms and bool(words),
            subflow="subflow" in self.forms,
        )
        return Constraint(grammar, (f"ON {self._shortest}", self._shortest), self._opened)

    def _opened(self, text: str) -> Constraint:
        if text.startswith("SUBFLOW"):
            return replace(self, declared=())._declaration()
        if text.startswith("ON "):
            return self._trigger_piece(text)
        return self._step_piece(text)

    def _trigger_piece(self, before: str) -> Constraint:
        words: dict[str, tuple[str, ...] | None] = {}
        optional = set()
        for trigger in self.instance.triggers:
            named = header_input(trigger)
            words[spell_name(trigger.name)] = self._tables(trigger_tables(self.instance, trigger)) if named else None
            if named is not None and not named.mandatory:
                optional.add(spell_name(trigger.name))
        closers = tuple(f" {word}\n" for word in sorted(words, key=lambda word: (words[word] is not None, len(word))))
        grammar = step_piece(words, frozenset(optional))
        return Constraint(grammar, closers[:3], lambda text: self._with(before + text).constraint())

    def _declaration(self) -> Constraint:
        assert self.declared is not None
        types: dict[str, tuple[str, ...] | None] = dict.fromkeys(_DECLARED)
        tables = self._tables(tuple(self.instance.table_by_name))
        types |= dict.fromkeys(_DECLARED_OF_TABLES, tables)
        if len(self.declared) >= _MAX_DECLARED:
            return self._line()
        used = {word: [item.name for of, item in self.declared if of == word] for word in ("input", "output")}
        words = ["output"] if used["output"] else ["input", "output"]
        optional = frozenset(_DECLARED_OF_TABLES if self.instance.is_open else ())
        grammar = declaration_piece(self.requirement, {word.upper(): used[word] for word in words}, types, optional)
        return Constraint(grammar, (self._shortest,), self._declared)

    def _declared(self, text: str) -> Constraint:
        if text.startswith('"'):
            return self._step_piece(text)
        return self._with(text)._declaration()

    def _line(self) -> Constraint:
        may_stop, may_end = self._may_stop(), self._may_end()
        words = self._words()
        if not words and not may_end:
            return Constraint('start: ""')
        grammar = line_piece(self.requirement, step=bool(words), end=may_end, stop=may_stop)
        closers = ("END\n",) if may_end else (self._shortest,)
        return Constraint(grammar, () if may_stop else closers, self._lined)

    def _lined(self, text: str) -> Constraint | None:
        if not text:
            return None
        if text == "END\n":
            return self._with(text).constraint()
        return self._step_piece(text)

    def _step_piece(self, before: str) -> Constraint:
        words = self._words(_annotation(before))
        optional = frozenset(word for word in words if self._table_optional(word))
        closers = tuple(f" {word}\n" for word in self._cheapest(words))
        grammar = step_piece(words, optional)
        return Constraint(grammar, closers, lambda text: self._with(before + text).constraint())

    @property
    def _shortest(self) -> str:
        if self.requirement is None:
            return '"-"'
        words = [word for word in self.requirement.split() if word.isalnum()]
        return spell_text(min(words, key=len)) if words else '"'

    def _cheapest(self, words: Mapping[str, tuple[str, ...] | None]) -> list[str]:
        """Words that finish the block, or say least, first."""
        plain = [word for word, tables in words.items() if tables is None and word not in _OPENERS]

        def cost(word: str) -> tuple[int, int]:
            step = self._step(word)
            return (sum(f.mandatory for f in step.inputs) if step else 0, len(word))

        closing = [word for word in ("CATCH", "BRANCH") if word in plain]
        rest = [word for word in plain if word not in {*closing, "ELSE", "ELSEIF", "GOBACKTO", "TIMER"}]
        return [*closing, *sorted(rest, key=cost)[:3]]

    # -- rules ---------------------------------------------------------------------------------

    def _inside(self) -> list[Component]:
        """The components of the sequence that the next step would stand in."""
        block = self.stack[-1] if self.stack else None
        return [component for component in self.components if component.block == block]

    def _top(self) -> Component | None:
        return self.components[self.stack[-1] - 1] if self.stack else None

    def _may_stop(self) -> bool:
        return not self.stack and bool(self.components)

    def _may_end(self) -> bool:
        top = self._top()
        if top is None or not self._inside() or top.is_kind("TRY", "PARALLEL"):
            return False
        if top.is_kind("DOUNTIL"):
            return self._sees_a_pill(self.stack[-1] - 1)
        if top.is_kind("PARALLEL_BRANCH"):
            return sum(1 for c in self.components if c.block == top.block) > 1
        return True

    def _sees_a_pill(self, at: int) -> bool:
        return next(self.scope().sources(at), None) is not None

    def _steps_needed(self) -> int:
        """Steps that must still come to close every open block."""
        needed = 0
        for order in self.stack:
            block = self.components[order - 1]
            held = sum(1 for component in self.components if component.block == order)
            if block.is_kind("TRY"):
                needed += (not held) + 2
            elif block.is_kind("DOUNTIL"):
                needed += not self._sees_a_pill(order - 1) or not held
            elif block.is_kind("PARALLEL"):
                needed += 2 * max(0, 2 - held)
            else:
                needed += not held
        return needed

    def _words(self, annotation: str | None = None) -> dict[str, tuple[str, ...] | None]:
        """The DSL words that may follow the next annotation, each with the tables it may name.

        Args:
            annotation: if it is known: steps that it has become often enough are left out, unless
                none would be left.
        """
        words = self._legal_words()
        if not self.placeholders and "PLACEHOLDER" in words and annotation is not None:
            if not self._is_unmatched(annotation):
                del words["PLACEHOLDER"]
            else:
                steered = bool(logic(annotation))
                words = {w: t for w, t in words.items() if w == "PLACEHOLDER" or (steered and self._step(w) is None)}
        said = [(c.annotation, c.definition) for c in self.components if not c.is_logic]
        fresh = {w: t for w, t in words.items() if said.count((annotation, _name(w))) < self.limits.repeats}
        return fresh if annotation is not None and fresh else words

    def _is_unmatched(self, annotation: str) -> bool:
        said = f" {' '.join(annotation.split())} "
        parts = [f" {part} " for part in self.unmatched]
        return bool(stems(annotation)) and any(said in part or part in said for part in parts)

    def _legal_words(self) -> dict[str, tuple[str, ...] | None]:
        top = self._top()
        inside = self._inside()
        room = self.limits.steps - len(self.components) - self._steps_needed()
        words: dict[str, tuple[str, ...] | None] = {}
        if top is not None and top.is_kind("PARALLEL"):
            return {"BRANCH": None}
        if top is not None and inside:
            if top.is_kind("TRY"):
                words["CATCH"] = None
            if top.is_kind("IF", "ELSEIF") and room >= 2:
                words["ELSE"] = None
                if self.next_reach().pills:
                    words["ELSEIF"] = None
            if top.is_kind("PARALLEL_BRANCH") and (room >= 2 or not self._may_end()):
                words["BRANCH"] = None
        if inside and inside[-1].is_kind("END"):
            return words
        waits = top is not None and top.is_kind("DOUNTIL") and not self._sees_a_pill(self.stack[-1] - 1)
        if room < 1 and waits:
            # The last step that there is room for must give the pill that the condition needs.
            return words | self._pill_words()
        if room < 1 and inside:
            return words
        words |= self._logic_words(room)
        words |= self._step_words()
        if self.placeholders or self.unmatched:
            words["PLACEHOLDER"] = None
        if waits:
            del words["STOP"]
        return words

    def next_reach(self) -> Reach:
        """What the next step could refer to."""
        return Reach.of(self.instance, self._next_scope().sources(len(self.components)))

    def _logic_words(self, room: int) -> dict[str, tuple[str, ...] | None]:
        reach = self.next_reach()
        words: dict[str, tuple[str, ...] | None] = {}
        around = [self.components[order - 1] for order in reversed(self.stack)]
        kinds = [component.definition for component in around]
        if len(self.stack) < self.limits.depth:
            spare = room + (0 if self._inside() else 1)
            fits = {kind for kind, inner in _OPENERS.items() if spare >= 1 + inner}
            if reach.pills:
                words |= dict.fromkeys(fits & {"IF"})
            words |= dict.fromkeys(fits & {"DOUNTIL", "PARALLEL", "TRY"})
            if reach.lists and "FOREACH" in fits:
                words["FOREACH"] = tuple(map(spell_name, sorted(filter(None, reach.lists)))) or None
        words["TIMER"] = None
        words["STOP"] = None
        branch = next((i for i, kind in enumerate(kinds) if kind in {"IF", "ELSEIF", "ELSE"}), len(kinds))
        loop = next((i for i, kind in enumerate(kinds) if kind in {"FOREACH", "DOUNTIL"}), None)
        if loop is not None and branch < loop:
            words |= {"BREAK": None, "CONTINUE": None}
        if _BRANCHES & set(kinds):
            words["GOBACKTO"] = None
        return words

    def _pill_words(self) -> dict[str, tuple[str, ...] | None]:
        """The words of the steps that give a pill."""
        giving = {spell_name(step.name) for step in self.instance.steps if step.outputs}
        words = {word: tables for word, tables in self._step_words().items() if word in giving}
        return words | {"TIMER": None}

    def _step_words(self) -> dict[str, tuple[str, ...] | None]:
        reach = self.next_reach()
        any_table = self._tables(tuple(self.instance.table_by_name))
        own_tables: tuple[str, ...] | None = any_table
        if None not in reach.records:
            own_tables = tuple(map(spell_name, reach.tables(self.instance)))  # of an open instance, too
        words: dict[str, tuple[str, ...] | None] = {}
        for step in self.instance.steps:
            if not reach.fills(self.instance, step):
                continue
            if step.name == SLA_TIMER and (self.trigger is None or self.trigger.type != SLA_TRIGGER):
                continue
            takes_record = any(kind_of(f.type) == "record" and f.reference is None and f.mandatory for f in step.inputs)
            named = header_input(step)
            words[spell_name(step.name)] = None if named is None else own_tables if takes_record else any_table
        return words

    def _tables(self, tables: tuple[str, ...]) -> tuple[str, ...]:
        return OPEN_TABLES if self.instance.is_open else tuple(map(spell_name, tables))

    def _step(self, word: str) -> Step | None:
        return self.instance.step_by_name.get(_name(word))

    def _table_optional(self, word: str) -> bool:
        if word == "FOREACH":
            return None in self.next_reach().lists
        step = self._step(word)
        return step is not None and table_is_optional(step)

    # -- one line further ----------------------------------------------------------------------

    def _with(self, text: str) -> "Outline":
        """The outline after one more line."""
        lines, issues = parse_lines(text)
        assert not issues and isinstance(lines[0], OutlineLine), (text, issues)
        line = lines[0]
        match line.form:
            case "trigger":
                trigger = self.instance.trigger_by_name[line.names[0]]
                inputs = _table_inputs(line, trigger)
                return replace(self, trigger=Trigger(type=trigger.name, annotation=line.annotation, inputs=inputs))
            case "input" | "output":
                name, kind, *table = line.names
                item = Item(name=name, type=kind, reference=table[0] if table else None)
                return replace(self, declared=(*(self.declared or ()), (line.form, item)))
            case "end":
                closed = self._top()
                levels = 2 if closed is not None and closed.is_kind("PARALLEL_BRANCH") else 1
                return replace(self, stack=self.stack[:-levels])
        return self._with_step(line)

    def _with_step(self, line: OutlineLine) -> "Outline":
        stack, loops = self.stack, dict(self.loops)
        order = len(self.components) + 1
        category: Category = "action"
        name, scope = PLACEHOLDER, "global"
        inputs: tuple[Input, ...] = ()
        if line.form == "logic":
            category, name = "flowlogic", LOGIC_NAMES.get(line.names[0], line.names[0])
            if name in {"ELSE", "ELSEIF", "CATCH"} or (
                name == "PARALLEL_BRANCH" and self.components[stack[-1] - 1].is_kind("PARALLEL_BRANCH")
            ):
                stack = stack[:-1]
            if name == "FOREACH":
                loops[order - 1] = line.names[1] if len(line.names) > 1 else None
        elif line.form == "step":
            step = self.instance.step_by_name[line.names[0]]
            category, name, scope, inputs = step.category, step.name, step.scope, _table_inputs(line, step)
        component = Component(
            category=category,
            definition=name,
            scope=scope,
            order=order,
            block=stack[-1] if stack else None,
            annotation=line.annotation,
            inputs=inputs,
        )
        opens = category == "flowlogic" and (name in _OPENERS or name in {*_BRANCHES, "PARALLEL_BRANCH"})
        following = replace(
            self,
            components=(*self.components, component),
            stack=(*stack, order) if opens else stack,
            loops=loops,
        )
        is_open = name == PLACEHOLDER and not self.placeholders
        return following._without(component.annotation or "") if is_open else following

    def _without(self, annotation: str) -> "Outline":
        """The outline where the clause that holds an annotation is done with."""
        left = without_clause(self.requirement or "", annotation)
        if re.search(r"\w", left):
            return replace(self, requirement=left)
        return replace(self, limits=replace(self.limits, steps=len(self.components) + self._steps_needed()))


def _name(word: str) -> str:
    """The definition that a DSL word stands for."""
    return PLACEHOLDER if word == "PLACEHOLDER" else LOGIC_NAMES.get(word, read_name(word))


def _annotation(before: str) -> str:
    """The annotation that a piece ends with."""
    return read_text(before[before.index('"') :])


def _table_inputs(line: OutlineLine, definition: Step | TriggerType) -> tuple[Input, ...]:
    named = table_input(definition.inputs)
    if named is None or len(line.names) < 2:
        return ()
    return (Input(name=named.name, value=line.names[1]),)


def read_outline(text: str, outline: Outline) -> Outline:
    """The state after a whole outline text, one line after the other."""
    for line in text.split("\n")[:-1]:  # not splitlines: an annotation may hold other line separators
        outline = replace(outline, declared=()) if line == "SUBFLOW" else outline._with(line)
    return outline


def pieces(text: str) -> list[str]:
    r"""An outline text as it is decoded: annotations (with ON before them), and the rests of lines.

    >>> pieces('ON "Every day" daily\n"log hello" log\n')
    ['ON "Every day"', ' daily\n', '"log hello"', ' log\n']
    """
    return [piece for line in text.split("\n")[:-1] for piece in _parts(line) if piece]


def _parts(line: str) -> tuple[str | None, ...]:
    match = _LINE.fullmatch(f"{line}\n")
    assert match is not None
    return match.groups()


def loop_tables(flow: Flow, instance: Instance) -> dict[int, str | None]:
    """A table for each FOREACH without items: that of the latest list in scope with which its body can be filled."""
    loops: dict[int, str | None] = {}
    for at, component in enumerate(flow.components):
        if not component.is_kind("FOREACH") or component.get("items") is not None:
            continue
        sources = Scope.of(flow, instance, loops).sources(at)
        direct = [source.typed.table for source in sources if source.typed.kind in LISTS]
        reach = Reach.of(instance, Scope.of(flow, instance, loops).sources(at))
        options = [*reversed(direct), *sorted(filter(None, reach.lists))]
        fitting = (table for table in options if _fillable(flow, instance, {**loops, at: table}, at))
        loops[at] = next(fitting, options[0] if options else None)
    return loops


def _fillable(flow: Flow, instance: Instance, loops: Mapping[int, str | None], loop: int) -> bool:
    """Whether every step inside the loop can be filled, were it to run over this table."""
    scope = Scope.of(flow, instance, loops)
    for at in range(loop + 1, len(flow.components)):
        definition = scope.definition(scope.tree.components[at])
        if scope.tree.contains(loop, at) and definition is not None and not scope.tree.components[at].is_logic:
            if not Reach.of(instance, scope.sources(at)).fills(instance, definition):
                return False
    return True
