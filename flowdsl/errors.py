"""What can go wrong: issues of a flow, and the errors that end a call.

An *issue* is a value (kind, message, place); it is collected, never raised.
An *error* ends a call with one message that names the cause and the remedy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

#: Every kind an issue can have.
KINDS = frozenset(
    "syntax unknown_trigger unknown_step unknown_input duplicate_input missing_input unknown_table "
    "unknown_column unknown_choice bad_value bad_operator unknown_pill pill_out_of_scope pill_type "
    "not_a_list else_without_if catch_without_try try_without_catch parallel_branches "
    "break_outside_loop after_end goback_target sla_timer_outside_sla_flow sla_timer_order "
    "catalog_table_trigger wait_dotwalk duplicate_field table_mismatch wrong_scope wrong_category "
    "trigger_pill empty_block order block trigger_count".split()
)


#: Characters of a message; longer ones, which quote long values, are cut in the middle.
_LONGEST = 300


@dataclass(frozen=True)
class FlowIssue:
    """One thing that is wrong with a flow.

    Attributes:
        kind: one of `KINDS`.
        message: one sentence for people.
        where: the order of the component, ``"trigger"``, or ``"flow"`` for the whole.
        input: the name of the input it is about, if any.
        part: which of its conditions or assignments, counted from 0.
        line, column: 1-based place in the DSL text, when there is one.

    >>> str(FlowIssue("unknown_step", "no step named 'fly'", where=2, line=3, column=5))
    "3:5 unknown_step step 2: no step named 'fly'"
    """

    kind: str
    message: str
    where: int | str
    input: str | None = None
    part: int | None = None
    line: int | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        if len(self.message) > _LONGEST:
            cut = f"{self.message[: _LONGEST // 2]} ... {self.message[-_LONGEST // 3 :]}"
            object.__setattr__(self, "message", cut)

    def __str__(self) -> str:
        place = f"{self.line}:{self.column} " if self.line is not None else ""
        owner = f"step {self.where}" if isinstance(self.where, int) else self.where
        return f"{place}{self.kind} {owner}: {self.message}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest of the names, or nothing.

    >>> did_you_mean("lookup_records", ["look_up_records", "log"])
    " (did you mean 'look_up_records'?)"
    """
    near = get_close_matches(name[:100], list(known)[:5000], n=1, cutoff=0.75)
    return f" (did you mean {near[0]!r}?)" if near else ""


class FlowError(Exception):
    """Base of every error that flowdsl raises on purpose.

    Attributes:
        errors: the issues behind it, possibly none.
        exit_code: what the command line returns for it (1 input, 2 usage, 3 environment).
    """

    exit_code = 1

    def __init__(self, message: str, errors: tuple[FlowIssue, ...] = ()):
        super().__init__(message)
        self.errors = errors


class InvalidFlow(FlowError):
    """The DSL text or the flow JSON has issues; `errors` lists all of them."""


class InvalidInstance(FlowError):
    """An instance file is missing or has problems; `problems` lists each with its JSON path."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()):
        super().__init__(message)
        self.problems = problems


class InvalidRequirement(FlowError):
    """The requirement is empty, too long, or no workflow requirement at all."""


class BudgetTooSmall(FlowError):
    """`max_tokens` or `deadline` leaves no room for a complete flow."""


class UsageError(FlowError):
    """An argument makes no sense (unknown format, unknown option value ...)."""

    exit_code = 2


class EnvironmentNotReady(FlowError):
    """A model, a package or a writable cache is missing."""

    exit_code = 3
