"""An instance under other names, and flows that follow it: does a model read names, or remember them?

Every step, trigger, table and column is called something else, the labels stay. A flow is rewritten through
its types: a column in a condition, a template, a pill or the name of a field becomes what its own table
calls it now, and text that happens to read like a name stays text.

Kept are the names that the language itself knows: the column `sys_id` of every table, and the tables whose
columns stand in `email_conditions` and `ah_fields`. A trigger that runs on updates still says so in its name,
since only there may conditions ask what has changed. The other rules that are tied to a name (SLA timers,
the service catalogue, waits) do not hold under the new one.

>>> from flowdsl.decompile import decompile
>>> from flowdsl.compile import compile_dsl
>>> instance = Instance.load("servicenow")
>>> other = Renamed.of(instance, "respelled")
>>> flow = compile_dsl('''ON record_create incident
... 1 send_sms
...   recipients: {{trigger.current.caller_id.mobile_phone}}
...   message: "incident"
... ''', instance)
>>> print(decompile(other.flow(flow), other.instance))
ON acmeRecordCreate acmeIncident
1 acmeSendSms
  recipients: {{trigger.current.acmeCallerId.acmeMobilePhone}}
  message: "incident"
<BLANKLINE>
>>> other.back.flow(other.flow(flow)) == flow
True
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from typing import Any

from flowdsl.check_inputs import runs_on_update
from flowdsl.compile import compile_dsl, replaced
from flowdsl.decompile import decompile
from flowdsl.instance import SYS_ID, Field, Instance, Table, TriggerType
from flowdsl.model import Flow, Input, Item, Items
from flowdsl.pairs import Pair
from flowdsl.query import encode_query, parse_query
from flowdsl.retrieve import Suggestions
from flowdsl.scope import PILL, Scope
from flowdsl.tables import columns_for, governing_table, owner_of
from flowdsl.typed import held
from grammars.kinds import RECORDS, kind_of

_WORD = re.compile(r"[A-Za-z]+|[0-9]+")
_KEPT_TABLES = frozenset({"sys_email", "sc_task"})
_SYLLABLES = [first + last for first in "bdfgklmnprstvz" for last in "aeiou"]


def respelled(name: str) -> str:
    """Another house's spelling: ``acmeSendEmail`` for ``send_email``."""
    return "acme" + "".join(word[0].upper() + word[1:] for word in _WORD.findall(name))


def opaque(name: str, salt: str = "") -> str:
    """A name that says nothing: two invented words, others with another salt."""
    number = int(sha256((salt + name).encode()).hexdigest()[:12], 16)
    parts = []
    for _ in range(6):
        number, place = divmod(number, len(_SYLLABLES))
        parts.append(_SYLLABLES[place])
    return f"{''.join(parts[:3])}_{''.join(parts[3:])}"


#: Ways to name things anew.
STYLES: Mapping[str, Callable[[str], str]] = {"respelled": respelled, "opaque": opaque}

