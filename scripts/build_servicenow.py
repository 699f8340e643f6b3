#!/usr/bin/env python3
"""Build the bundled instance ``servicenow`` from the npm package ``@servicenow/sdk-core``.

    python scripts/build_servicenow.py [--package DIR|TGZ] [-o FILE]

Facts: the package (version 4.9.0, MIT licence, Copyright (c) 2024 ServiceNow Inc.). Its
TypeScript sources are read by `flowdsl.fluent`, a small parser of JavaScript literals; no node is needed,
except that without ``--package`` the ordinary client ``npm pack`` fetches the package into a
temporary folder. Read are

* ``src/external/flow/built-ins/actions/core/*.now.ts``  (33 actions)
* ``src/external/flow/built-ins/triggers/*.now.ts``      (13 triggers)
* ``src/fluent/tables/*.now.ts``                         (178 tables)

Authored by this project, in ``scripts/servicenow/``:

* ``descriptions.json``  what every step and trigger does, in one line
* ``inputs.json``        the order in which the inputs of a step are written
* ``choices.json``       well-known choice values of table columns (``"=a.b"`` repeats an entry)
* ``labels.json``        labels of tables and columns that the package leaves unlabelled

What the script adds to or takes from the package, on purpose:

* ``table`` of the two look-up steps is mandatory; defaults that are an arbitrary sys_id or empty
  are dropped; labels of a few output states are clarified (``OUTPUT_CHOICES``).
* A reference or a parent outside the 178 tables is dropped.
* A column that a child table merely repeats from its parent (same label, choices, reference) is
  dropped.
* The columns that the platform gives every table (sys_id, created, updated) are added where the
  package leaves them out.
* A choice column whose choices nobody lists here becomes a string.

The output is deterministic: same package and authored files, same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from flowdsl import fluent
from flowdsl.fluent import BAD_NAME, DAY_CHOICES, choices_of, default_of, entry, humanised, label_of, snake, type_of

PACKAGE, VERSION = "@servicenow/sdk-core", "4.9.0"
SHA1 = "f31db8361b5a14c9cdfe30ca443096da3fe16353"  # of the registry's archive
HERE = Path(__file__).resolve().parent
AUTHORED = HERE / "servicenow"
OUTPUT = HERE.parent / "flowdsl" / "instances" / "servicenow.json"
ATTRIBUTION = (
    f"Names, types and labels derived from the npm package {PACKAGE} {VERSION}, MIT licence, "
    "Copyright (c) 2024 ServiceNow Inc.; descriptions, input order and most choice values by the "
    "flowdsl project. ServiceNow is a trademark of ServiceNow, Inc.; this project is not "
    "affiliated with it."
)


class BuildError(Exception):
    pass


def declarations(path, function):
    """(exported name, options) of every ``export const x = function({...})`` in a file."""
    try:
        yield from fluent.declarations(path.read_text(encoding="utf-8"), function)
    except fluent.NotLiteral as error:
        raise BuildError(f"{path.name}: {error}") from error


# --------------------------------------------------------------------------- steps and triggers
STANDARD = {
    "sys_id": ("Sys ID", "guid"),
    "sys_created_on": ("Created", "date_time"),
    "sys_created_by": ("Created by", "string"),
    "sys_updated_on": ("Updated", "date_time"),
    "sys_updated_by": ("Updated by", "string"),
}
VIEWS = {"st_sys_catalog_items_and_variable_sets"}  # a database view: no created/updated of its own
JOURNAL = {"work_notes", "comments", "comments_and_work_notes", "approval_history"}
MANDATORY = {("look_up_record", "table"), ("look_up_records", "table")}
RECORD_OUTPUTS = {  # what the package does not say, or says by the name of an output
    ("create_catalog_task", "Catalog Task"): "sc_task",
    ("submit_catalog_item_request", "requested_item"): "sc_req_item",
    ("email", "target_record"): "$target_table",
    ("record_create", "current"): "$table",
    ("record_update", "current"): "$table",
    ("record_create_or_update", "current"): "$table",
}
RECORD_INPUTS = {
    ("associate_record_to_email", "email_record"): "sys_email",
    ("move_email_attachments_to_record", "email_record"): "sys_email",
}
TIMED_OUT = {"0": "Condition met", "1": "Timed out"}
OUTPUT_CHOICES = {
    ("ask_for_approval", "approval_state"): {"not requested": "Not Requested"},
    ("wait_for_condition", "state"): TIMED_OUT,
    ("wait_for_email_reply", "state"): {"0": "Reply received", "1": "Timed out"},
}


def read_fields(owner, fields, kind, inputs, tables):
    result = []
    for name, call in fields.items():
        options, type_ = call.options, type_of(call)
        choices = DAY_CHOICES if call.name == "DayOfWeekColumn" else choices_of(options)
        reference = options.get("referenceTable")
        if kind == "output":
            dependent = options.get("dependent")
            if (owner, name) in RECORD_OUTPUTS:
                reference = RECORD_OUTPUTS[owner, name]
            elif type_ in ("record", "records") and dependent in inputs:
                reference = "$" + dependent
            for choice in choices:
                choice["label"] = OUTPUT_CHOICES.get((owner, name), {}).get(choice["value"], choice["label"])
        elif (owner, name) in RECORD_INPUTS:
            reference = RECORD_INPUTS[owner, name]
        if reference and not reference.startswith("$") and reference not in tables:
            reference = None
        if kind == "input":
            mandatory = options.get("mandatory") is True or (owner, name) in MANDATORY
            more = {"mandatory": mandatory, "default": default_of(options)}
        else:
            more = {}
        result.append(entry(name, label_of(options), type_, **more, choices=choices, reference=reference))
    return result


def read_definitions(folder, function, tables, descriptions, order):
    result = []
    for path in sorted(folder.glob("*.now.ts")):
        for exported, options in declarations(path, function):
            name = options["type"] if function == "TriggerDefinition" else snake(exported)
            if name not in descriptions:
                raise BuildError(f"descriptions.json has no line for {name!r}")
            fields = options.get("inputs") or {}
            if sorted(order.get(name, [])) != sorted(fields):
                raise BuildError(f"inputs.json lists {order.get(name)} for {name!r}, the package has {list(fields)}")
            step = {"name": name, "label": options["name"], "description": descriptions[name]}
            if function == "Action":
                step.update(category="action", scope="global")
            ordered = {key: fields[key] for key in order.get(name, [])}
            step["inputs"] = read_fields(name, ordered, "input", fields, tables)
            step["outputs"] = read_fields(name, options.get("outputs") or {}, "output", fields, tables)
            result.append(step)
    extra = set(descriptions) - {step["name"] for step in result}
    if extra:
        raise BuildError(f"descriptions.json describes what the package does not have: {sorted(extra)}")
    return sorted(result, key=lambda step: step["name"])


# --------------------------------------------------------------------------- tables
def read_choices(authored):
    """choices.json with its ``"=table.column"`` aliases resolved."""
    result = {}
    for key, choices in authored.items():
        source = authored[choices[1:]] if isinstance(choices, str) else choices
        result[key] = [{"value": value, "label": label} for value, label in source.items()]
    return result


def read_tables(folder, choices, labels):
    raw = {}
    for path in sorted(folder.glob("*.now.ts")):
        for exported, options in declarations(path, "Table"):
            raw[options.get("name", exported)] = options
    parents = {name: options["extends"] for name, options in raw.items() if options.get("extends") in raw}
    columns = {name: read_columns(name, raw, parents, choices, labels["columns"]) for name in raw}

    def inherited(table, column):
        table = parents.get(table)
        while table:
            if column in columns[table]:
                return columns[table][column]
            table = parents.get(table)
        return None

    for key in choices:  # an authored choice list may override a column of a parent
        table, column = key.split(".")
        if table not in raw:
            raise BuildError(f"choices.json: {key}: no such table")
        if column not in columns[table]:
            above = inherited(table, column)
            if above is None:
                raise BuildError(f"choices.json: {key}: no such column")
            columns[table][column] = entry(column, above["label"], "choice", choices=choices[key])
    result = []
    for name in sorted(raw):
        own = []
        for column in sorted(columns[name]):
            mine, above = columns[name][column], inherited(name, column)
            if above is not None and f"{name}.{column}" not in choices:
                more = any(mine.get(key) not in (above.get(key), None) for key in ("choices", "reference"))
                if not more and mine["label"].casefold() == above["label"].casefold():
                    continue
            own.append(mine)
        label = label_of(raw[name]) or labels["tables"].get(name) or humanised(name.removeprefix("sys_"), title=True)
        table = {"name": name, "label": label}
        if name in parents:
            table["extends"] = parents[name]
        table["columns"] = own
        result.append(table)
    return result


def read_columns(table, raw, parents, choices, labels):
    result = {}
    for name, call in (raw[table].get("schema") or {}).items():
        if BAD_NAME.search(name):
            raise BuildError(f"{table}.{name}: not a column name")
        options, type_ = call.options, type_of(call)
        label = label_of(options) or labels.get(name) or STANDARD.get(name, (None,))[0]
        reference = options.get("referenceTable")
        if reference not in raw:
            reference = None
        listed = choices.get(f"{table}.{name}")
        if listed is None:
            listed = DAY_CHOICES if call.name == "DayOfWeekColumn" else choices_of(options)
        if type_ in ("reference", "list", "record"):
            listed = []
        if listed:
            type_ = "choice"
        elif type_ == "choice":
            type_ = "string"
        if name in JOURNAL and call.name == "GenericColumn":
            type_ = "journal"
        result[name] = entry(name, label, type_, choices=listed, reference=reference)
    if table not in parents and table not in VIEWS:
        for name, (label, type_) in STANDARD.items():
            result.setdefault(name, entry(name, label, type_))
    return result


# --------------------------------------------------------------------------- package, checks, output
def open_package(given, workspace):
    """The folder that holds ``src``; fetched by ``npm pack`` when none is given."""
    source = Path(given) if given else None
    if source is None:
        if shutil.which("npm") is None:
            raise BuildError(f"npm is not installed; unpack {PACKAGE} {VERSION} yourself and pass --package DIR")
        command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent"]
        done = subprocess.run(command, cwd=workspace, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"npm pack failed: {done.stderr.strip()[-300:]}")
        source = Path(workspace) / done.stdout.split()[-1]
        if hashlib.sha1(source.read_bytes()).hexdigest() != SHA1:
            raise BuildError(f"{source.name}: not the archive that this script was written for")
    if source.is_file():
        with tarfile.open(source) as archive:
            archive.extractall(workspace, filter="data")
        source = Path(workspace)
    for folder in (source, source / "package"):
        if (folder / "src" / "fluent" / "tables").is_dir():
            found = json.loads((folder / "package.json").read_text(encoding="utf-8"))
            if (found.get("name"), found.get("version")) != (PACKAGE, VERSION):
                raise BuildError(f"found {found.get('name')} {found.get('version')}, need {PACKAGE} {VERSION}")
            return folder
    raise BuildError(f"{source}: no src/fluent/tables in it; is it {PACKAGE}?")


def check(instance):
    """Problems that would make the instance unusable."""
    problems = []
    tables = {table["name"] for table in instance["tables"]}

    def unique(where, names):
        lowered = [name.casefold() for name in names]
        problems.extend(f"{where}: {name!r} twice" for name in sorted(set(lowered)) if lowered.count(name) > 1)

    def fields(where, items, inputs=()):
        unique(where, [item["name"] for item in items])
        for item in items:
            unique(f"{where}.{item['name']} choices", [choice["label"] for choice in item.get("choices", [])])
            reference = item.get("reference")
            if reference and reference.lstrip("$") not in (inputs if reference.startswith("$") else tables):
                problems.append(f"{where}.{item['name']}: reference {reference!r}")

    for kind in ("steps", "triggers", "tables"):
        unique(kind, [item["name"] for item in instance[kind]])
    for step in instance["steps"] + instance["triggers"]:
        inputs = {item["name"] for item in step["inputs"]}
        fields(step["name"] + " inputs", step["inputs"])
        fields(step["name"] + " outputs", step["outputs"], inputs)
    for table in instance["tables"]:
        fields(table["name"], table["columns"])
        if table.get("extends", table["name"]) not in tables:
            problems.append(f"{table['name']}: extends {table['extends']!r}")
    counts = tuple(len(instance[kind]) for kind in ("steps", "triggers", "tables"))
    if counts != (33, 13, 178):
        problems.append(f"found {counts} steps, triggers and tables, expected (33, 13, 178)")
    return problems


def dump(instance):
    """JSON with one input, output or column a line."""

    def compact(value):
        return json.dumps(value, ensure_ascii=False)

    def rows(items, pad):
        if not items:
            return "[]"
        return "[\n" + ",\n".join(pad + " " + compact(item) for item in items) + "]"

    def block(item):
        parts = []
        for key, value in item.items():
            listed = key in ("inputs", "outputs", "columns")
            parts.append(f"   {compact(key)}: {rows(value, '   ') if listed else compact(value)}")
        return "  {\n" + ",\n".join(parts) + "}"

    lines = []
    for key, value in instance.items():
        text = compact(value) if isinstance(value, str) else "[\n" + ",\n".join(block(x) for x in value) + "]"
        lines.append(f" {compact(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def build(package):
    authored = {
        name: json.loads((AUTHORED / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("descriptions", "inputs", "choices", "labels")
    }
    tables = read_tables(package / "src/fluent/tables", read_choices(authored["choices"]), authored["labels"])
    names = {table["name"] for table in tables}
    flow = package / "src/external/flow/built-ins"

    def definitions(folder, function, kind):
        return read_definitions(folder, function, names, authored["descriptions"][kind], authored["inputs"][kind])

    return {
        "name": "servicenow",
        "label": "ServiceNow",
        "attribution": ATTRIBUTION,
        "steps": definitions(flow / "actions/core", "Action", "steps"),
        "triggers": definitions(flow / "triggers", "TriggerDefinition", "triggers"),
        "tables": tables,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", metavar="DIR|TGZ", help="the unpacked package or its archive; default: npm pack")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="default: the bundled instance file")
    args = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as workspace:
            instance = build(open_package(args.package, workspace))
        problems = check(instance)
        if problems:
            raise BuildError("the result is broken:\n  " + "\n  ".join(problems))
    except BuildError as error:
        print(f"build_servicenow: {error}", file=sys.stderr)
        return 1
    text = dump(instance)
    if json.loads(text) != instance:
        raise AssertionError("the written JSON differs from the instance")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(text, encoding="utf-8")
    columns = [column for table in instance["tables"] for column in table["columns"]]
    chosen = sum("choices" in column for column in columns)
    print(
        f"{args.output}: {len(instance['steps'])} steps, {len(instance['triggers'])} triggers, "
        f"{len(instance['tables'])} tables, {len(columns)} columns, {chosen} with choices",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
