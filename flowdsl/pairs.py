"""Pairs of a requirement and the flow it asks for: the data that models are trained and judged on.

A split is a file of JSON lines, one pair each. People write pairs as DSL text, see `authored`.

>>> pair = Pair("dev-1", "Every day, log hello", 'ON "Every day" daily\\n', "servicenow", split="dev")
>>> Pair.from_json(pair.to_json()) == pair
True
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from flowdsl.compile import compile_dsl
from flowdsl.errors import FlowError, InvalidInstance
from flowdsl.files import write_whole
from flowdsl.instance import Instance, bundled_instances
from flowdsl.model import Flow

#: Where a pair comes from: a person; a program that put parts together; a rewording by rule.
ORIGINS = ("written", "composed", "paraphrased")
SPLITS = ("train", "dev", "test", "ood")

#: The checkout that the package was imported from, if it was.
CHECKOUT = Path(__file__).resolve().parent.parent


class InvalidPairs(FlowError):
    """A file of pairs is missing or cannot be read."""


@dataclass(frozen=True)
class Pair:
    """A requirement and its flow.

    Attributes:
        id: unique among all splits.
        requirement: what somebody asked for; for an edit, the instruction.
        flow: canonical DSL text.
        instance: the name of the instance whose steps it uses, see `instance_for`.
        tags: how it is worded or what it shows (terse, typo, implicit ...).
        origin: one of `ORIGINS`.
        split: one of `SPLITS`.
        prior: for an edit, the canonical DSL text of the flow to change.
    """

    id: str
    requirement: str
    flow: str
    instance: str = "servicenow"
    tags: tuple[str, ...] = ()
    origin: str = "written"
    split: str = "train"
    prior: str | None = None

    def compiled(self) -> Flow:
        """The flow; raises `InvalidFlow` if it has issues."""
        return compile_dsl(self.flow, instance_for(self.instance))

    def compiled_prior(self) -> Flow | None:
        """The flow to change, if it is an edit."""
        return None if self.prior is None else compile_dsl(self.prior, instance_for(self.instance))

    def to_json(self) -> dict[str, Any]:
        """What a line of a split file holds; `prior` only where there is one."""
        data = asdict(self) | {"tags": list(self.tags)}
        return {key: value for key, value in data.items() if value is not None}

    @classmethod
    def from_json(cls, data: Any) -> "Pair":
        """A pair of its JSON; raises ValueError with the reason."""
        if not isinstance(data, Mapping):
            raise ValueError("a pair is a JSON object")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"unknown {', '.join(unknown)}")
        texts = {key: value for key, value in data.items() if key != "tags"}
        tags = data.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise ValueError("tags is a list of strings")
        for key in ("id", "requirement", "flow"):
            if key not in data:
                raise ValueError(f"no {key}")
        for key, value in texts.items():
            if not isinstance(value, str) and not (key == "prior" and value is None):
                raise ValueError(f"{key} is a string")
        return cls(**texts, tags=tuple(tags))


def read_pairs(path: str | Path) -> tuple[Pair, ...]:
    """The pairs of a split file.

    Raises:
        InvalidPairs: it is missing, or a line is no pair; the message has the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidPairs(f"cannot read the pairs in {path}: {reason}") from None
    pairs = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                pairs.append(Pair.from_json(json.loads(line)))
            except ValueError as error:
                raise InvalidPairs(f"{path}:{number}: not a pair: {error}") from None
    return tuple(pairs)


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Writes a split file, whole or not at all."""
    lines = [json.dumps(pair.to_json(), ensure_ascii=False) + "\n" for pair in pairs]
    write_whole(Path(path), "".join(lines))


@cache
def instance_for(name: str) -> Instance:
    """The instance that pairs call by this name: a bundled one, or one of a checkout.

    In a checkout they are `data/instances/NAME.json` and `examples/NAME.json`, of the package's own
    checkout or of the current folder.

    Raises:
        InvalidInstance: there is none.

    >>> instance_for("servicenow").name
    'servicenow'
    """
    if name in bundled_instances():
        return Instance.load(name)
    for root in dict.fromkeys((CHECKOUT, Path.cwd())):
        for folder in ("data/instances", "examples"):
            path = root / folder / f"{name}.json"
            if path.parent == root / folder and path.is_file():
                return Instance.load(path)
    raise InvalidInstance(
        f"no instance {name[:80]!r} for these pairs: it is neither bundled nor data/instances/{name[:80]}.json "
        "of a checkout (run this in the folder of the checkout)"
    )
