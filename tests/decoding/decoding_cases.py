"""Constraints, prompts and helpers that the decoding tests share."""

from __future__ import annotations

from decoding import Constraint, Model, Vocabulary, compile_grammar

FLOW = Constraint(
    r"""start: "FLOW " TEXT "\n" step+ "END\n"
step: STEP " " TEXT "\n" | "IF " TEXT "\n" step+ "FI\n"
STEP: "look_up" | "update" | "create_record" | "create_task"
TEXT: /"[^"\\{\x00-\x1F\x7F]{1,40}"/
""",
    closers=("END\n", "FI\n", '"\nEND\n', '"\nFI\n', '"\n', 'update "x"\n'),
)
OBJECT = Constraint(
    r"""start: "{\"name\": " TEXT ", \"count\": " NUMBER ", \"kind\": " KIND "}"
TEXT: /"[^"\\{\n]{1,30}"/
NUMBER: /[1-9][0-9]{0,4}/
KIND: "\"incident\"" | "\"inner\"" | "\"problem\""
""",
)
#: Each letter at most once, which needs a parameter that rules hand down.
SUBSET = Constraint(
    r"""start: "pick: " rest::0
rest::_: "red " rest::set_bit(0) %if bit_clear(0)
    | "green " rest::set_bit(1) %if bit_clear(1)
    | "blue " rest::set_bit(2) %if bit_clear(2)
    | "done"
""",
    closers=("done",),
)
#: Two segments: what the second says depends on the first.
CHAIN = Constraint(
    'start: /[a-z]{1,9}/ ";"', then=lambda text: Constraint(f'start: "{text[:-1]} " ("is" | "was") /[0-9]{{1,3}}/ "."')
)

GRAMMARS = {"flow": FLOW, "object": OBJECT, "subset": SUBSET}

PROMPTS = (
    "When an incident is created, look up the manager and create a task.",
    "Give the count of problems named printer.",
)


def ask(model: Model, text: str) -> list[int]:
    return model.chat([{"role": "user", "content": text}])


def accepts(vocabulary: Vocabulary, constraint: Constraint, text: str) -> bool:
    """Whether `text` is a complete sentence of a single-segment constraint, by a fresh matcher."""
    matcher = compile_grammar(vocabulary, constraint.grammar)
    tokens = vocabulary.encode(text)
    if matcher.accepts(tokens) < len(tokens):
        return False
    matcher.consume(tokens)
    return matcher.accepting
