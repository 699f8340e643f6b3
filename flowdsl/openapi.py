"""An OpenAPI 3 document as an instance: what a service offers becomes steps, what it speaks of tables.

    operation                     step: its parameters and the properties of its body are the inputs
    response of an operation      outputs: a record, a list of records, or single values
    webhook (3.1), callback       trigger: its payload are the outputs
    component schema (object)     table: its properties are the columns
    allOf with one reference      a table that extends another
    enum                          choices

What is not told by the document (times that start a flow, say) can stand in a second instance file of the
same folder: a folder is read as one instance.

>>> instance = read_openapi({"openapi": "3.0.3", "info": {"title": "Pets"}, "paths": {"/pets/{id}": {"delete": {
...     "operationId": "deletePet", "summary": "Delete a pet", "parameters": [
...     {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}]}}}})
>>> instance["steps"][0]["label"], instance["steps"][0]["inputs"][0]["type"]
('Delete a pet', 'integer')
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flowdsl.errors import InvalidInstance
from flowdsl.model import PLACEHOLDER
from flowdsl.words import first_words, spoken

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_TYPES = {"integer": "integer", "number": "decimal", "boolean": "boolean", "string": "string"}
_FORMATS = {"date": "date", "date-time": "date_time", "time": "time", "duration": "duration"}
#: Headers that are no business of a flow.
_HEADERS = frozenset({"accept", "content-type", "authorization"})
_UNSAFE = re.compile(r"[{}^=<>!@.\s\x00-\x1f\x7f\u2028\u2029]+")
_NAME = 120
#: References followed and objects opened on the way to one schema.
_DEPTH = 40
#: Schemas opened in all; some large public documents need 100,000.
_MOST_OPENED = 1_000_000

Json = Mapping[str, Any]


def read_openapi(document: Any, name: str = "") -> dict[str, Any]:
    """The JSON of an instance.

    Args:
        document: the parsed document.
        name: of the instance; default: from its title.

    Raises:
        InvalidInstance: it is no OpenAPI 3 document, or parts of it make no sense; `problems` has all of them,
            each with its place.
    """
    if not isinstance(document, Mapping):
        raise InvalidInstance("not an OpenAPI document: it is no object")
    if "swagger" in document:
        raise InvalidInstance(f"Swagger {document['swagger']} is not read: convert the document to OpenAPI 3 first")
    version = document.get("openapi")
    if not (isinstance(version, str) and version.startswith("3.")):
        raise InvalidInstance(f"not an OpenAPI 3 document: 'openapi' is {version!r}")
    return _Reader(document).instance(name)


class _Problem(Exception):
    """Something that cannot be read, with its place."""


class _Reader:
    """One document, and what was found in it so far."""

    def __init__(self, document: Json):
        self.document = document
        self.problems: list[str] = []
        self.tables: dict[str, dict[str, Any]] = {}
        self.table_of: dict[str, str] = {}  # by the reference to the schema
        self.taken: set[str] = {PLACEHOLDER}
        self.opened = 0

    def instance(self, name: str) -> dict[str, Any]:
        info = self._object(self.document.get("info"), "$.info")
        title = _text(info.get("title"))
        self._name_tables()
        steps = list(self._operations())
        triggers = list(self._webhooks())
        if not steps and not triggers and not self.problems:
            self.problems.append("$.paths: no operation and no webhook")
        if self.problems:
            more = f" (and {len(self.problems) - 1} more problems)" if len(self.problems) > 1 else ""
            raise InvalidInstance(f"the document cannot be read: {self.problems[0]}{more}", tuple(self.problems))
        return {
            "name": name or _safe(title).lower() or "imported",
            "label": title,
            "steps": steps,
            "triggers": triggers,
            "tables": list(self.tables.values()),
        }

    # -- steps and triggers --------------------------------------------------------------------

    def _operations(self) -> Iterator[dict[str, Any]]:
        for path, item in self._items(self.document.get("paths"), "$.paths"):
            for method, operation, place in self._methods(item, f"$.paths[{path}]"):
                words = f"{method} {re.sub(r'[{}]', '', path)}"
                given = _text(operation.get("operationId")) or re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_")
                step_name = self._free(given)
                try:
                    yield self._step(step_name, item, operation, place, words)
                except _Problem as problem:
                    self.problems.append(str(problem))

    def _step(self, name: str, item: Json, operation: Json, place: str, words: str) -> dict[str, Any]:
        fields = list(self._parameters(item, operation, place))
        body = self._resolved(operation.get("requestBody") or {}, f"{place}.requestBody")
        schema, schema_place = self._content(body, f"{place}.requestBody")
        if schema is not None:
            needed = body.get("required") is True
            known = {field["name"] for field in fields}
            for field in self._body(schema, schema_place, needed):
                if field["name"] in known:
                    field = {**field, "name": f"body_{field['name']}"}
                known.add(field["name"])
                fields.append(field)
        label = _text(operation.get("summary")) or spoken(name) or words
        return {
            "name": name,
            "label": label[:_NAME],
            "description": first_words(_text(operation.get("description"))),
            "inputs": _unique(fields),
            "outputs": _unique(self._outputs(operation, name, place)),
        }

    def _webhooks(self) -> Iterator[dict[str, Any]]:
        for place, name, item in [*self._hooks(), *self._callbacks()]:
            for _, operation, at in self._methods(item, place):
                try:
                    body = self._resolved(operation.get("requestBody") or {}, f"{at}.requestBody")
                    schema, schema_place = self._content(body, f"{at}.requestBody")
                    free = self._free(_text(operation.get("operationId")) or name)
                    outputs = self._values(schema, schema_place, free) if schema is not None else []
                    yield {
                        "name": free,
                        "label": (_text(operation.get("summary")) or spoken(name) or name)[:_NAME],
                        "description": first_words(_text(operation.get("description"))),
                        "outputs": _unique(outputs),
                    }
                except _Problem as problem:
                    self.problems.append(str(problem))

    def _hooks(self) -> Iterator[tuple[str, str, Json]]:
        for name, item in self._items(self.document.get("webhooks"), "$.webhooks"):
            yield f"$.webhooks[{name}]", name, item

    def _callbacks(self) -> Iterator[tuple[str, str, Json]]:
        for path, item in self._items(self.document.get("paths"), "$.paths", told=False):
            for method in _METHODS:
                operation = item.get(method)
                callbacks = operation.get("callbacks") if isinstance(operation, Mapping) else None
                for name, callback in self._items(callbacks, f"$.paths[{path}].{method}.callbacks"):
                    for expression, called in self._items(callback, f"$.paths[{path}].{method}.callbacks[{name}]"):
                        yield f"$.paths[{path}].{method}.callbacks[{name}][{expression}]", name, called

    def _methods(self, item: Json, place: str) -> Iterator[tuple[str, Json, str]]:
        for method in _METHODS:
            if method in item:
                if isinstance(item[method], Mapping):
                    yield method, item[method], f"{place}.{method}"
                else:
                    self.problems.append(f"{place}.{method}: not an object")

    def _parameters(self, item: Json, operation: Json, place: str) -> Iterator[dict[str, Any]]:
        found: dict[tuple[str, str], tuple[Json, str]] = {}
        for owner in (item, operation):  # those of the operation replace those of the path
            parameters = owner.get("parameters") or []
            if not isinstance(parameters, list):
                raise _Problem(f"{place}.parameters: not a list")
            for number, given in enumerate(parameters):
                at = f"{place}.parameters[{number}]"
                parameter = self._resolved(given, at)
                if not _text(parameter.get("name")) or not _text(parameter.get("in")):
                    raise _Problem(f"{at}: a parameter needs 'name' and 'in'")
                found[_text(parameter["in"]), _text(parameter["name"])] = parameter, at
        names: set[str] = set()
        for (where, name), (parameter, at) in found.items():
            if where == "cookie" or (where == "header" and name.lower() in _HEADERS):
                continue
            schema = parameter.get("schema")
            if schema is None:
                schema, at = self._content(parameter, at)
            field = self._field(name, schema if schema is not None else {}, at)
            field["mandatory"] = parameter.get("required") is True or where == "path"
            if field["name"] in names:
                field["name"] = f"{where}_{field['name']}"
            names.add(field["name"])
            yield field

    def _body(self, schema: Any, place: str, needed: bool) -> Iterator[dict[str, Any]]:
        merged = self._merged(schema, place)
        if not merged["properties"]:
            yield {**self._field("body", schema, place), "mandatory": needed}
            return
        for name, part in merged["properties"].items():
            if isinstance(part, Mapping) and part.get("readOnly") is True:
                continue
            field = self._field(name, part, f"{place}.{name}")
            yield {**field, "mandatory": needed and name in merged["required"]}

    def _outputs(self, operation: Json, step: str, place: str) -> list[dict[str, Any]]:
        responses = self._object(operation.get("responses") or {}, f"{place}.responses")
        good = sorted(str(code) for code in responses if re.fullmatch(r"2(\d\d|XX)", str(code)))
        for code in good:
            given = next(value for key, value in responses.items() if str(key) == code)
            at = f"{place}.responses[{code}]"
            schema, schema_place = self._content(self._resolved(given, at), at)
            if schema is not None:
                return self._values(schema, schema_place, step)
        return []

    def _values(self, schema: Any, place: str, owner: str) -> list[dict[str, Any]]:
        """What comes back, as outputs."""
        merged = self._merged(schema, place)
        if table := self._table(schema):
            return [{"name": table, "label": self.tables[table]["label"], "type": "record", "reference": table}]
        if merged["type"] == "array":
            item = merged.get("items", {})
            table = self._table(item) or self._inline_table(item, f"{owner}_item", f"{place}.items")
            if table:
                return [{"name": "items", "label": "Items", "type": "records", "reference": table}]
            return [{"name": "items", "label": "Items", "type": "string"}]
        if not merged["properties"]:
            return [self._field("result", schema, place)]
        found = []
        for name, part in merged["properties"].items():
            at = f"{place}.{name}"
            inner = self._merged(part, at)
            item = inner.get("items", {}) if inner["type"] == "array" else None
            listed = item is not None and (self._table(item) or self._inline_table(item, f"{owner}_{name}", at))
            if listed:
                label = spoken(name) or name
                found.append({"name": _safe(name), "label": label, "type": "records", "reference": listed})
            elif (table := self._table(part)) or (inner["properties"] and item is None):
                table = table or self._inline_table(part, f"{owner}_{name}", at)
                label = spoken(name) or name
                found.append({"name": _safe(name), "label": label, "type": "record", "reference": table})
            elif not inner.get("writeOnly"):
                found.append(self._field(name, part, at))
        return found

    # -- schemas -------------------------------------------------------------------------------

    def _name_tables(self) -> None:
        """A table for each component schema that is an object with properties, then their columns."""
        components = self._object(self.document.get("components") or {}, "$.components")
        schemas = {}
        for name, schema in self._items(components.get("schemas"), "$.components.schemas"):
            reference = f"#/components/schemas/{name.replace('~', '~0').replace('/', '~1')}"
            try:
                merged = self._merged(schema, f"$.components.schemas[{name}]")
            except _Problem as problem:
                self.problems.append(str(problem))
                continue
            if merged["properties"]:
                table = _distinct(_safe(name), self.tables)
                self.table_of[reference] = table
                label = _text(merged.get("title")) or spoken(name) or name
                self.tables[table] = {"name": table, "label": label[:_NAME], "columns": []}
                schemas[table] = schema, f"$.components.schemas[{name}]"
        for table, (schema, place) in schemas.items():
            try:
                self._fill(table, schema, place)
            except _Problem as problem:
                self.problems.append(str(problem))

    def _fill(self, table: str, schema: Any, place: str) -> None:
        parts = schema.get("allOf") if isinstance(schema, Mapping) else None
        parents = [parent for part in parts or [] if (parent := self._table(part)) and parent != table]
        inherited: set[str] = set()
        if parents:
            self.tables[table]["extends"] = parents[0]
            first = next(part for part in parts or [] if self._table(part) == parents[0])
            inherited = set(self._merged(first, place)["properties"])
        merged = self._merged(schema, place)
        for name, part in merged["properties"].items():
            if name not in inherited and not (isinstance(part, Mapping) and part.get("writeOnly") is True):
                self.tables[table]["columns"].append(self._field(name, part, f"{place}.properties[{name}]"))
        self.tables[table]["columns"] = _unique(self.tables[table]["columns"])

    def _inline_table(self, schema: Any, name: str, place: str) -> str | None:
        """A table for an object that has no name of its own."""
        if not self._merged(schema, place)["properties"]:
            return None
        table = _distinct(_safe(name), self.tables)
        self.tables[table] = {"name": table, "label": spoken(name)[:_NAME] or name, "columns": []}
        self._fill(table, schema, place)
        return table

    def _table(self, schema: Any) -> str | None:
        """The table that a reference is to."""
        seen = 0
        while isinstance(schema, Mapping) and seen < _DEPTH:
            reference = schema.get("$ref")
            if isinstance(reference, str):
                if reference in self.table_of:
                    return self.table_of[reference]
                try:
                    schema = self._resolved({"$ref": reference}, reference, steps=1)
                except _Problem:
                    return None
            elif isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
                schema = schema["allOf"][0]  # how 3.0 adds a description to a reference
            else:
                return None
            seen += 1
        return None

    def _field(self, name: str, schema: Any, place: str) -> dict[str, Any]:
        """A column, an input or an output of a schema."""
        merged = self._merged(schema, place)
        field: dict[str, Any] = {"name": _safe(name) or "value", "label": _label(merged, name), "type": "string"}
        if table := self._table(schema):
            return {**field, "type": "reference", "reference": table}
        if merged["type"] == "array":
            if table := self._table(merged.get("items", {})):
                return {**field, "type": "list", "reference": table}
            return field
        values = [_plain(value) for value in merged.get("enum") or [] if value is not None]
        if values and merged["type"] != "boolean" and len(set(values)) == len(values) and not any(map(_odd, values)):
            field |= {"type": "choice", "choices": [{"value": value, "label": value} for value in values]}
        else:
            kind = _TYPES.get(merged["type"], "string")
            field["type"] = _FORMATS.get(merged.get("format") or "", kind) if kind == "string" else kind
        if isinstance(merged.get("default"), str | int | float | bool):
            field["default"] = _plain(merged["default"])
        return field

    def _merged(self, schema: Any, place: str, depth: int = 0) -> dict[str, Any]:
        """A schema, references and combinations resolved; `type`, `properties` and `required` are always there."""
        if schema is True or schema is None:
            schema = {}
        self.opened += 1
        if depth > _DEPTH or self.opened > _MOST_OPENED:
            raise _Problem(f"{place}: the schema refers to itself without end, or is too large")
        schema = self._resolved(schema, place)
        given = schema.get("type")
        types = [kind for kind in (given if isinstance(given, list) else [given]) if kind != "null"]
        merged = dict(schema)
        merged["type"] = types[0] if types and isinstance(types[0], str) else None
        merged["properties"] = dict(self._object(schema.get("properties") or {}, f"{place}.properties"))
        required = schema.get("required")
        merged["required"] = set(required) if isinstance(required, list) and all(map(_is_text, required)) else set()
        if "const" in schema:
            merged.setdefault("enum", [schema["const"]])
        for kind in ("allOf", "oneOf", "anyOf"):
            parts = schema.get(kind) or []
            if not isinstance(parts, list):
                raise _Problem(f"{place}.{kind}: not a list")
            for number, part in enumerate(parts):
                other = self._merged(part, f"{place}.{kind}[{number}]", depth + 1)
                merged["properties"] = {**other["properties"], **merged["properties"]}
                merged["required"] |= other["required"] if kind == "allOf" else set()
                merged["type"] = merged["type"] or other["type"]
                for key in ("items", "format", "title", "default"):
                    if key in other:
                        merged.setdefault(key, other[key])
                if "enum" in other and kind == "allOf":
                    merged.setdefault("enum", other["enum"])
        if not isinstance(merged.get("enum") or [], list):
            raise _Problem(f"{place}.enum: not a list")
        return merged

    def _content(self, holder: Json, place: str) -> tuple[Any, str]:
        """The schema of a body, of JSON if there is one; None without."""
        content = self._object(holder.get("content") or {}, f"{place}.content")
        kinds = sorted(content, key=lambda kind: ("json" not in kind, "form" not in kind))
        for kind in kinds:
            media = self._object(content[kind], f"{place}.content[{kind}]")
            if "schema" in media:
                return media["schema"], f"{place}.content[{kind}].schema"
        return None, place

    def _resolved(self, value: Any, place: str, steps: int = _DEPTH) -> Json:
        """An object, with a reference followed.

        Raises:
            _Problem: it is no object, or the reference leads nowhere or elsewhere.
        """
        for _ in range(steps):
            value = self._object(value, place)
            reference = value.get("$ref")
            if reference is None:
                found: Json = value
                return found
            if not isinstance(reference, str) or not reference.startswith("#"):
                raise _Problem(
                    f"{place}: the reference {reference!r} leads out of the document: bundle it into one first"
                )
            target: Any = self.document
            for part in reference.removeprefix("#").strip("/").split("/"):
                key = part.replace("~1", "/").replace("~0", "~")
                if isinstance(target, list) and key.isdigit() and int(key) < len(target):
                    target = target[int(key)]
                elif isinstance(target, Mapping) and key in target:
                    target = target[key]
                else:
                    raise _Problem(f"{place}: the reference {reference!r} leads nowhere")
            value = target
        if steps < _DEPTH:
            return self._object(value, place)
        raise _Problem(f"{place}: the reference goes round in circles")

    # -- small things --------------------------------------------------------------------------

    def _object(self, value: Any, place: str) -> Json:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise _Problem(f"{place}: not an object")
        return value

    def _items(self, value: Any, place: str, told: bool = True) -> Iterator[tuple[str, Json]]:
        """The named objects of an object; those that are none are told."""
        try:
            pairs = self._object(value, place).items()
        except _Problem as problem:
            self.problems += [str(problem)] if told else []
            return
        for name, item in pairs:
            try:
                yield str(name), self._resolved(item, f"{place}[{name}]") if place != "$.components.schemas" else item
            except _Problem as problem:
                self.problems += [str(problem)] if told else []

    def _free(self, name: str) -> str:
        """A name for a step or trigger that no other has."""
        free = _distinct(" ".join(name.split())[:_NAME] or "step", self.taken)
        self.taken.add(free)
        return free


def _text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _odd(value: str) -> bool:
    """Whether a value cannot be a choice."""
    return not value.strip() or "^" in value or any(ord(char) < 32 for char in value)


def _safe(name: str) -> str:
    """A name that can stand in a pill and in a query."""
    return _UNSAFE.sub("_", name).strip("_")[:_NAME]


def _label(merged: Json, name: str) -> str:
    return (_text(merged.get("title")) or spoken(name) or name)[:_NAME].strip()


def _distinct(name: str, taken: Any) -> str:
    free, number = name or "entry", 2
    while free in taken:
        free, number = f"{name or 'entry'}_{number}", number + 1
    return free


def _unique(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fields of which no two have one name."""
    seen: set[str] = set()
    for field in fields:
        field["name"] = _distinct(field["name"], seen)
        seen.add(field["name"])
    return fields
