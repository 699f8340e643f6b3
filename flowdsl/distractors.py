"""An instance with steps of other catalogues beside its own: how much does a larger catalogue cost?

The steps come from the catalogues of other domains. Where more are asked for than there are, they come again
as other vendors call them. Tables stay those of the instance: what a foreign step says of its own is left out.

>>> wide = with_distractors(Instance.load("servicenow"), 3)
>>> len(wide.steps) - len(Instance.load("servicenow").steps)
3
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any

from flowdsl.errors import UsageError
from flowdsl.instance import Field, Instance, Step
from flowdsl.pairs import CHECKOUT, Pair
from flowdsl.systems import Answer, System
from grammars.kinds import kind_of

_LONGEST = 100
_FOLDER = CHECKOUT / "data" / "instances"
_VENDORS = tuple(
    "Alder Birch Cedar Damson Elder Fir Gorse Hazel Ivy Juniper Kapok Larch Maple Nutmeg Oak Pine Quince Rowan "
    "Sorrel Teak Upas Viburnum Willow Yew Zelkova".split()
)


@lru_cache(maxsize=32)
def with_distractors(instance: Instance, count: int) -> Instance:
    """An instance with so many more steps, always the same; none has the name or the label of another.

    Raises:
        UsageError: there are no catalogues (they are in the checkout), or too few steps in them.
    """
    names = {step.name for step in instance.steps}
    labels = {(step.label or step.name).casefold() for step in instance.steps}
    tables = set(instance.table_by_name)

    def fitting() -> Iterator[Step]:
        for step in _foreign(instance.name):
            label = (step.label or step.name).casefold()
            # a name that is longer than any other would give itself away
            if step.name not in names and label not in labels and len(step.name) <= _LONGEST:
                names.add(step.name)
                labels.add(label)
                yield _without_tables(step, tables)

    more = tuple(islice(fitting(), count))
    if len(more) < count:
        raise UsageError(f"the catalogues in {_FOLDER} give {len(more)} further steps, not {count}")
    return Instance(  # made anew: a copy would bring what was looked up in the smaller one
        name=f"{instance.name}-{count}-more",
        label=instance.label,
        steps=(*instance.steps, *more),
        triggers=instance.triggers,
        tables=instance.tables,
    )


@cache
def _catalogue() -> tuple[tuple[str, Step], ...]:
    """The steps of all catalogues, each after the name of its catalogue; mixed, but always in the same order."""
    instances = map(Instance.load, sorted(_FOLDER.glob("*.json")))
    found = [(instance.name, step) for instance in instances for step in instance.steps]
    return tuple(sorted(found, key=lambda one: sha256(f"{one[0]} {one[1].name}".encode()).digest()))


def _foreign(own: str) -> Iterator[Step]:
    """Steps of other catalogues, then the same as other vendors call them."""
    steps = [step for name, step in _catalogue() if name != own]
    yield from steps
    for vendor in _VENDORS:
        for step in steps:
            changed = {"name": f"{vendor.lower()}_{step.name}", "label": f"{vendor} {step.label or step.name}"}
            yield step.model_copy(update=changed)


def _without_tables(step: Step, tables: set[str]) -> Step:
    """A step that refers only to tables that there are."""

    def fitted(field: Field) -> Field:
        known = field.reference is None or field.reference.startswith("$") or field.reference in tables
        kept = field if known else field.model_copy(update={"reference": None, "type": "string"})
        if kind_of(kept.type) == "table" and kept.default not in tables:
            kept = kept.model_copy(update={"default": None})
        return kept

    return step.model_copy(
        update={"inputs": tuple(map(fitted, step.inputs)), "outputs": tuple(map(fitted, step.outputs))}
    )


@dataclass(frozen=True)
class AmongOthers:
    """Another system, asked for flows of instances with so many more steps."""

    system: System
    count: int

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**self.system.settings, "distractors": self.count}

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        return self.system.answer(pair, with_distractors(instance, self.count))
