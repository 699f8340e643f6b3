"""Declarations of ServiceNow's SDK (``*.now.ts``) as an instance: Action, Subflow, TriggerDefinition and Table.

Read is the package ``@servicenow/sdk-core``, or a project that is written with it, as a folder or as the archive
that npm makes. The declarations are literals; a small parser reads those, and no node is needed.

>>> source = 'export const ping = Action({name: "Ping", inputs: {host: StringColumn({mandatory: true})}})'
>>> read_fluent({"ping.now.ts": source}, "tiny")["steps"][0]["inputs"]
[{'name': 'host', 'label': 'Host', 'type': 'string', 'mandatory': True}]
"""

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowdsl.errors import InvalidInstance
from flowdsl.model import PLACEHOLDER
from flowdsl.words import first_words

ENDING = ".now.ts"
#: Bytes of one declaration file; the largest of the package has 60 kB.
_LARGEST = 5_000_000
_DEEPEST = 100

_TOKEN = re.compile(
    r"""\s+|//[^\n]*|/\*.*?\*/
    |(?P<str>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`)
    |(?P<num>-?\d+(?:\.\d+)?)
    |(?P<id>[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*)
    |(?P<op>=>|\.\.\.|.)""",
    re.S | re.X,
)
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.S)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}
_CONSTANTS = {"true": True, "false": False, "null": None, "undefined": None}


class NotLiteral(Exception):
    """A declaration holds more than literals and calls."""


@dataclass(frozen=True)
class Call:
    """``Name({...})``: a call found in a literal."""

    name: str
    arguments: list[Any] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        return next((argument for argument in self.arguments if isinstance(argument, dict)), {})


class Literals:
    """Reads the values that declarations are made of.

    >>> Literals("{a: [1, 'x' + 'y'], b: Column({c: true})}").value()
    {'a': [1, 'xy'], 'b': Call(name='Column', arguments=[{'c': True}])}
    """

    def __init__(self, text: str, start: int = 0):
        self._tokens = ((m.lastgroup, m.group()) for m in _TOKEN.finditer(text, start) if m.lastgroup)
        self._next = next(self._tokens, None)
        self._depth = 0

    def value(self) -> Any:
        """The value that comes next.

        Raises:
            NotLiteral: what comes next is none.
        """
        value = self._primary()
        while self._peek() == "+":  # 'a' + 'b'
            self._take()
            value = str(value) + str(self._primary())
        if self._peek() == "as":  # a type assertion: skip it
            while self._peek() not in {",", ")", "}", "]", ""}:
                if self._take()[1] == "<":
                    while self._take()[1] != ">":
                        pass
        return value

    def _peek(self) -> str:
        return self._next[1] if self._next is not None else ""

    def _take(self, expected: str | None = None) -> tuple[str | None, str]:
        if self._next is None:
            raise NotLiteral("the text ends too soon")
        taken = self._next
        if expected is not None and taken[1] != expected:
            raise NotLiteral(f"expected {expected!r}, found {taken[1][:40]!r}")
        self._next = next(self._tokens, None)
        return taken

    def _primary(self) -> Any:
        kind, text = self._take()
        if kind == "str":
            return _unquoted(text)
        if kind == "num":
            return float(text) if "." in text else int(text)
        if text == "[":
            return self._sequence("]")
        if text == "{":
            return self._object()
        if kind == "id":
            if text in _CONSTANTS:
                return _CONSTANTS[text]
            if self._peek() == "(":
                self._take()
                return Call(text, self._sequence(")"))
            if self._peek().startswith("`"):  # a tagged template
                return _unquoted(self._take()[1])
            return text
        raise NotLiteral(f"unexpected {text[:40]!r}")

    def _sequence(self, end: str) -> list[Any]:
        items = []
        self._enter()
        while self._peek() != end:
            items.append(self.value())
            if self._peek() == ",":
                self._take()
        self._take(end)
        self._depth -= 1
        return items

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._enter()
        while self._peek() != "}":
            kind, key = self._take()
            self._take(":")
            found[_unquoted(key) if kind == "str" else key] = self.value()
            if self._peek() == ",":
                self._take()
        self._take("}")
        self._depth -= 1
        return found

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotLiteral("nested too deeply")


