"""Flow logic as step definitions: what each kind takes and gives."""

from collections.abc import Mapping

from flowdsl.instance import Choice, Field, Step


def _choices(*values: str) -> tuple[Choice, ...]:
    return tuple(Choice(value=value, label=value) for value in values)


_CONDITION = Field(name="condition", type="conditions", mandatory=True)

#: Definitions of flow logic by name, shaped like the steps of an instance.
LOGIC: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step(name="IF", inputs=(_CONDITION,)),
        Step(name="ELSEIF", inputs=(_CONDITION,)),
        Step(name="ELSE"),
        Step(
            name="FOREACH",
            inputs=(Field(name="items", type="records", mandatory=True),),
            outputs=(Field(name="item", type="record"),),
        ),
        Step(name="DOUNTIL", inputs=(Field(name="conditions", type="conditions", mandatory=True),)),
        Step(name="PARALLEL"),
        Step(name="PARALLEL_BRANCH"),
        Step(name="TRY"),
        Step(name="CATCH"),
        Step(
            name="TIMER",
            inputs=(
                Field(
                    name="duration_type",
                    type="choice",
                    mandatory=True,
                    choices=_choices("explicit_duration", "relative_duration", "percentage_duration"),
                ),
                Field(name="duration", type="duration"),
                Field(name="relative_operator", type="choice", choices=_choices("before", "after")),
                Field(name="relative_datetime", type="date_time"),
                Field(name="percentage", type="integer"),
                Field(name="percentage_datetime", type="date_time"),
            ),
            outputs=(
                Field(name="total_duration", type="duration"),
                Field(name="scheduled_end_date_time", type="date_time"),
            ),
        ),
        Step(name="END"),
        Step(name="BREAK"),
        Step(name="CONTINUE"),
        Step(name="GOBACKTO", inputs=(Field(name="step", type="step", mandatory=True),)),
    )
}

#: What a TIMER needs beside its `duration_type`, by the value of that.
TIMER_INPUTS: Mapping[str, tuple[str, ...]] = {
    "explicit_duration": ("duration",),
    "relative_duration": ("duration", "relative_operator", "relative_datetime"),
    "percentage_duration": ("percentage", "percentage_datetime"),
}
