"""The inputs grammar: what the inputs of one step can be, given what is in scope.

One line an input, in catalogue order, each value typed. Names are terminals, never rule
alternatives, and a whole pill is one terminal, so that no name has to be told from a longer one.
Fields that a template has set already are kept in the 64-bit parameter of its rules.

>>> from grammars.vocabulary import Line, Slot
>>> class None_:
...     is_open, is_plain, names = False, True, ("incident",)
...     def columns(self, table): return {}
...     def is_a(self, table, ancestor): return table == ancestor
>>> print(inputs_grammar([Line("level", Slot("choice", labels=("Low", "High")), mandatory=True)], [], None_()))
start: line_0
K0_LABEL: "Low" | "High"
value4_0: K0_LABEL
line_0: "level: " value4_0 "\\n"
<BLANKLINE>
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby

from grammars.kinds import ANY, RECORDS, fits
from grammars.names import open_field, open_name, open_path, open_pill, open_walk
from grammars.operators import OPERATORS, PERIODS, UNITS, WEEKDAYS, Operator
from grammars.spelling import (
    DATE,
    DATE_TIME,
    INTEGER,
    NUMBER,
    TEXT_CHAR,
    TIME,
    spell_name,
    spell_text,
)
from grammars.text import Empty, Sheet, literal, pattern
from grammars.vocabulary import Line, Slot, Source, Tables

#: Columns in a row that a generated pill or condition may walk.
PILL_DEPTH, FIELD_DEPTH = 4, 3
#: The same for pills that a condition compares.
COMPARED_DEPTH = 3
#: Characters between two pills of a generated text.
TEXT_LENGTH = 400
#: Conditions in one generated query.
MAX_CLAUSES = 8

#: Pills and braces in one generated text.
TEXT_CHUNKS = 16

#: Fields that one template sets where fields are open names.
MAX_OPEN_FIELDS = 24

#: Characters of text on its own, in a query, in a list on its own or in a query, in a range of a query.
_CHARS = {name: TEXT_CHAR.replace('[^"', f'[^"{without}') for name, without in
          (("TEXT", ""), ("QTEXT", "^"), ("BELOW", "^"), ("NAMES", ","), ("ITEM", "^,"), ("END", "^@"))}  # fmt: skip
#: What ends a name in a list or a rule of approval: a pill there holds none of it.
_SEPARATORS = re.compile(r"[,\[\]]")
#: A moment that the platform works out when the flow runs, as it is stored.
_SCRIPT = r"'javascript:gs\.[A-Za-z0-9]{1,40}\(([^'\\()\^@{}\x00-\x1f\x7f]|\\'){0,80}\)'"
_DATES = frozenset({"date", "date_time"})
#: Names of rules.
_PREFIX = {"QTEXT": "operand", "BELOW": "below", "ITEM": "item", "END": "end"}
_MAY_BE_EMPTY = frozenset({"text", "reference", "guid", "list", "choice", ANY})
_BRACE = r"\{"
#: Days of a duration: stored as a date, they end with the year 9999, 2,932,896 days from 1970.
_DAYS = "(0|[1-9][0-9]{0,5}|1[0-9]{6}|2[0-8][0-9]{5})"
_LAST_DAYS = "29([0-2][0-9]{4}|3([01][0-9]{3}|2([0-7][0-9]{2}|8([0-8][0-9]|9[0-6]))))"
#: What would be read as the rest of an operator (IN, in a list; IN_HIERARCHY), and as a pill.
_REST = {"ITEM": "[=<>]|!=|_HIERARCHY", "BELOW": "[=<>]|!=|_DYNAMIC", "QTEXT": "[=<>]|!=", "END": "[=<>]|!="}
_PILLESS = r"~/.*\{\{.*/"
#: The stored value of conditions or a template that say nothing.
_NOTHING = literal("''")


def inputs_grammar(lines: Sequence[Line], sources: Sequence[Source], tables: Tables) -> str:
    """Lark text that accepts exactly the input lines of a step, each ended by a newline.

    Raises:
        Empty: a mandatory input can hold nothing (an outline must not offer such a step).
    """
    return _Inputs(lines, sources, tables).text()


def ends_segment(line: Line, tables: Tables) -> bool:
    """Whether a line ends a segment: what may follow depends on what it says."""
    return line.ends or sets_open_names(line, tables)


def sets_open_names(line: Line, tables: Tables) -> bool:
    """Whether a line sets open names, one segment each: which ones are taken depends on those before."""
    return line.slot.kind == "template" and (tables.is_open or line.table is None or not tables.columns(line.table))


def assignment_grammar(used: Sequence[str], sources: Sequence[Source], tables: Tables) -> str:
    """Lark text of the next field that a template of open names sets: up to the comma, or the end of the line.

    Args:
        used: the fields that are set already.
    """
    return _Inputs([], sources, tables).following(used)


def timer_grammar(sources: Sequence[Source], tables: Tables, kinds: Sequence[Sequence[Line]]) -> str:
    """The same for a step whose inputs come in one of several sets."""
    return _Inputs([], sources, tables).either(kinds)


class _Inputs:
    def __init__(self, lines: Sequence[Line], sources: Sequence[Source], tables: Tables):
        self.lines, self.sources, self.tables = lines, sources, tables
        self.sheet = Sheet()
        self.walks: dict[str, str | None] = {}
        self._paths: dict[tuple[str, int, str], Mapping[str, str]] = {}
        self.ids: dict[str, dict[object, int]] = {}
        self.count = 0
        paths = [source.path for source in sources]
        self.is_plain = tables.is_plain and not any(re.search(r'["\\]', path) for path in paths)
        self.is_listable = tables.is_plain and not any(map(_SEPARATORS.search, paths))

    def id(self, prefix: str, key: object) -> str:
        """A short name for a slot or a table, the same each time."""
        numbers = self.ids.setdefault(prefix, {})
        return f"{prefix}{numbers.setdefault(key, len(numbers))}"

    # -- lines ---------------------------------------------------------------------------------

    def text(self) -> str:
        body = Sheet()
        body.rule("start", [self.sequence(self.lines) or '""'])
        return f"{body}{self.sheet}"

    def sequence(self, lines: Sequence[Line]) -> str:
        """The lines up to one that ends the segment (a template of open names: by its first field), or to the end."""
        cut = next((i for i, line in enumerate(lines) if ends_segment(line, self.tables)), len(lines))
        parts = self.parts(lines[:cut])
        if cut < len(lines):
            parts.append(f"({' | '.join(self.ends(lines[cut], lines[cut + 1 :]))})")
        return " ".join(parts)

    def ends(self, line: Line, rest: Sequence[Line]) -> list[str]:
        """A line that ends the segment, or what follows without it."""
        if not line.ends:
            options = [f"{self.begun(line.name)} {self.assignment([])}"]
            if not line.mandatory:
                options += [f'{self.begun(line.name)} {_NOTHING} "\\n"', self.sequence(rest) or '""']
            return options
        options = []
        with suppress(Empty):
            options.append(self.line(line))
        with suppress(Empty):
            options.append(self.sequence(rest) or '""')
        if not options:
            raise Empty(line.name)
        return options

    def following(self, used: Sequence[str]) -> str:
        body = Sheet()
        body.rule("start", [f'" " {self.assignment(used)}'])
        return f"{body}{self.sheet}"

    def assignment(self, used: Sequence[str]) -> str:
        """One field of a template of open names."""
        more = '("," | "\\n")' if len(used) + 1 < MAX_OPEN_FIELDS else '"\\n"'
        return f'{open_field(self.sheet, used)} " = " {self.queried(Slot(ANY))} {more}'

    def begun(self, name: str) -> str:
        return literal(f"{spell_name(name)}: ")

    def either(self, kinds: Sequence[Sequence[Line]]) -> str:
        body = Sheet()
        options = []
        for lines in kinds:
            try:
                options.append(" ".join(self.parts(lines)))
            except Empty:
                continue
        body.rule("start", options)
        return f"{body}{self.sheet}"

    def parts(self, lines: Sequence[Line]) -> list[str]:
        parts = []
        for line in lines:
            try:
                rule = self.line(line)
            except Empty:
                if line.mandatory:
                    raise
                continue
            parts.append(rule if line.mandatory else f"{rule}?")
        return parts

    def line(self, line: Line) -> str:
        name = f"line_{self.count}"
        self.count += 1
        options = [option for one in (line, line.instead) if one is not None for option in self._spelled(one)]
        return self.sheet.rule(name, options)

    def _spelled(self, line: Line) -> list[str]:
        nothing = [_NOTHING] if not line.mandatory and line.slot.kind in {"conditions", "template"} else []
        try:
            options = [self.value(line), *nothing]
        except Empty:
            options = nothing
        return [f'{self.begun(line.name)} {option} "\\n"' for option in options]

    def value(self, line: Line) -> str:
        kind = line.slot.kind
        if line.words:
            return self.sheet.terminal(f"WORDS{self.id('L', line)[1:]}", map(literal, line.words))
        if kind == "conditions":
            return self.conditions(line)
        if kind == "template":
            return self.template(line)
        if kind == "table":
            return self.table_name()
        if kind == "field":
            return open_path(self.sheet) if self.is_open(line.table) else self.field(line.table, None, FIELD_DEPTH)
        if line.above is not None:
            return self.sheet.terminal("ABOVE", [pattern(greater_than(line.above))])
        if line.known is not None:
            options = self.pill_options(line.slot, known=line.known)
            if not options:
                raise Empty(line.name)
            return options[0]
        return self.plain(line.slot, mandatory=line.mandatory)

    def table_name(self) -> str:
        if "TABLE" in self.sheet:
            return "TABLE"
        if self.tables.is_open:
            return open_name(self.sheet)
        return self.sheet.terminal("TABLE", [literal(spell_name(name)) for name in self.tables.names])

    def is_open(self, table: str | None) -> bool:
        """Whether the fields of a table are open names."""
        return self.tables.is_open or table is None or not self.tables.columns(table)

    # -- values --------------------------------------------------------------------------------

    def plain(self, slot: Slot, mandatory: bool = True) -> str:
        """A value on a line of its own. A rule of approval may hold pills, but is none."""
        if slot.kind == "approval":
            return self.approval()
        empty = not mandatory and slot.kind in _MAY_BE_EMPTY and not slot.labels
        return self._value(slot, "value", "TEXT", empty, PILL_DEPTH)

    def queried(self, slot: Slot) -> str:
        """A value in a template, where `^` may not stand; a field that nothing in scope fits can be cleared."""
        try:
            value = self._value(slot, "operand", "QTEXT", True, PILL_DEPTH)
        except Empty:
            return '"\\"\\""'
        return f"({value} | {self.script()})" if slot.kind in _DATES and not slot.labels else value

    def script(self) -> str:
        return self.once("SCRIPT", [pattern(_SCRIPT)])

    def _value(self, slot: Slot, prefix: str, text: str, empty: bool, depth: int = COMPARED_DEPTH) -> str:
        name = f"{prefix}{'_e' if empty else ''}{depth}_{self.id('K', slot)[1:]}"
        if name in self.sheet:
            return name
        options = [*self.literals(slot, text), *self.pill_options(slot, depth=depth, listed=text == "ITEM")]
        if empty and options:
            # `""` may be a label, then the empty value is written as it is stored
            options.append(_NOTHING if '""' in slot.labels else '"\\"\\""')
        return self.sheet.rule(name, options)

    def literals(self, slot: Slot, text: str) -> Iterator[str]:
        """The spellings of a slot's own values."""
        kind = slot.kind
        if slot.labels:
            yield self.once(f"{self.id('K', slot)}_LABEL", map(literal, slot.labels))
        elif kind == "boolean":
            yield from ('"true"', '"false"')
        elif kind == "integer":
            yield self.once("INTEGER", [pattern(INTEGER)])
        elif kind == "number":
            yield self.once("NUMBER", [pattern(NUMBER)])
        elif kind == "date":
            yield self.once("DATE", [pattern(DATE)])
        elif kind == "date_time":
            yield self.once("DATE_TIME", [pattern(DATE_TIME)])
        elif kind == "time":
            yield self.once("TIME", [pattern(TIME)])
        elif kind == "duration":
            yield self.duration()
        elif kind == "approval":
            yield self.approval()
        elif kind in {"text", ANY}:
            yield self.rich_text(text)
        elif kind == "list":
            yield self.names(slot, queried=text != "TEXT")
        elif kind not in {"record", "records"}:
            yield self.plain_text(text)

    def once(self, name: str, alternatives: Iterable[str]) -> str:
        return name if name in self.sheet else self.sheet.terminal(name, alternatives)

    def duration(self) -> str:
        if "duration" not in self.sheet:
            # Rules, not one terminal: after `10 days` a space may begin the hours or what follows.
            for unit, size in (("HOURS", 4), ("MINUTES", 4), ("SECONDS", 5)):
                self.sheet.terminal(unit, [pattern(f"(0|[1-9][0-9]{{0,{size - 1}}}) {unit.lower()}?")])
            self.sheet.terminal("DAYS", [pattern(f"{_DAYS} days?")])
            # Near the end of the calendar, the rest is less than a day.
            self.sheet.terminal("LAST_DAYS", [pattern(f"{_LAST_DAYS} days")])
            self.sheet.terminal("DAY_HOURS", [pattern("(0|1?[1-9]|10|2[0-3]) hours?")])
            self.sheet.terminal("HOUR_MINUTES", [pattern("(0|[1-5]?[1-9]|[1-5]0) minutes?")])
            self.sheet.terminal("MINUTE_SECONDS", [pattern("(0|[1-5]?[1-9]|[1-5]0) seconds?")])
            self.sheet.rule(
                "duration",
                [
                    'DAYS (" " HOURS)? (" " MINUTES)? (" " SECONDS)?',
                    'LAST_DAYS (" " DAY_HOURS)? (" " HOUR_MINUTES)? (" " MINUTE_SECONDS)?',
                    'HOURS (" " MINUTES)? (" " SECONDS)?',
                    'MINUTES (" " SECONDS)?',
                    "SECONDS",
                ],
            )
        return "duration"

    def approval(self) -> str:
        if "approval" not in self.sheet:
            name = self.once("NAME_TEXT", [pattern(r'[^"\\\[\]{},^\x00-\x1f\x7f ]([^"\\\[\]{},^\x00-\x1f\x7f]{0,60}'
                                                   r'[^"\\\[\]{},^\x00-\x1f\x7f ])?')])  # fmt: skip
            rules = []
            for who, table in (("U", "sys_user"), ("G", "sys_user_group")):
                known = self.tables.is_open or table in self.tables.names
                pills = self.pill_options(Slot("reference", table), quoted=True, listed=True) if known else []
                item = " | ".join([name, *pills])
                head = self.once(
                    f"RULE_{who}", [pattern(rf"(Approves|Rejects|ApprovesRejects)(Any|All|Res|[1-9][0-9]?[#%]){who}\[")]
                )
                rules.append(f'{head} ({item}) ("," ({item})){{0,4}} "]"')
            self.sheet.rule("approval_rule", rules)
            self.sheet.rule("approval", ['"\\"" approval_rule (("Or" | "&") approval_rule){0,3} "\\""'])
        return "approval"

    def names(self, slot: Slot, queried: bool) -> str:
        """Quoted names and pills of records, separated by commas."""
        rule = f"names{'_q' if queried else ''}_{self.id('K', Slot('list', slot.table))[1:]}"
        if rule not in self.sheet:
            chars = _CHARS["ITEM" if queried else "NAMES"]
            name = first = self.once(
                f"LIST_{'Q' * queried}NAME", [f"{pattern(f'({chars}|{_BRACE}){{1,80}}')} & {_PILLESS}"]
            )
            if queried:
                first = self.once("LIST_FIRST", [f"{name}{_safe('END')}"])
            pills = self.pill_options(Slot("list_item", slot.table), quoted=True, listed=True)
            some, more = " | ".join([first, *pills]), " | ".join([name, *pills])
            self.sheet.rule(rule, [f'"\\"" ({some}) ("," ({more})){{0,9}} "\\""'])
        return rule

    def plain_text(self, name: str) -> str:
        """Quoted text without pills: a display name."""
        full = f"{name}_NAME"
        if full not in self.sheet:
            body = pattern(f"({_CHARS[name]}|{_BRACE}){{1,200}}")
            self.sheet.terminal(f"{full}_BODY", [f"{body} & {_PILLESS}{_safe(name)}"])
            self.sheet.terminal(full, [f'"\\"" {full}_BODY "\\""'])
        return full

    def rich_text(self, name: str) -> str:
        """Quoted text with scalar pills in it.

        A brace is a lexeme of its own, with what follows it, so that the lexer can tell the brace
        from a pill without going back.
        """
        rule = f"rich_{name.lower()}"
        if rule in self.sheet:
            return rule
        text = self.once(name, [pattern(f"{_CHARS[name]}{{1,{TEXT_LENGTH}}}")])
        brace = self.once(f"{name}_BRACE", [pattern(_BRACE + _CHARS[name])])
        first = self.once(f"{name}_FIRST", [f"{text}{_safe(name)}"]) if _safe(name) else text
        others = [brace, *self.pill_options(Slot("text"), quoted=True)]
        more_text = f"({' | '.join(others)}) {text}?"  # one text only, or a model that repeats itself goes on for long
        return self.sheet.rule(
            rule,
            [
                f'"\\"" ({first} | {more_text}) ({more_text}){{0,{TEXT_CHUNKS}}} ("\\"" | "{{\\"")',
                '"\\"" "{\\""',
            ],
        )

    # -- pills ---------------------------------------------------------------------------------

    def pill_options(
        self,
        slot: Slot,
        quoted: bool = False,
        depth: int = PILL_DEPTH,
        known: bool | None = None,
        listed: bool = False,
    ) -> list[str]:
        """The terminal of the pills in scope that fit a slot, if there are any; `listed`: without separators."""
        quoted = quoted and not self.is_plain
        listed = listed and not self.is_listable
        slot = Slot(slot.kind, slot.table)
        which = {None: "", True: "_KNOWN", False: "_NAMELESS"}[known]
        name = f"{self.id('K', slot)}_PILL{depth}{'_QUOTED' * quoted}{'_LISTED' * listed}{which}"
        if name in self.sheet:
            return [name]
        mode = ("quoted" if quoted else "pill") + "_listed" * (listed and not self.tables.is_plain)

        def wanted(gives: Slot) -> bool:
            is_known = gives.table is not None and gives.kind != ANY
            return known in {None, is_known} and fits(gives.kind, gives.table, slot.kind, slot.table, self.tables.is_a)

        options = []
        for source in self.sources:
            if listed and _SEPARATORS.search(source.path):
                continue
            path = _escape(source.path, mode)
            if wanted(source.slot):
                options.append(literal(f"{{{{{path}}}}}"))
            walk = self.walk(source.slot, depth, (slot, known), wanted, mode)
            if walk is not None:
                options.append(f"{literal(f'{{{{{path}.')} {walk} {literal('}}')}")
        return [self.sheet.terminal(name, options)] if options else []

    def walk(self, start: Slot, depth: int, key: object, wanted: Callable[[Slot], bool], mode: str) -> str | None:
        """The terminal of the walks from a record to a wanted column; None if there are none."""
        if start.kind not in RECORDS:
            return None
        if self.tables.is_open:
            return open_pill(self.sheet) if wanted(Slot(ANY)) else None
        if start.table is None:
            return None
        name = f"W{self.id('T', (start.table, mode))}{self.id('G', key)}D{depth}"
        if name in self.walks:
            return self.walks[name]
        options = []
        for table, path in self.paths(start.table, depth, mode).items():
            ends = [
                self.once(f"C{self.id('T', (table, mode))}{self.id('S', slot)}", [self.choice_of(names, mode)])
                for slot, names in self.columns(table, mode)
                if wanted(slot)
            ]
            if ends:
                options.append(f"{path} ({' | '.join(ends)})")
        self.walks[name] = self.sheet.terminal(name, options) if options else None
        return self.walks[name]

    def paths(self, start: str, depth: int, mode: str) -> Mapping[str, str]:
        """The tables that fewer than `depth` references lead to from `start`, each with a terminal.

        The way to a table and the columns there are terminals of their own, so that each name is
        written once, however many kinds of values are looked for.
        """
        key = (start, depth, mode)
        if key not in self._paths:
            found: dict[str, list[str]] = {start: ['""']}
            level = {start: '""'}
            for length in range(1, depth):
                following: dict[str, list[str]] = {}
                for table, path in level.items():
                    for further, names in _by_table(dict(self.columns(table, mode))):
                        ids = f"{self.id('T', (table, mode))}{self.id('T', (further, mode))}"
                        step = self.once(f"R{ids}", [f'{self.choice_of(names, mode)} "."'])
                        following.setdefault(further, []).append(f"{path} {step}")
                prefix = f"P{self.id('T', (start, mode))}L{length}"
                level = {t: self.once(f"{prefix}{self.id('T', (t, mode))}", ways) for t, ways in following.items()}
                for table, path in level.items():
                    found.setdefault(table, []).append(path)
            self._paths[key] = {t: ways[0] if len(ways) == 1 else f"({' | '.join(ways)})" for t, ways in found.items()}
        return self._paths[key]

    def columns(self, table: str, mode: str) -> Iterable[tuple[Slot, Sequence[str]]]:
        """A table's columns by what they hold, without those whose name may not stand in a list."""
        columns = self.tables.by_slot(table).items()
        if not mode.endswith("_listed"):
            return columns
        usable = ((slot, [name for name in names if not _SEPARATORS.search(name)]) for slot, names in columns)
        return ((slot, names) for slot, names in usable if names)

    def choice_of(self, names: Sequence[str], mode: str) -> str:
        spell = spell_name if mode == "field" else lambda name: _escape(name, mode)
        return f"({' | '.join(literal(spell(name)) for name in names)})"

    # -- fields --------------------------------------------------------------------------------

    def field(self, table: str | None, slot: Slot | None, depth: int) -> str:
        """The terminal of the fields of a table, all (`slot` None) or those of a slot."""
        if table is None or self.is_open(table):
            return open_walk(self.sheet)
        mode = "pill" if self.tables.is_plain else "field"
        key = ("all",) if slot is None else ("field", slot)
        walk = self.walk(Slot("record", table), depth, key, lambda gives: slot is None or gives == slot, mode)
        if walk is None:
            raise Empty(table)
        return walk

    def classes(self, table: str, depth: int) -> list[Slot]:
        """The different slots among the fields of a table, in order of appearance."""
        found: dict[Slot, None] = {}
        level = {table: None}
        for _ in range(depth):
            following: dict[str, None] = {}
            for name in level:
                for slot in self.tables.by_slot(name):
                    found.setdefault(slot)
                    if slot.kind in RECORDS and slot.table is not None:
                        following.setdefault(slot.table)
            level = following
        return list(found)

    # -- conditions ----------------------------------------------------------------------------

    def is_pills(self, line: Line) -> bool:
        """Whether conditions compare pills, not fields."""
        return line.table is None and line.slot.table == "pills"

    def conditions(self, line: Line) -> str:
        rule = f"conditions_{self.id('L', line)[1:]}"
        if self.is_pills(line):
            clauses = self.pill_clauses(line)
        else:
            clauses = self.field_clauses(line)
        self.sheet.rule(f"{rule}_clause", clauses)
        join = '(" AND " | " OR " | " NQ ")'
        return self.sheet.rule(rule, [f"{rule}_clause ({join} {rule}_clause){{0,{MAX_CLAUSES - 1}}}"])

    def pill_clauses(self, line: Line) -> list[str]:
        clauses: list[str] = []
        classes: dict[Slot, None] = {}
        for source in self.sources:
            classes.setdefault(source.slot)
            if source.slot.kind in RECORDS and source.slot.table is not None:
                for slot in self.classes(source.slot.table, COMPARED_DEPTH):
                    classes.setdefault(slot)
        if self.tables.is_open:
            classes.setdefault(Slot(ANY))
        for slot in classes:
            left = self.pills_of(slot)
            try:
                clauses += [f"{left} {self.tail(slot, line)}"] if left is not None else []
            except Empty:
                continue
        return clauses

    def pills_of(self, slot: Slot) -> str | None:
        """The terminal of the pills that are exactly of a slot."""
        options = []
        for source in self.sources:
            if source.slot == slot:
                options.append(literal(f"{{{{{source.path}}}}}"))
            walk = self.walk(source.slot, COMPARED_DEPTH, ("field", slot), lambda gives: gives == slot, "pill")
            if walk is not None and not (self.tables.is_open and slot.kind != ANY):
                options.append(f"{literal(f'{{{{{source.path}.')} {walk} {literal('}}')}")
        return self.once(f"{self.id('K', slot)}_LEFT", options) if options else None

    def field_clauses(self, line: Line) -> list[str]:
        columns = self.tables.columns(line.table) if line.table is not None else {}
        if self.tables.is_open or not columns:
            return [f"{open_walk(self.sheet)} {self.tail(Slot(ANY), line)}"]
        assert line.table is not None
        depth = 1 if line.own_fields else FIELD_DEPTH
        risky = clashes(columns)
        clauses = []
        for slot in self.classes(line.table, depth):
            if risky:
                own = [name for name, gives in columns.items() if gives == slot]
                for words, names in _group(own, lambda name: risky.get(name, frozenset())):
                    clauses.append(f"{self.choice_of(names, 'field')} {self.tail(slot, line, words)}")
                if depth == 1 or not any(s.kind in RECORDS for s in columns.values()):
                    continue
            try:
                clauses.append(f"{self.field(line.table, slot, depth)} {self.tail(slot, line)}")
            except Empty:
                continue
        return clauses

    def tail(self, slot: Slot, line: Line, without: frozenset[str] = frozenset()) -> str:
        """The rule of what may follow a field or pill of this slot: operator and operand."""
        key = (slot, line.table, line.on_change, line.own_fields, without)
        name = f"tail_{self.id('C', key)[1:]}"
        if name in self.sheet:
            return name
        by_operand: dict[str, list[Operator]] = {}
        for operator in OPERATORS:
            if slot.kind in operator.kinds and (line.on_change or not operator.on_change):
                if operator.name not in without:
                    by_operand.setdefault(operator.operand, []).append(operator)
        if line.own_fields:
            for operand in ("span", "period"):
                by_operand.pop(operand, None)
        options: list[str] = []
        for operand, operators in by_operand.items():
            options += self.tails(operand, operators, slot, line)
        return self.sheet.rule(name, options)

    def tails(self, operand: str, operators: list[Operator], slot: Slot, line: Line) -> Iterator[str]:
        words = f"({' | '.join(literal(f' {operator.word} ') for operator in operators)})"
        if operand == "none":
            yield f"({' | '.join(literal(f' {operator.word}') for operator in operators)})"
        elif operand == "value":
            clearing = [op for op in operators if op.name in {"=", "!=", "CHANGESTO", "CHANGESFROM"}]
            below = [op for op in operators if op.name == "IN_HIERARCHY"]
            others = [op for op in operators if op not in {*clearing, *below}]
            for group, chars, empty in ((clearing, "QTEXT", True), (others, "QTEXT", False), (below, "BELOW", False)):
                if group:
                    these = f"({' | '.join(literal(f' {operator.word} ') for operator in group)})"
                    try:
                        yield f"{these} {self._value(slot, _PREFIX[chars], chars, empty)}"
                    except Empty:
                        if empty:
                            yield f'{these} "\\"\\""'
            if slot.kind in _DATES and not line.own_fields:
                yield f"{words} {self.script()}"
                edges = [op for op in operators if op.name in {"<", "<=", ">", ">="}]
                yield f"({' | '.join(literal(f' {op.word} ') for op in edges)}) {self.period()}"
        elif operand == "text":
            text = slot if slot.kind == "list" else Slot("text")
            yield f"{words} {self._value(text, 'operand', 'QTEXT', False)}"
        elif operand == "list":
            item = self.item(slot, "ITEM")
            if item is not None:
                yield f'{words} "(" {item} (", " {item}){{0,15}} ")"'
        elif operand == "range":
            item = self.item(slot, "END")
            if item is not None and slot.kind in _DATES and not line.own_fields:
                item = f"({item} | {self.script()})"
            if item is not None:
                yield f'{words} {item} " TO " {item}'
        elif operand == "field" and not self.is_pills(line):
            unit = f' (" BY " {self.once("UNIT", map(literal, UNITS))})?' if slot.kind in _DATES else ""
            yield f"{words} {self.field(line.table, None, 1 if line.own_fields else FIELD_DEPTH)}{unit}"
        elif operand == "period":
            yield f"{words} {self.period()}"
        elif operand == "span":
            yield f"{words} {self.span()} {self.once('DIRECTION', [literal(' ago'), literal(' ahead')])}"
        elif operand == "offset" and not self.is_pills(line):
            field = self.field(line.table, None, 1 if line.own_fields else FIELD_DEPTH)
            yield f'{words} {self.span()} (" before " | " after ") {field}'
        elif operand == "weekday":
            yield f"{words} {self.once('WEEKDAY', map(literal, WEEKDAYS))}"

    def item(self, slot: Slot, text: str) -> str | None:
        """One value of a list or a range: text in it does not hold what stands between two of them."""
        try:
            return self._value(slot, _PREFIX[text], text, empty=slot.kind in _MAY_BE_EMPTY and not slot.labels)
        except Empty:
            return None

    def period(self) -> str:
        return self.once("PERIOD", map(literal, PERIODS))

    def span(self) -> str:
        units = "|".join(f"{unit}s?" for unit in UNITS)
        return self.once("SPAN", [pattern(rf"(0|[1-9][0-9]{{0,8}}) ({units})")])

    # -- templates -----------------------------------------------------------------------------

    def template(self, line: Line) -> str:
        """Assignments to different fields."""
        assert line.table is not None
        columns = self.tables.columns(line.table)
        risky = {name for name, words in clashes(columns).items() if "=" in words}
        fields = [(literal(spell_name(n)), columns[n]) for n in _usual_first(columns) if n not in risky]
        start = f"set_{self.id('L', line)[1:]}"
        self._distinct(start, fields)
        return f"{start}_0::0x0"

    def _distinct(self, start: str, fields: Sequence[tuple[str, Slot]]) -> None:
        """Rules for a list of assignments in which no field comes twice.

        The parameter has one bit for each of the first fields, and a few slots that hold the
        numbers of the others, so that tables of hundreds of columns need no larger parameter.
        """
        bits, slots = (len(fields), 0) if len(fields) <= 63 else (0, 3)
        width = (len(fields)).bit_length()
        bits = bits or 63 - slots * width
        if not fields:
            raise Empty(start)
        for level in range(slots + 1):
            options = []
            for i, (field, slot) in enumerate(fields):
                value = self.queried(slot)
                terminal = self.once(f"{start.upper()}_F{i}", [f'{field} " = "'])
                if i < bits:
                    options.append(f"{terminal} {value} {start}_more_{level}::set_bit({i}) %if bit_clear({i})")
                elif level < slots:
                    number = i - bits + 1
                    tests = [f"ne([{bits + k * width}:{bits + (k + 1) * width}],{number})" for k in range(level)]
                    condition = f" %if {_all(tests)}" if tests else ""
                    stored = hex(number << (bits + level * width))
                    options.append(f"{terminal} {value} {start}_more_{level + 1}::bit_or({stored}){condition}")
            self.sheet.rule(f"{start}_{level}::_", options)
            others = len(fields) - bits if level < slots else 0
            left = "" if others > level else f" %if ne([0:{bits}],{hex((1 << bits) - 1)})"
            self.sheet.rule(f"{start}_more_{level}::_", ['""', f'", " {start}_{level}::_{left}'])