def _unquoted(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape[0] in "ux" and len(escape) > 1:
            return chr(int(escape[1:].strip("{}"), 16))
        return _ESCAPES.get(escape, escape)

    return _ESCAPE.sub(one, text[1:-1])


def declarations(text: str, function: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Exported name and options of every ``export const x = function({...})`` in a text.

    Raises:
        NotLiteral: one of them holds more than literals.
    """
    for match in re.finditer(r"^export const (\w+)\s*=\s*(?=" + function + r"\()", text, re.M):
        try:
            declared = Literals(text, match.end()).value()
        except (NotLiteral, ValueError, OverflowError) as error:
            raise NotLiteral(f"cannot read {match.group(1)}: {error}") from error
        yield match.group(1), declared.options if isinstance(declared, Call) else {}


# -- names, labels, types -----------------------------------------------------------------------

ACRONYMS = {
    "id": "ID", "url": "URL", "ui": "UI", "sla": "SLA", "ci": "CI", "css": "CSS", "js": "JS", "acl": "ACL",
    "html": "HTML", "rest": "REST", "soap": "SOAP", "ip": "IP", "http": "HTTP", "api": "API", "cab": "CAB",
    "rfc": "RFC", "gl": "GL", "po": "PO", "ux": "UX", "wsdl": "WSDL", "xml": "XML", "json": "JSON", "kb": "KB",
    "cmdb": "CMDB", "ldap": "LDAP", "sms": "SMS", "wf": "WF", "ws": "WS", "sc": "SC", "sp": "SP", "sys": "Sys",
    "nlu": "NLU", "csm": "CSM", "gql": "GQL", "sql": "SQL", "jdbc": "JDBC", "ssl": "SSL", "ftp": "FTP",
}  # fmt: skip
TYPES = {
    "DocumentId": "record", "TemplateValue": "template_value", "FlowArray": "list", "Float": "decimal",
    "DueDate": "date_time", "CalendarDateTime": "date_time", "DayOfWeek": "choice", "MultiLineText": "string",
    "Radio": "choice",
}  # fmt: skip
GENERIC = {  # columnType of a GenericColumn
    "GUID": "guid", "journal_input": "journal", "journal": "journal", "journal_list": "journal",
    "currency": "decimal", "price": "decimal", "percent_complete": "decimal", "long": "integer",
    "longint": "integer", "order_index": "integer", "translated_html": "html", "html_script": "html",
    "html_template": "html", "glide_date_time": "date_time", "glide_duration": "duration", "timer": "duration",
    "glide_utc_time": "time", "short_table_name": "table_name", "ph_number": "phone_number",
    "phone_number_e164": "phone_number", "char": "string", "workflow": "string",
}  # fmt: skip
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DAY_CHOICES = [{"value": str(i), "label": day} for i, day in enumerate(_DAYS, 1)]
BAD_NAME = re.compile(r"[{}^=<>!@\x00-\x1f\x7f]")
_BAD_TEXT = re.compile(r"[\x00-\x1f\x7f^]")


def snake(name: str) -> str:
    """
    >>> snake("lookUpRecords"), snake("HTMLText")
    ('look_up_records', 'html_text')
    """
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def humanised(name: str, title: bool = False) -> str:
    """
    >>> humanised("sla_due"), humanised("user_role", title=True)
    ('SLA due', 'User Role')
    """
    words = [ACRONYMS.get(word.lower(), word) for word in name.strip("_").split("_") if word]
    if title:
        words = [word[:1].upper() + word[1:] for word in words]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def label_of(options: Mapping[str, Any]) -> str | None:
    label = options.get("label")
    if isinstance(label, list):
        label = next((part.get("label") for part in label if isinstance(part, dict) and part.get("label")), None)
    return " ".join(str(label).split()) if label else None


def type_of(call: Call) -> str:
    kind = call.name.removesuffix("Column")
    if kind == "Generic":
        column_type = call.options.get("columnType") or call.options.get("column_type") or "string"
        return GENERIC.get(str(column_type), snake(str(column_type)))
    return TYPES.get(kind, snake(kind))


def choices_of(options: Mapping[str, Any]) -> list[dict[str, str]]:
    """Choices in the given sequence; one that cannot be written (an empty value) is left out."""
    given = options.get("choices")
    if not isinstance(given, dict):  # none, or the name of a constant of another file
        return []
    found = []
    for position, (value, shown) in enumerate(given.items()):
        sequence = shown.get("sequence") if isinstance(shown, dict) else None
        label = label_of(shown) if isinstance(shown, dict) else shown
        label = " ".join(str(label or "").split()) or humanised(value)
        if value not in ("", "NULL_OVERRIDE") and not _BAD_TEXT.search(value):
            found.append((sequence if isinstance(sequence, int) and sequence >= 0 else 0, position, value, label))
    return [{"value": value, "label": label} for _, _, value, label in sorted(found)]


def default_of(options: Mapping[str, Any]) -> str | None:
    """A default that says something: not empty, and no key of one installation's record."""
    default = options.get("default")
    if default is None or default == "" or re.fullmatch(r"[0-9a-f]{32}", str(default)):
        return None
    return str(default).lower() if isinstance(default, bool) else str(default)


def entry(name: str, label: str | None, kind: str, **more: Any) -> dict[str, Any]:
    """One input, output or column; keys without a value are left out."""
    made = {"name": name, "label": label or humanised(name), "type": kind}
    return made | {key: value for key, value in more.items() if value not in (None, "", False, [])}


# -- an instance ---------------------------------------------------------------------------------


def fluent_files(source: Path) -> dict[str, str]:
    """The declaration files of a folder or of an npm archive, by their paths.

    Raises:
        InvalidInstance: it cannot be read.
    """
    try:
        if source.is_dir():
            paths = [path for path in sorted(source.rglob(f"*{ENDING}")) if "node_modules" not in path.parts]
            return {str(path.relative_to(source)): path.read_bytes()[:_LARGEST].decode() for path in paths}
        files = {}
        with tarfile.open(source) as archive:
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                content = archive.extractfile(member) if member.isfile() and member.name.endswith(ENDING) else None
                if content is not None:
                    files[member.name] = content.read(_LARGEST).decode()
        return files
    except (OSError, tarfile.TarError, UnicodeDecodeError, EOFError) as error:
        raise InvalidInstance(f"cannot read {source}: {error}") from None


def read_fluent(files: Mapping[str, str], name: str) -> dict[str, Any]:
    """The JSON of an instance.

    Of several declarations with one name the first counts. What refers to tables that are not declared refers to
    nothing.

    Raises:
        InvalidInstance: nothing is declared, or a declaration cannot be read; `problems` lists these.
    """
    problems: list[str] = []
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path, text in files.items():
        for function in ("Action", "Subflow", "TriggerDefinition", "Table"):
            try:
                for exported, options in declarations(text, function):
                    key = {"TriggerDefinition": "type", "Table": "name"}.get(function, "")
                    given = options.get(key) if isinstance(options.get(key), str) else None
                    called = given or snake(exported)
                    if called != PLACEHOLDER:  # the language has one of its own
                        found.setdefault(function, {}).setdefault(called, options)
            except NotLiteral as problem:
                problems.append(f"{path}: {problem}")
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise InvalidInstance(f"the declarations cannot be read: {problems[0]}{more}", tuple(problems))
    if not found:
        raise InvalidInstance(f"no Action, Subflow, TriggerDefinition or Table is declared in any *{ENDING} file")
    tables = found.get("Table", {})
    steps = [
        {**_definition(called, options, tables), "category": "subflow" if kind == "Subflow" else "action"}
        for kind in ("Action", "Subflow")
        for called, options in found.get(kind, {}).items()
    ]
    triggers = [_definition(called, options, tables) for called, options in found.get("TriggerDefinition", {}).items()]
    return {
        "name": name,
        "steps": sorted(steps, key=lambda step: str(step["name"])),
        "triggers": sorted(triggers, key=lambda trigger: str(trigger["name"])),
        "tables": [_table(called, tables) for called in sorted(tables)],
    }


def _definition(name: str, options: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
    inputs = _fields(options.get("inputs"))
    return {
        "name": name,
        "label": " ".join(str(options.get("name") or humanised(name, title=True)).split()),
        "description": first_words(str(options.get("description") or "")),
        "inputs": [_input(key, call, tables) for key, call in inputs.items()],
        "outputs": [_output(key, call, inputs, tables) for key, call in _fields(options.get("outputs")).items()],
    }


def _fields(given: Any) -> dict[str, Call]:
    """The fields of a declaration that a flow can name."""
    pairs = given.items() if isinstance(given, dict) else ()
    return {key: call for key, call in pairs if isinstance(call, Call) and not BAD_NAME.search(key)}


def _known(options: Mapping[str, Any], tables: Mapping[str, Any]) -> str | None:
    reference = options.get("referenceTable")
    return reference if isinstance(reference, str) and reference in tables else None


def _input(name: str, call: Call, tables: Mapping[str, Any]) -> dict[str, Any]:
    options = call.options
    more = {"mandatory": options.get("mandatory") is True, "default": default_of(options)}
    return entry(
        name, label_of(options), type_of(call), **more, choices=_listed(call), reference=_known(options, tables)
    )


def _output(name: str, call: Call, inputs: Mapping[str, Call], tables: Mapping[str, Any]) -> dict[str, Any]:
    options, kind = call.options, type_of(call)
    reference = _known(options, tables)
    dependent = options.get("dependent")
    if kind in {"record", "records"} and isinstance(dependent, str) and dependent in inputs:
        reference = f"${dependent}"
    return entry(name, label_of(options), kind, choices=_listed(call), reference=reference)


def _table(name: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    options = tables[name]
    columns = []
    for key, call in _fields(options.get("schema")).items():
        kind, listed = type_of(call), _listed(call)
        if listed and kind not in {"reference", "list", "record"}:
            kind = "choice"
        elif kind == "choice":
            kind = "string"  # its choices are listed elsewhere
        listed = listed if kind == "choice" else []
        columns.append(entry(key, label_of(call.options), kind, choices=listed, reference=_known(call.options, tables)))
    parent = options.get("extends")
    label = label_of(options) or humanised(name.removeprefix("sys_"), title=True)
    made = {"name": name, "label": label, "columns": columns}
    return {**made, "extends": parent} if parent in tables else made


def _listed(call: Call) -> list[dict[str, str]]:
    """The choices of a field, without those that a reader could not tell apart."""
    found = DAY_CHOICES if call.name == "DayOfWeekColumn" else choices_of(call.options)
    return list({choice["label"]: choice for choice in found}.values())
