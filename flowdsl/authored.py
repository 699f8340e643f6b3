"""Pairs as people write them: DSL text below the requirement, blocks apart by a line ``---``.

::

    # REQUIREMENT: Every day, log hello
    # TAGS: terse
    ON "Every day" daily
    ...
    ---
    # PRIOR:
    ON "Every day" daily
    ...
    # INSTRUCTION: Make it weekly
    ON "Make it weekly" weekly
    ...

A block with a prior is an edit. The DSL may be spelled in any way that compiles; `read_authored` spells
it canonically. A line ``# INSTANCE: name`` in the first block holds for the whole file.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from flowdsl.compile import compile_dsl
from flowdsl.decompile import decompile
from flowdsl.errors import FlowIssue, InvalidFlow
from flowdsl.instance import Instance
from flowdsl.pairs import InvalidPairs, Pair, instance_for

_HEAD = re.compile(r"# ?(REQUIREMENT|INSTRUCTION|TAGS|PRIOR|INSTANCE):(.*)")
_BREAK = re.compile(r"^---[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block of an authored file, its texts as they stand there.

    Attributes:
        line: where it begins in the file, from 1.
        flow, prior: DSL text and the line of the file where each begins.
    """

    line: int
    requirement: str
    flow: tuple[int, str]
    prior: tuple[int, str] | None
    tags: tuple[str, ...]
    instance: str | None


def read_blocks(text: str, name: str = "<text>") -> list[Block]:
    """The blocks of an authored file.

    Raises:
        InvalidPairs: a block is incomplete; the message has `name` and the line.
    """
    blocks, line = [], 1
    for part in _BREAK.split(text):
        if part.strip():
            blocks.append(_block(part, line, name))
        line += part.count("\n")
    return blocks


def _block(part: str, line: int, name: str) -> Block:
    heads: dict[str, str] = {}
    texts: dict[str, list[str]] = {"prior": [], "flow": []}
    starts: dict[str, int] = {}
    into = "flow"
    for number, row in enumerate(part.split("\n"), start=line):
        if found := _HEAD.fullmatch(row.strip()):
            kind, value = found[1], found[2].strip()
            if kind in heads:
                raise InvalidPairs(f"{name}:{number}: a second # {kind}: in one block (is a --- missing?)")
            heads[kind] = value
            if kind in {"PRIOR", "INSTRUCTION", "REQUIREMENT"}:
                into = "prior" if kind == "PRIOR" else "flow"
        elif row.strip() or texts[into]:
            texts[into].append(row)
            starts.setdefault(into, number)
    requirement = heads.get("INSTRUCTION") or heads.get("REQUIREMENT")
    if not requirement:
        raise InvalidPairs(f"{name}:{line}: a block without # REQUIREMENT: (or # INSTRUCTION: for an edit)")
    if ("PRIOR" in heads) != ("INSTRUCTION" in heads):
        raise InvalidPairs(f"{name}:{line}: an edit has # PRIOR: and # INSTRUCTION:, other pairs have neither")
    flow, prior = ((starts.get(key, line), "\n".join(texts[key]).strip("\n") + "\n") for key in ("flow", "prior"))
    tags = tuple(tag for tag in (part.strip() for part in heads.get("TAGS", "").split(",")) if tag)
    return Block(line, requirement, flow, prior if "PRIOR" in heads else None, tags, heads.get("INSTANCE"))


def read_authored(
    path: str | Path, split: str = "train", instance: str | Instance | None = None, origin: str = "written"
) -> tuple[Pair, ...]:
    """The pairs of an authored file, spelled canonically.

    Args:
        split: what the pairs belong to.
        instance: what they are written for, unless the file says it (default: servicenow).
        origin: where they come from.

    Raises:
        InvalidPairs: with every error, one a line, ``FILE:LINE: error``.
    """
    path = Path(path)
    try:
        blocks = read_blocks(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPairs(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    chosen: str | Instance = (blocks[0].instance if blocks else None) or instance or "servicenow"
    ready = instance_for(chosen) if isinstance(chosen, str) else chosen
    pairs, errors = [], []
    for block in blocks:
        texts: list[str] = []
        for start, text in (block.flow, *([block.prior] if block.prior else [])):
            try:
                texts.append(decompile(compile_dsl(text, ready), ready))
            except InvalidFlow as error:
                errors += [f"{path}:{start + (e.line or 1) - 1}: {_without_place(e)}" for e in error.errors]
        if len(texts) == 1 + (block.prior is not None):
            prior = texts[1] if block.prior else None
            pairs.append(Pair("", block.requirement, texts[0], ready.name, block.tags, origin, split, prior))
    if errors:
        raise InvalidPairs("\n".join(errors))
    return numbered(pairs)


def _without_place(issue: FlowIssue) -> str:
    """An issue without the place in its own text."""
    return str(replace(issue, line=None, column=None))


def numbered(pairs: list[Pair]) -> tuple[Pair, ...]:
    """The pairs with ids made of their content, so that an id stays when others come and go.

    >>> [pair.id for pair in numbered([Pair("", "Log hello", "log\\n", "servicenow", split="dev")])]
    ['dev-servicenow-a542dbdb']
    """
    seen: Counter[str] = Counter()
    named = []
    for pair in pairs:
        content = "\0".join([pair.requirement, pair.flow, pair.prior or ""])
        name = f"{pair.split}-{pair.instance}-{sha256(content.encode()).hexdigest()[:8]}"
        seen[name] += 1
        named.append(replace(pair, id=name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return tuple(named)
