"""The flow as data: frozen pydantic models of the flow JSON.

The shape is that of the platform (`docs/language.md`, "JSON"); what it means, and whether it is
allowed, is decided in `check`. Values are strings, exactly as in the JSON.

>>> flow = Flow.from_json({"trigger": {"type": "daily", "inputs": [{"name": "time", "value": "1970-01-01 07:00:00"}]},
...                        "components": [{"category": "action", "definition": "log", "order": 1}]})
>>> flow.components[0].scope
'global'
>>> Flow.from_json(flow.to_json()) == flow
True
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from flowdsl.errors import FlowIssue, InvalidFlow

#: Flow logic by its name in the JSON.
FLOW_LOGIC = (
    "IF ELSEIF ELSE FOREACH DOUNTIL PARALLEL PARALLEL_BRANCH TRY CATCH TIMER END BREAK CONTINUE GOBACKTO".split()
)
#: Flow logic that holds other components.
BLOCKS = frozenset("IF ELSEIF ELSE FOREACH DOUNTIL PARALLEL PARALLEL_BRANCH TRY CATCH".split())
#: The definition of a step for which the instance has nothing.
PLACEHOLDER = "placeholder"

Category = Literal["action", "subflow", "flowlogic"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Input(_Frozen):
    """A named value of a trigger or a step."""

    name: str
    value: str


class _Owner(_Frozen):
    """Whatever has inputs."""

    annotation: str | None = None
    inputs: tuple[Input, ...] = ()

    @field_validator("inputs", mode="before")
    @classmethod
    def _tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else () if value is None else value

    def get(self, name: str) -> str | None:
        """The value of the first input called `name`, or None."""
        return next((item.value for item in self.inputs if item.name == name), None)


class Trigger(_Owner):
    """What starts the flow."""

    type: str


class Component(_Owner):
    """One step: an action, a subflow call, or flow logic."""

    category: Category = "action"
    definition: str
    scope: str = "global"
    order: int
    block: int | None = None

    @field_validator("definition")
    @classmethod
    def _upper(cls, value: str, info: Any) -> str:
        logic = info.data.get("category") == "flowlogic"
        return value.upper() if logic else value

    @property
    def is_logic(self) -> bool:
        return self.category == "flowlogic"

    def is_kind(self, *definitions: str) -> bool:
        """Whether this is flow logic of one of the given kinds."""
        return self.is_logic and self.definition in definitions


class Item(_Frozen):
    """A declared input or output of a subflow."""

    name: str
    type: str
    reference: str | None = None


class Items(_Frozen):
    items: tuple[Item, ...] = ()

    @field_validator("items", mode="before")
    @classmethod
    def _tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Flow(_Frozen):
    """A whole flow: with a trigger, or a fragment or subflow without one.

    `inputs` and `outputs` are None for a flow and a fragment; a subflow has both.
    """

    trigger: Trigger | None = None
    inputs: Items | None = None
    outputs: Items | None = None
    components: tuple[Component, ...] = ()

    @field_validator("components", mode="before")
    @classmethod
    def _tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _both(self) -> "Flow":
        """A subflow that declares one of inputs and outputs has an empty list of the other."""
        if (self.inputs is None) != (self.outputs is None):
            object.__setattr__(self, "inputs", self.inputs or Items())
            object.__setattr__(self, "outputs", self.outputs or Items())
        return self

    @property
    def is_subflow(self) -> bool:
        return self.inputs is not None or self.outputs is not None

    @property
    def owners(self) -> list[int | None]:
        """What has inputs: the trigger (None), if there is one, and every component by its index."""
        return [*([None] if self.trigger is not None else []), *range(len(self.components))]

    def owner(self, at: int | None) -> Trigger | Component:
        """The step at this index, or the trigger for None; KeyError if there is none."""
        if at is None and self.trigger is None:
            raise KeyError("a flow without a trigger")
        return self.components[at] if at is not None else self.trigger  # type: ignore[return-value]

    def where(self, at: int | None) -> int | str:
        """What issues call it: "trigger", or the order of the step at this index."""
        return "trigger" if at is None else self.components[at].order

    def component(self, order: int) -> Component:
        """The component with this order; KeyError if there is none."""
        for item in self.components:
            if item.order == order:
                return item
        raise KeyError(order)

    def children(self, block: int | None) -> Iterator[Component]:
        """The components directly inside `block` (None: the top level), in list order."""
        return (item for item in self.components if item.block == block)

    def to_json(self) -> dict[str, Any]:
        """The flow JSON; absent values are left out, `trigger` is always there."""
        data: dict[str, Any] = _lists({"trigger": None, **self.model_dump(exclude_none=True)})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Flow":
        """A flow of its JSON.

        Raises:
            InvalidFlow: the shape is wrong; `errors` says where. (`check_flow` takes any JSON.)
        """
        try:
            return cls.model_validate(dict(data) if isinstance(data, Mapping) else data)
        except ValidationError as error:
            issues = tuple(
                FlowIssue("syntax", f"{'.'.join(map(str, part['loc']))}: {part['msg']}", where="flow")
                for part in error.errors()
            )
            raise InvalidFlow(f"not a flow JSON: {issues[0].message}", issues) from None


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value
