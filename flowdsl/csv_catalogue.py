"""A catalogue in CSV as an instance: one line a step, trigger, table, input, output or column.

    kind,owner,name,label,description,type,mandatory,reference,choices
    table,,booking,Booking,,,,,
    column,booking,room,Room,,string,,,
    trigger,,room_booked,Room booked,Starts when somebody books a room,,,,
    output,room_booked,booking,Booking,,record,,booking,
    step,,send_message,Send Message,Sends a chat message,,,,
    input,send_message,urgency,Urgency,,choice,yes,,1=High|2=Low

`owner` is the step, trigger or table that an input, output or column belongs to; lines may come in any order.
`reference` of a table is the table it extends. `choices` are `value=label` or plain values with `|` between.
Only `kind` and `name` are needed; other columns may be left out or come in any order. Commas, semicolons and tabs
are understood, whichever the first line has.

>>> instance = read_csv("kind,name,description\\nstep,ping,Sends a ping\\n", "tiny")
>>> instance["steps"]
[{'name': 'ping', 'label': '', 'description': 'Sends a ping', 'inputs': [], 'outputs': []}]
"""

import csv
import io
from typing import Any

from flowdsl.errors import InvalidInstance, did_you_mean

COLUMNS = ("kind", "owner", "name", "label", "description", "type", "mandatory", "reference", "choices")
_ENTRIES = {"step": "steps", "trigger": "triggers", "table": "tables"}
_FIELDS = {"input": "inputs", "output": "outputs", "column": "columns"}
_YES = frozenset({"yes", "true", "1", "x", "y"})
_NO = frozenset({"no", "false", "0", "", "n"})


def read_csv(text: str, name: str) -> dict[str, Any]:
    """The JSON of an instance.

    Raises:
        InvalidInstance: with every problem found, each with its line.
    """
    first = text.lstrip("\ufeff").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InvalidInstance(f"not CSV: {error}") from None
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "kind" not in head or "name" not in head:
        raise InvalidInstance(f"the first line names the columns, kind and name among them (of {', '.join(COLUMNS)})")
    problems = [
        f"line 1: no column is called {cell!r}{did_you_mean(cell, COLUMNS)}" for cell in head if cell not in COLUMNS
    ]
    problems += [f"line 1: two columns are called {cell!r}" for cell in sorted({c for c in head if head.count(c) > 1})]
    instance: dict[str, Any] = {"name": name, "steps": [], "triggers": [], "tables": []}
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    fields: list[tuple[int, dict[str, str]]] = []
    for line, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(head):
            problems.append(
                f"line {line}: {len(cells)} cells, but {len(head)} columns (quote a cell that holds the separator)"
            )
            continue
        row = {key: cell.strip() for key, cell in zip(head, cells, strict=False)}
        kind, own = row.get("kind", "").lower(), row.get("name", "")
        if not own:
            problems.append(f"line {line}: no name")
        elif kind in _FIELDS:
            fields.append((line, row))
        elif kind in _ENTRIES:
            if (kind, own) in entries:
                problems.append(f"line {line}: the {kind} {own!r} is there twice")
            entries[kind, own] = entry = _entry(kind, row)
            instance[_ENTRIES[kind]].append(entry)
        else:
            known = [*_ENTRIES, *_FIELDS]
            problems.append(
                f"line {line}: kind is one of {', '.join(known)}, not {row.get('kind')!r}{did_you_mean(kind, known)}"
            )
    for line, row in fields:
        kind, owner = row["kind"].lower(), row.get("owner", "")
        kinds = ("table",) if kind == "column" else ("step", "trigger")
        owners = [entries[k, owner] for k in kinds if (k, owner) in entries]
        try:
            field = _field(row)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
            continue
        if len(owners) != 1:
            asked = " or ".join(kinds)
            why = f"both a {asked}" if owners else f"no {asked}"
            hint = "" if owners else did_you_mean(owner, [n for k, n in entries if k in kinds])
            problems.append(f"line {line}: the owner {owner!r} of the {kind} {row['name']!r} is {why}{hint}")
        else:
            owners[0][_FIELDS[kind]].append(field)
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise InvalidInstance(f"the catalogue cannot be read: {problems[0]}{more}", tuple(problems))
    return instance


def _entry(kind: str, row: dict[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": row["name"], "label": row.get("label", "")}
    if kind == "table":
        return entry | {"extends": row.get("reference") or None, "columns": []}
    return entry | {"description": row.get("description", ""), "inputs": [], "outputs": []}


def _field(row: dict[str, str]) -> dict[str, Any]:
    mandatory = row.get("mandatory", "").lower()
    if mandatory not in _YES | _NO:
        raise ValueError(f"mandatory is yes or no, not {row['mandatory']!r}")
    choices = []
    for choice in filter(None, (part.strip() for part in row.get("choices", "").split("|"))):
        value, has_label, label = choice.partition("=")
        choices.append({"value": value.strip(), "label": label.strip() if has_label else value.strip()})
    return {
        "name": row["name"],
        "label": row.get("label", ""),
        "type": row.get("type") or ("choice" if choices else "string"),
        "mandatory": mandatory in _YES,
        "reference": row.get("reference") or None,
        "choices": choices,
    }