def _safe(name: str) -> str:
    """What keeps text in a query from being read as part of the operator before it."""
    return f" & ~/({_REST[name]}).*/" if name in _REST else ""


def greater_than(low: int, high: int = 999) -> str:
    """A pattern of the whole numbers above `low`, up to `high` (at most three digits).

    >>> import re
    >>> [n for n in range(1000) if re.fullmatch(greater_than(985), str(n))]
    [986, 987, 988, 989, 990, 991, 992, 993, 994, 995, 996, 997, 998, 999]
    """
    options = []
    for tens, numbers in groupby(range(low + 1, high + 1), key=lambda n: n // 10):
        ones = [n % 10 for n in numbers]
        head = str(tens) if tens else ""
        options.append(f"{head}[{ones[0]}-{ones[-1]}]")
    return f"({'|'.join(options)})"


def clashes(columns: Mapping[str, Slot]) -> dict[str, frozenset[str]]:
    """For columns whose name another column continues: the operators that would be misread.

    With columns `x` and `xIN`, the query `xIN5` speaks of the second.
    """
    names = list(columns)
    known = sorted(names)
    risky: dict[str, frozenset[str]] = {}
    for i, name in enumerate(known):
        words = set()
        for longer in known[i + 1 :]:
            if not longer.startswith(name):
                break
            rest = longer[len(name) :]
            words |= {op.name for op in OPERATORS if op.name.startswith(rest) or rest.startswith(op.name)}
        if words:
            risky[name] = frozenset(words)
    return risky


def _all(tests: list[str]) -> str:
    condition = tests[0]
    for test in tests[1:]:
        condition = f"and({condition},{test})"
    return condition


def _usual_first(columns: Mapping[str, Slot]) -> list[str]:
    """Columns that a flow may well set, before those that the platform keeps."""
    return sorted(columns, key=lambda name: name.startswith("sys_"))


def _by_table(columns: Mapping[Slot, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """The reference columns of a table, by the table they lead to."""
    tables: dict[str, list[str]] = {}
    for slot, names in columns.items():
        if slot.kind in RECORDS and slot.table is not None:
            tables.setdefault(slot.table, []).extend(names)
    yield from sorted(tables.items())


def _group(names: list[str], key: Callable[[str], frozenset[str]]) -> Iterator[tuple[frozenset[str], list[str]]]:
    groups: dict[frozenset[str], list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    yield from groups.items()


def _escape(text: str, mode: str) -> str:
    return spell_text(text)[1:-1] if mode.startswith("quoted") else text
