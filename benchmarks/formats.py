"""What the peers are held to: the DSL by one context-free grammar, and the flow JSON by one schema.

Both know all names of the instance and no more: what a step may refer to, and what fits where, depends on the
flow so far, which neither can express. So they are easier than what flowdsl enforces.
"""

import json
from collections.abc import Iterable
from typing import Any

from flowdsl import Flow, Instance
from flowdsl.decompile import decompile
from flowdsl.instance import Step, TriggerType
from grammars.spelling import spell_name

LOGIC = (
    "IF ELSEIF ELSE FOREACH DOUNTIL PARALLEL BRANCH TRY CATCH TIMER BREAK CONTINUE GOBACKTO STOP PLACEHOLDER".split()
)
LOGIC_INPUTS = (
    "condition conditions items step duration_type duration relative_operator relative_datetime percentage "
    "percentage_datetime"
).split()


def plain_dsl(flow: Flow, instance: Instance) -> str:
    """The DSL text without indentation, which nobody has to write."""
    return "".join(f"{line.lstrip()}\n" for line in decompile(flow, instance).splitlines())


def lark_grammar(instance: Instance) -> str:
    """The DSL of an instance, lines in any order; names are terminals."""
    words = [*(spell_name(step.name) for step in instance.steps), *LOGIC]
    return f"""start: line+
line: head | input | "END\\n" | "STOP\\n"
head: ("ON " TEXT " " TRIGGER | (NUMBER " ")? TEXT " " STEP) (" " TABLE)? "\\n"
input: INPUT ":" VALUE "\\n"
NUMBER: /[1-9][0-9]{{0,2}}/
TEXT: /"([^"\\\\\\n]|\\\\.)*"/
VALUE: / [^\\n]+/
TRIGGER: {_names(trigger.name for trigger in instance.triggers)}
STEP: {_alternatives(words)}
TABLE: {_names(table.name for table in instance.tables)}
INPUT: {_names(_inputs(instance))}
"""


def json_schema(instance: Instance) -> str:
    """The flow JSON of an instance."""
    text = {"type": "string"}
    given = {"type": "array", "items": _object(name={"enum": _inputs(instance)}, value=text)}
    trigger = _object(type={"enum": [trigger.name for trigger in instance.triggers]}, annotation=text, inputs=given)
    steps = {"enum": [*(step.name for step in instance.steps), *LOGIC, "END", "PARALLEL_BRANCH", "placeholder"]}
    number = {"type": "integer"}
    component = _object(
        category={"enum": ["action", "subflow", "flowlogic"]},
        definition=steps,
        scope=text,
        order=number,
        block=number,
        annotation=text,
        inputs=given,
    )
    component["required"].remove("block")
    return json.dumps(
        _object(trigger={"anyOf": [trigger, {"type": "null"}]}, components={"type": "array", "items": component})
    )


def plain_json(flow: Flow) -> str:
    """The flow JSON in the order of the schema, without white space."""
    data = flow.to_json()
    trigger = data["trigger"]
    keys = ("category", "definition", "scope", "order", "block", "annotation", "inputs")
    components = [{key: one[key] for key in keys if key in one} for one in data["components"]]
    for one in components:
        one.setdefault("annotation", "")
    ordered = {key: trigger.get(key, "") for key in ("type", "annotation", "inputs")} if trigger else None
    return json.dumps({"trigger": ordered, "components": components}, separators=(",", ":"), ensure_ascii=False)


def _inputs(instance: Instance) -> list[str]:
    """All names of inputs, those of flow logic included."""
    owners: list[Step | TriggerType] = [*instance.steps, *instance.triggers]
    return sorted({*LOGIC_INPUTS, *(field.name for owner in owners for field in owner.inputs)})


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _names(names: Iterable[str]) -> str:
    return _alternatives(map(spell_name, names))


def _alternatives(words: Iterable[str]) -> str:
    return " | ".join(json.dumps(word) for word in dict.fromkeys(words)) or '"none"'