Names = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Renamed:
    """An instance under other names.

    Attributes:
        whole: the instance as it was.
        name: what it is called now; the index of its names is kept under it.
        steps, triggers, tables, columns: the new name of each old one.
    """

    whole: Instance
    name: str
    steps: Names
    triggers: Names
    tables: Names
    columns: Names

    @classmethod
    @lru_cache(maxsize=32)
    def of(cls, instance: Instance, style: str) -> "Renamed":
        """An instance in one of the `STYLES`, made once; ``opaque-SALT`` has other invented words."""
        kind, _, salt = style.partition("-")
        name: Callable[[str], str] = partial(opaque, salt=salt) if salt else STYLES[kind]
        updates = {trigger.name for trigger in instance.triggers if runs_on_update(trigger)}
        columns = {column.name for table in instance.tables for column in table.columns} - {SYS_ID.name}
        return cls(
            instance,
            f"{instance.name}-{style}",
            _distinct((step.name for step in instance.steps), name),
            _distinct(
                (trigger.name for trigger in instance.triggers),
                lambda old: _told(name(old), old in updates),
            ),
            _distinct((table.name for table in instance.tables if table.name not in _KEPT_TABLES), name),
            _distinct(columns, name),
        )

    @cached_property
    def instance(self) -> Instance:
        """The instance under its new names."""
        whole, tables = self.whole, self.tables
        return Instance(  # made anew: a copy would bring what was looked up under the old names
            name=self.name,
            label=whole.label,
            steps=tuple(self._named(step, self.steps) for step in whole.steps),
            triggers=tuple(self._named(trigger, self.triggers) for trigger in whole.triggers),
            tables=tuple(
                Table(
                    name=tables.get(table.name, table.name),
                    label=table.label,
                    extends=tables.get(table.extends or "", table.extends),
                    columns=tuple(map(self._column, table.columns)),
                )
                for table in whole.tables
            ),
        )

    @cached_property
    def back(self) -> "Renamed":
        """The way back."""
        turned = ({new: old for old, new in names.items()} for names in self._all)
        other = Renamed(self.instance, self.whole.name, *turned)
        other.__dict__["instance"] = self.whole
        return other

    def suggestions(self, names: Suggestions) -> Suggestions:
        """What was suggested of the instance, under the new names."""
        other = self.instance
        return replace(
            names,
            steps=tuple(other.step_by_name[self.steps[step.name]] for step in names.steps),
            triggers=tuple(other.trigger_by_name[self.triggers[trigger.name]] for trigger in names.triggers),
            tables=tuple(other.table_by_name[self.tables.get(table.name, table.name)] for table in names.tables),
        )

    @property
    def _all(self) -> tuple[Names, Names, Names, Names]:
        return self.steps, self.triggers, self.tables, self.columns

    # -- the instance --------------------------------------------------------------------------

    def _named(self, item: Any, names: Names) -> Any:
        return item.model_copy(
            update={
                "name": names[item.name],
                "inputs": tuple(map(self._field, item.inputs)),
                "outputs": tuple(map(self._field, item.outputs)),
            }
        )

    def _column(self, column: Field) -> Field:
        return self._field(column).model_copy(update={"name": self.columns.get(column.name, column.name)})

    def _field(self, field: Field) -> Field:
        default = field.default
        if kind_of(field.type) == "table" and isinstance(default, str):
            default = self.tables.get(default, default)
        return field.model_copy(
            update={"reference": self.tables.get(field.reference or "", field.reference), "default": default}
        )

    # -- flows ---------------------------------------------------------------------------------

    def pair(self, pair: Pair) -> Pair:
        """A pair that asks for the same flow of the renamed instance; the requirement stays."""

        def rewritten(text: str) -> str:
            return decompile(self.flow(compile_dsl(text, self.whole)), self.instance)

        return replace(pair, flow=rewritten(pair.flow), prior=rewritten(pair.prior) if pair.prior is not None else None)

    def flow(self, flow: Flow) -> Flow:
        """A flow under the new names; names that the instance does not know stay."""
        scope, renamed = Scope.of(flow, self.whole), flow
        for at in flow.owners:
            owner, definition = owner_of(scope, at)
            fields = {field.name: field for field in definition.inputs} if definition is not None else {}
            inputs = tuple(
                Input(name=item.name, value=self._value(item.value, fields.get(item.name), scope, at))
                for item in owner.inputs
            )
            renamed = replaced(renamed, at, owner.model_copy(update={"inputs": inputs, **self._called(flow, at)}))
        groups = {key: self._items(items) for key in ("inputs", "outputs") if (items := getattr(flow, key)) is not None}
        return renamed.model_copy(update=groups)

    def _called(self, flow: Flow, at: int | None) -> dict[str, str]:
        if at is None:
            return {"type": self.triggers.get(flow.trigger.type, flow.trigger.type)} if flow.trigger else {}
        component = flow.components[at]
        old = component.definition
        return {} if component.is_logic else {"definition": self.steps.get(old, old)}

    def _items(self, items: Items) -> Items:
        def renamed(item: Item) -> Item:
            return item.model_copy(update={"reference": self.tables.get(item.reference or "", item.reference)})

        return Items(items=tuple(map(renamed, items.items)))

    def _value(self, value: str, field: Field | None, scope: Scope, at: int | None) -> str:
        kind = kind_of(field.type) if field is not None and not field.choices else "text"
        if kind == "table":
            return self.tables.get(value, value)
        if field is not None and kind == "field":
            return self._path(value, governing_table(scope, at, field))
        if field is None or kind not in {"conditions", "template"} or PILL.fullmatch(value):
            return self._pills(value, scope, at)
        columns = columns_for(scope, at, field)
        terms = []
        for term in parse_query(value, columns).terms:
            left, operand = self._path(term.left, columns.table), self._pills(term.value, scope, at)
            if term.operator is not None and term.operator.operand in {"field", "offset"}:
                path, mark, rest = term.value.partition("@")
                operand = self._path(path, columns.table) + mark + rest
            if term.left.startswith("{{") or term.operator is None:
                left = self._pills(term.left, scope, at)
            terms.append(replace(term, left=left, value=operand))
        return encode_query(terms)

    def _pills(self, value: str, scope: Scope, at: int | None) -> str:
        """A value with its pills rewritten; each begins with what is in scope and goes on along columns."""
        if "{{" not in value:
            return value
        roots = sorted(scope.sources(at), key=lambda source: -len(source.path))

        def rewritten(match: re.Match[str]) -> str:
            path = match.group(1)
            for root in roots:
                if path.startswith(f"{root.path}."):
                    rest = path[len(root.path) + 1 :]
                    return f"{{{{{root.path}.{self._path(rest, root.typed.table)}}}}}"
            return match.group()

        return PILL.sub(rewritten, value)

    def _path(self, path: str, table: str | None) -> str:
        """A dot-walk from a table under the new names."""
        names: list[str] = []
        rest = path
        while rest and table is not None:
            walks = self.whole.prefixes(table, rest)
            found = next((walk for walk in walks if not walk[1] or walk[1].startswith(".")), None)
            if found is None:
                break
            column, left = found
            names.append(self.columns.get(column.name, column.name))
            table, rest = (held(column).table if held(column).kind in RECORDS else None), left[1:]
        return ".".join([*names, *([rest] if rest else [])])


def _distinct(names: Iterable[str], rename: Callable[[str], str]) -> Names:
    """New names, all different: where two would be the same, the later in the alphabet gets a number."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names):
        new, count = rename(name), 1
        while new in taken or new == name:
            count += 1
            new = f"{rename(name)}_{count}"
        taken.add(new)
        found[name] = new
    return found


def _told(name: str, on_update: bool) -> str:
    """A trigger's name that says that it runs on updates, if it does."""
    says = runs_on_update(TriggerType(name=name))
    return name if says or not on_update else f"{name}_update"
