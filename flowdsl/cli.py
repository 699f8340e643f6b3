"""The command line: files and words in, the flow on stdout, everything else on stderr.

Exit codes: 0 done, 1 the input is wrong, 2 usage, 3 the environment is not ready, 70 a bug.
What a command works with is imported when it runs, so that `flowdsl check` never waits for torch.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from flowdsl.cli_data import data_app
from flowdsl.cli_evaluate import evaluate_app
from flowdsl.cli_train import train
from flowdsl.errors import EnvironmentNotReady, FlowError, FlowIssue, InvalidFlow, InvalidInstance, UsageError
from flowdsl.files import replace_file

if TYPE_CHECKING:
    from flowdsl.instance import Instance
    from flowdsl.model import Flow
    from flowdsl.result import FlowResult

EXIT_INPUT, EXIT_USAGE, EXIT_ENVIRONMENT, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 70, 130

#: What typer raises for a wrong command line; it does not export the class.
_WrongCommandLine: Any = typer.BadParameter.__base__

_STDIN = "<stdin>"
#: Remarks of one kind that are told of a generated flow.
_SHOWN = 8


class Format(StrEnum):
    """How a flow is written."""

    json = "json"
    dsl = "dsl"
    text = "text"


class Effort(StrEnum):
    """How hard `generate` tries."""

    fast = "fast"
    best = "best"


# -- errors become one line and an exit code ----------------------------------------------------


class _Commands(TyperGroup):
    """The commands; whatever ends one of them early is told here, in one line."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        extra["standalone_mode"] = False  # else typer tells errors its own way
        try:
            code = super().main(*args, **extra)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read stdout has enough
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = EXIT_INPUT
        except (KeyboardInterrupt, typer.Abort):
            code = EXIT_INTERRUPTED
        except Exception as error:
            if os.environ.get("FLOWDSL_DEBUG"):
                raise
            message, code = _told(error)
            _say(f"flowdsl: error: {message}")
        if code == EXIT_INTERRUPTED:  # typer may have made it this code itself
            _say("flowdsl: interrupted")
        sys.exit(code or 0)


def _told(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code for it."""
    from decoding.errors import DecodeError, DecodingError, ModelError

    if isinstance(error, FlowError):
        return str(error), error.exit_code
    if isinstance(error, DecodingError):
        return str(error), EXIT_ENVIRONMENT if isinstance(error, ModelError | DecodeError) else EXIT_INPUT
    if isinstance(error, _WrongCommandLine):
        context: Any = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return f"{error.format_message().rstrip('.')}{hint}", EXIT_USAGE
    if isinstance(error, ImportError):
        return f"a package is missing or damaged: {error} (run make setup, or pip install flowdsl)", EXIT_ENVIRONMENT
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}", EXIT_ENVIRONMENT
    if isinstance(error, RecursionError):
        return "the input is nested too deep", EXIT_INPUT
    if isinstance(error, MemoryError):
        return "out of memory", EXIT_ENVIRONMENT
    text = " ".join(str(error).split())[:300]
    return f"a bug in flowdsl: {type(error).__name__}: {text} (FLOWDSL_DEBUG=1 shows where)", EXIT_BUG


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- files ---------------------------------------------------------------------------------------


class _Unreadable(FlowError):
    """An input file is missing, empty or no text."""


class _Text:
    """The text of a file or of standard input, and whether it is JSON or DSL."""

    def __init__(self, source: str):
        self.name = _STDIN if source == "-" else source
        try:
            content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        except (OSError, ValueError, AttributeError) as error:  # no such path, a null byte in it, stdin closed
            raise _Unreadable(f"cannot read {self.name}: {getattr(error, 'strerror', None) or error}") from None
        try:
            self.text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _Unreadable(f"{self.name} is not UTF-8 text (byte {error.start + 1})") from None
        if not self.text.strip():
            raise _Unreadable(f"{self.name} is empty")
        self.is_json = self.text.lstrip().startswith("{")

    def flow(self, instance: "Instance") -> tuple[Any, list[FlowIssue]]:
        """The flow, or the JSON that should be one, and every issue with its place in the text."""
        if not self.is_json:
            from flowdsl.compile import read_dsl

            return read_dsl(self.text, instance)
        from flowdsl.check import check_flow

        data, issues = self.json()
        if issues:
            return None, issues
        places = _component_places(self.text, data)
        found = []
        for issue in check_flow(data, instance):
            line, column = places.get(issue.where, (1, 1))
            found.append(dataclasses.replace(issue, line=line, column=column))
        return data, sorted(found, key=lambda issue: (issue.line or 0, issue.column or 0))

    def json(self) -> tuple[Any, list[FlowIssue]]:
        """The JSON value, or the one issue why there is none."""
        try:
            return json.loads(self.text), []
        except json.JSONDecodeError as error:
            return None, [_syntax(f"not JSON: {error.msg}", error.lineno, error.colno)]
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested too deep
            message = "nested too deep" if isinstance(error, RecursionError) else str(error)
            return None, [_syntax(f"not JSON: {message}", 1, 1)]

    def valid_flow(self, instance: "Instance") -> "Flow":
        """The flow; the issues are told on stderr before `InvalidFlow` is raised."""
        from flowdsl.model import Flow

        read, issues = self.flow(instance)
        if not issues and not isinstance(read, Flow):
            try:
                return Flow.from_json(read)
            except InvalidFlow as error:
                issues = [dataclasses.replace(issue, line=1, column=1) for issue in error.errors]
        if issues:
            for issue in issues:
                _say(self.line(issue))
            raise InvalidFlow(f"{self.name} has {_count(len(issues), 'error')}", tuple(issues))
        flow: Flow = read
        return flow

    def line(self, issue: FlowIssue) -> str:
        """``FILE:LINE:COL kind message``."""
        bare = str(dataclasses.replace(issue, line=None, column=None))
        return f"{self.name}:{issue.line or 1}:{issue.column or 1} {bare}"


def _syntax(message: str, line: int, column: int) -> FlowIssue:
    return FlowIssue("syntax", message, where="flow", line=line, column=column)


_JSON_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)


def _component_places(text: str, data: Any) -> dict[int | str, tuple[int, int]]:
    """Line and column of the trigger and of each component in the text of a flow JSON, by `FlowIssue.where`."""
    components = data.get("components") if isinstance(data, Mapping) else None
    numbered = enumerate(components, start=1) if isinstance(components, list) else ()
    objects = [(i, item) for i, item in numbered if isinstance(item, Mapping)]
    starts: list[int] = []
    trigger: int | None = None
    depth, key, previous = 0, "", ""
    for found in _JSON_MARK.finditer(text):
        mark = found.group()
        if mark == ":" and depth == 1:
            key = previous
            if key == '"components"':
                starts.clear()  # of two with this name the last one counts
        elif mark in "{[":
            depth += 1
            if key == '"trigger"' and depth == 2:
                trigger = found.start()
            elif key == '"components"' and depth == 3 and mark == "{":
                starts.append(found.start())
        elif mark in "}]":
            depth -= 1
        previous = mark
    places: dict[int | str, tuple[int, int]] = {}
    line, at = 1, 0
    for (i, item), start in zip(objects, starts, strict=False):
        line, at = line + text.count("\n", at, start), start
        order = item.get("order")
        places.setdefault(order if type(order) is int else i, (line, start - text.rfind("\n", 0, start)))
    if trigger is not None:
        places["trigger"] = text.count("\n", 0, trigger) + 1, trigger - text.rfind("\n", 0, trigger)
    return places


class _Output:
    """Where the result goes: stdout, or a file that has it whole or stays as it was."""

    def __init__(self, target: str | None):
        self.path = Path(target) if target not in (None, "-") else None
        if self.path is None:
            return
        with contextlib.suppress(ValueError):  # a null byte: mkstemp will say so
            self.path = Path(os.path.realpath(self.path))
        if self.path.is_dir():
            raise UsageError(f"cannot write {target}: it is a folder")
        if not self.path.parent.is_dir():
            raise UsageError(f"cannot write {target}: there is no folder {self.path.parent}")

    def write(self, text: str) -> None:
        if self.path is None:
            sys.stdout.write(text)
            return
        try:
            if self.path.exists() and not self.path.is_file():  # a device or a pipe takes it, and stays what it is
                self.path.write_text(text, encoding="utf-8")
            else:
                replace_file(self.path, text.encode())
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or error
            raise EnvironmentNotReady(f"cannot write {self.path}: {cause}") from None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rendered(flow: "Flow", instance: "Instance", form: Format) -> str:
    if form is Format.dsl:
        from flowdsl.decompile import decompile

        return decompile(flow, instance)
    if form is Format.text:
        from flowdsl.explain import explain_flow

        return explain_flow(flow, instance)
    return json.dumps(flow.to_json(), ensure_ascii=False, indent=2) + "\n"


def _listed(flows: "Sequence[Flow]", instance: "Instance", form: Format) -> str:
    if form is Format.json:
        return json.dumps([flow.to_json() for flow in flows], ensure_ascii=False, indent=2) + "\n"
    return "---\n".join(_rendered(flow, instance, form) for flow in flows)


def _instance(source: str) -> "Instance":
    from flowdsl.instance import Instance

    return Instance.load(source)


# -- the commands --------------------------------------------------------------------------------

app = typer.Typer(
    name="flowdsl",
    cls=_Commands,
    help="Text to workflow: a requirement in words becomes a flow that is valid by construction.\n\n"
    "\b\nExample:\n  flowdsl generate 'When a critical incident is created, text the manager of its group'\n\n"
    "Exit codes: 0 done, 1 the input is wrong, 2 usage, 3 the environment is not ready.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
instance_app = typer.Typer(
    help="Check and show instances.\n\nAn instance is the steps, triggers and tables of an installation.\n\n"
    "\b\nExample:\n  flowdsl instance validate my-company.json",
    rich_markup_mode=None,
)
app.add_typer(instance_app, name="instance")
app.add_typer(data_app, name="data")
app.command()(train)
app.add_typer(evaluate_app, name="evaluate")

InstanceOption = Annotated[
    str, typer.Option("--instance", "-i", metavar="NAME|PATH", help="A bundled instance, a JSON file or a folder.")
]
FileArgument = Annotated[str, typer.Argument(metavar="FILE|-", help="DSL or flow JSON; - is standard input.")]
OutputOption = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here, all or nothing, not to stdout.")
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="json, dsl, or text (in plain English).")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME|PATH", help="A causal model: a folder, or a name on the hub."),
]
AdapterOption = Annotated[str | None, typer.Option(metavar="PATH", help="A LoRA adapter for the model.")]
MaxTokensOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Tokens of the output at most.")]
SeedOption = Annotated[int | None, typer.Option(metavar="N", help="Makes sampling repeatable.")]
TemperatureOption = Annotated[float, typer.Option(min=0.0, metavar="T", help="0 always takes the best token.")]
AllowOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Only this step or table may be used (repeatable).")
]
DenyOption = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Never use this one (repeatable).")]
NumberOption = Annotated[
    int, typer.Option("--n", min=1, metavar="N", help="Distinct flows, best first: a JSON list, or parts between ---.")
]
DeadlineOption = Annotated[float | None, typer.Option(min=0.0, metavar="SECONDS", help="Be done by then.")]
EffortOption = Annotated[Effort, typer.Option(help="best fills in that of several outlines that is most like all.")]
StatsOption = Annotated[bool, typer.Option("--stats", help="Tokens, passes and seconds, on stderr.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on stderr.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"flowdsl {version('flowdsl')}\n")
        raise typer.Exit


@app.callback()
def flowdsl(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    pass


@dataclasses.dataclass(frozen=True)
class _Wishes:
    """The options of a generation, as typed."""

    model: str | None
    adapter: str | None
    max_tokens: int | None
    seed: int | None
    temperature: float
    allow: list[str] | None
    deny: list[str] | None
    n: int
    deadline: float | None
    effort: Effort

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `generate_flow`; this loads a model that was named."""
        if not math.isfinite(self.temperature):
            raise UsageError("--temperature is a number from 0")
        if self.deadline is not None and not (math.isfinite(self.deadline) and self.deadline > 0):
            raise UsageError("--deadline is a number of seconds above 0")
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        adapter, given["effort"] = given.pop("adapter"), self.effort.value
        given |= {"allow": self.allow or None, "deny": self.deny or None}
        if self.model is not None or adapter is not None:
            from flowdsl import load_model

            given["model"] = load_model(self.model, adapter=adapter)
        return given


@app.command()
def generate(
    requirement: Annotated[str, typer.Argument(metavar="REQUIREMENT|-", help="In words; - is standard input.")],
    instance: InstanceOption = "servicenow",
    model: ModelOption = None,
    adapter: AdapterOption = None,
    form: FormatOption = Format.json,
    output: OutputOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    temperature: TemperatureOption = 0.0,
    allow: AllowOption = None,
    deny: DenyOption = None,
    n: NumberOption = 1,
    deadline: DeadlineOption = None,
    effort: EffortOption = Effort.fast,
    stats: StatsOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn a requirement into a flow.

    \b
    Examples:
      flowdsl generate "Every Monday at 8, look up the open problems and log their number"
      flowdsl generate - --format dsl -o flow.dsl < requirement.txt
      flowdsl generate "..." --instance my-company.json --deny delete_record
    """

    def work(ready: "Instance", **options: Any) -> "FlowResult":
        from flowdsl import generate_flow

        return generate_flow(words, instance=ready, **options)

    words = _words(requirement)
    wishes = _Wishes(model, adapter, max_tokens, seed, temperature, allow, deny, n, deadline, effort)
    _run(work, instance, wishes, form, output, stats, quiet)


@app.command()
def edit(
    file: FileArgument,
    instruction: Annotated[str, typer.Argument(metavar="INSTRUCTION|-", help="In words; - is standard input.")],
    instance: InstanceOption = "servicenow",
    model: ModelOption = None,
    adapter: AdapterOption = None,
    form: FormatOption = Format.json,
    output: OutputOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    temperature: TemperatureOption = 0.0,
    allow: AllowOption = None,
    deny: DenyOption = None,
    n: NumberOption = 1,
    deadline: DeadlineOption = None,
    effort: EffortOption = Effort.fast,
    stats: StatsOption = False,
    quiet: QuietOption = False,
) -> None:
    """Change a flow as an instruction says.

    What has changed is told on stderr.

    \b
    Example:
      flowdsl edit flow.json "also log a warning if there are none" -o flow.json
    """

    def work(ready: "Instance", **options: Any) -> "FlowResult":
        from flowdsl import edit_flow

        return edit_flow(text.valid_flow(ready), words, instance=ready, **options)

    if file == instruction == "-":
        raise UsageError("the flow and the instruction cannot both come from standard input")
    text, words = _Text(file), _words(instruction)
    wishes = _Wishes(model, adapter, max_tokens, seed, temperature, allow, deny, n, deadline, effort)
    _run(work, instance, wishes, form, output, stats, quiet)


def _words(argument: str) -> str:
    """A requirement or an instruction, from the command line or standard input."""
    if argument == "-":
        return _Text("-").text
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise _Unreadable("the words on the command line are not UTF-8 text") from None
    return argument


def _run(
    work: Callable[..., "FlowResult"],
    instance: str,
    wishes: _Wishes,
    form: Format,
    output: str | None,
    stats: bool,
    quiet: bool,
) -> None:
    target, ready = _Output(output), _instance(instance)
    arguments = wishes.arguments()
    with _live(quiet) as on_event:
        result = work(ready, on_event=on_event, **arguments)
    if not quiet:
        _tell(result)
    if stats:
        _tell_stats(result)
    flows = [one.flow for one in (result, *result.alternatives)]
    target.write(_rendered(flows[0], ready, form) if wishes.n == 1 else _listed(flows, ready, form))


@contextlib.contextmanager
def _live(quiet: bool) -> Iterator[Callable[[Mapping[str, Any]], None] | None]:
    """Shows the lines of the flow as they become final, for somebody who watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True)

    def show(event: Mapping[str, Any]) -> None:
        lines = str(event.get("text") or "").splitlines()
        if event.get("event") == "inputs":
            lines = [f"  {_owner(event.get('where', ''))}: {line}" for line in lines]
        elif event.get("event") not in {"trigger", "step"}:  # warnings come with the result
            return
        for line in lines:
            style = "dim" if line.startswith("  ") else None
            console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    with console.status("working"):
        yield show


def _tell(result: "FlowResult") -> None:
    """What somebody should know of a result, on stderr."""
    for warning in result.warnings:
        _say(f"flowdsl: warning: {warning}")
    if ended := {"budget": "--max-tokens", "stop": "--deadline"}.get(result.stats.finish_reason):
        _say(f"flowdsl: warning: {ended} ended the flow early; it is complete and valid, but may lack steps")
    _tell_some(f"left open, step {c.order}: nothing does {c.annotation!r} here" for c in result.placeholders)
    _tell_some(f"no step for: {clause}" for clause in result.uncovered)
    _tell_some(f"assumed, {_owner(item.where)}: {item.input} is {item.value}" for item in result.assumptions)
    _tell_some(
        f"unsure, {_owner(choice.where)}: {choice.chosen!r} or {choice.alternative!r}" for choice in result.uncertain
    )
    for change in result.diff:
        _say(str(change))


def _tell_some(told: Iterable[str]) -> None:
    """The first of many; all of them are in the result that Python gives."""
    lines = list(dict.fromkeys(told))
    for line in lines[:_SHOWN]:
        _say(f"flowdsl: {line}")
    if len(lines) > _SHOWN:
        _say(f"flowdsl: and {len(lines) - _SHOWN} more like these")


def _owner(where: int | str) -> str:
    return f"step {where}" if isinstance(where, int) else where


def _tell_stats(result: "FlowResult") -> None:
    told = dataclasses.asdict(result.stats)
    told |= {f"{name}_seconds": value for name, value in told.pop("seconds", {}).items()}
    mass = result.masked_mass
    told |= {"logprob": result.logprob, "masked_mass_mean": mass.mean, "masked_mass_max": mass.max}
    for name, value in told.items():
        _say(f"{name}: {f'{value:.3f}' if isinstance(value, float) else value}")


@app.command("compile")
def compile_(file: FileArgument, instance: InstanceOption = "servicenow", output: OutputOption = None) -> None:
    """Compile DSL to flow JSON.

    Flow JSON is checked and written again.

    \b
    Example:
      flowdsl compile flow.dsl -o flow.json
    """
    _convert(file, instance, output, Format.json)


@app.command("decompile")
def decompile_(file: FileArgument, instance: InstanceOption = "servicenow", output: OutputOption = None) -> None:
    """Write a flow as canonical DSL.

    \b
    Example:
      flowdsl decompile flow.json -o flow.dsl
    """
    _convert(file, instance, output, Format.dsl)


@app.command()
def explain(file: FileArgument, instance: InstanceOption = "servicenow", output: OutputOption = None) -> None:
    """Tell a flow in plain English.

    \b
    Example:
      flowdsl explain flow.json
    """
    _convert(file, instance, output, Format.text)


def _convert(file: str, instance: str, output: str | None, form: Format) -> None:
    target, ready = _Output(output), _instance(instance)
    target.write(_rendered(_Text(file).valid_flow(ready), ready, form))


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE|-...", help="DSL or flow JSON; - is standard input.")],
    instance: InstanceOption = "servicenow",
) -> int:
    """Check flows, and tell every error.

    One line on stdout for each, FILE:LINE:COL kind message; exit code 1 if there is one.

    \b
    Examples:
      flowdsl check flow.dsl
      flowdsl check flows/*.json --instance my-company.json
    """
    if files.count("-") > 1:
        raise UsageError("standard input can be checked once")
    ready = _instance(instance)
    errors = 0
    for file in files:
        try:
            text = _Text(file)
        except _Unreadable as error:  # the others are checked all the same
            _say(f"flowdsl: error: {error}")
            errors += 1
            continue
        for issue in text.flow(ready)[1]:
            sys.stdout.write(f"{text.line(issue)}\n")
            errors += 1
    _say(f"{_count(len(files), 'file')} checked, {_count(errors, 'error')}")
    return EXIT_INPUT if errors else 0


@app.command()
def score(
    candidate: FileArgument,
    reference: FileArgument,
    outline: Annotated[bool, typer.Option("--outline", help="Compare the steps alone, without their inputs.")] = False,
    instance: InstanceOption = "servicenow",
) -> None:
    """Tell how alike two flows are.

    The score is FlowSim, from 0 to 1 (equal).

    DSL has to compile; flow JSON is compared as it is, also where it is no valid flow.

    \b
    Example:
      flowdsl score generated.json expected.json --outline
    """
    from flowdsl.similarity import flow_similarity

    if candidate == reference == "-":
        raise UsageError("standard input can be one of the two flows, not both")
    first, second = (_scored(_Text(source), instance) for source in (candidate, reference))
    sys.stdout.write(f"{flow_similarity(first, second, inputs=not outline):.4f}\n")


def _scored(text: _Text, instance: str) -> Any:
    if not text.is_json:
        return text.valid_flow(_instance(instance))
    data, issues = text.json()
    if issues:
        _say(text.line(issues[0]))
        raise InvalidFlow(f"{text.name} is not JSON", tuple(issues))
    return data


# -- instances -----------------------------------------------------------------------------------


@instance_app.command()
def validate(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An instance JSON, or a folder of them.")],
    grammars: Annotated[
        bool, typer.Option("--grammars", help="Also build the grammars of its triggers, steps and tables.")
    ] = False,
) -> int:
    """Check an instance, and tell every problem.

    One line on stdout for each; exit code 1 if there is one.

    --grammars builds what generation would build with the instance: the grammars of outlines, and of the inputs
    of each trigger and step in a short flow, within the same limits. It tells which cannot be built, or have
    no end within the tokens that there are for it. It takes some 20 milliseconds a step and table.

    \b
    Examples:
      flowdsl instance validate my-company.json
      flowdsl instance validate --grammars my-company.json
    """
    try:
        ready = _instance(path)
    except InvalidInstance as error:
        if not error.problems:
            raise
        for problem in error.problems:
            sys.stdout.write(f"{path}: {problem}\n")
        _say(f"flowdsl: error: {path} has {_count(len(error.problems), 'problem')}")
        return EXIT_INPUT
    _say(f"{path} is a valid instance: {_sizes(ready)}")
    return _validate_grammars(path, ready) if grammars else 0


def _validate_grammars(path: str, instance: "Instance") -> int:
    from decoding import Vocabulary
    from flowdsl.grammar_check import check_grammars

    report = check_grammars(instance, Vocabulary.embedded())
    sys.stdout.writelines(f"{path}: {problem}\n" for problem in report.problems)
    _say(f"{_count(len(report.built), 'grammar')} built, {_count(len(report.problems), 'problem')}")
    if report.tables < report.of:
        _say(f"tables: the {report.tables:,} with most columns of {report.of:,} were tried one by one")
    for largest in filter(None, [report.largest]):
        _say(f"the largest: {largest.where}, {_count(largest.characters, 'character')}")
    for longest in filter(None, [report.longest]):
        _say(f"the longest to end: {longest.where}, at least {_count(longest.tokens, 'token')}")
    for name in report.unplaced:
        _say(f"never offered, since nothing gives what it needs: step {name}")
    return EXIT_INPUT if report.problems else 0


@instance_app.command()
def info(
    path: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A bundled instance, a file or a folder.")],
    names: Annotated[bool, typer.Option("--names", help="Also list the steps, triggers and tables.")] = False,
) -> None:
    """Tell what an instance holds.

    \b
    Example:
      flowdsl instance info servicenow --names
    """
    ready = _instance(path)
    lines = [f"{ready.name}: {ready.label}" if ready.label else ready.name, _sizes(ready)]
    lines += [ready.attribution] if ready.attribution else []
    if names:
        for heading, items in (("Triggers", ready.triggers), ("Steps", ready.steps), ("Tables", ready.tables)):
            lines += ["", f"{heading}:"] if items else []
            lines += [f"  {item.name}  {item.label}".rstrip() for item in items]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _sizes(instance: "Instance") -> str:
    columns = sum(len(table.columns) for table in instance.tables)
    parts = [(len(instance.triggers), "trigger"), (len(instance.steps), "step"), (len(instance.tables), "table")]
    return ", ".join(_count(*part) for part in [*parts, (columns, "column")])


@instance_app.command("import")
def import_(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="OpenAPI 3 (JSON or YAML), CSV, or a folder of SDK declarations.")
    ],
    name: Annotated[str, typer.Option("--name", help="What the instance is called.", show_default=False)] = "",
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.", show_default=False)
    ] = None,
) -> int:
    """Turn a catalogue of another make into an instance JSON.

    Of an OpenAPI 3 document operations become steps, webhooks and callbacks triggers, and schemas tables.
    docs/importing.md describes this, and the columns of a CSV file.

    \b
    Example:
      flowdsl instance import examples/pet_shop.yaml -o pet_shop.json
    """
    from flowdsl.importing import import_instance
    from flowdsl.instance import Instance

    target = _Output(output)
    try:
        data = import_instance(path, name)
    except InvalidInstance as error:
        for problem in error.problems:
            _say(f"{path}: {problem}")
        if not error.problems:
            raise
        _say(f"flowdsl: error: {path} has {_count(len(error.problems), 'problem')}")
        return EXIT_INPUT
    target.write(json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    _say(f"imported {path}: {_sizes(Instance.from_json(data))}")
    return 0


@app.command()
def bench(
    what: Annotated[str, typer.Argument(metavar="speed|masks|all", help="What to measure.")] = "all",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Requirements.")] = 30,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    own_text: Annotated[
        bool, typer.Option("--own-text", help="Write what the model makes of a requirement, not its reference flow.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the processor.")] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="For the report.")] = "bench",
) -> None:
    """Compare flowdsl with its peers, side by side: seconds, passes and tokens a flow; masks by size.

    Runs in a checkout of the project, and needs the extra packages of flowdsl[bench].

    \b
    Examples:
      flowdsl bench
      flowdsl bench speed --limit 10 --threads 2 -o report
    """
    if what not in ("speed", "masks", "all"):
        raise UsageError(f"what to measure is speed, masks or all, not {what!r}")
    from pathlib import Path

    root = Path(__file__).resolve().parent.parent
    if not (root / "benchmarks" / "run.py").is_file():
        raise EnvironmentNotReady(
            "flowdsl bench runs in a checkout of the project: clone it, pip install -e '.[bench]'"
        )
    sys.path.insert(0, str(root))
    try:
        import matplotlib  # noqa: F401
        import xgrammar  # noqa: F401
    except ImportError as error:
        raise EnvironmentNotReady(f"{error.name} is not installed: pip install -e '.[bench]'") from None
    from benchmarks.run import run_benchmarks

    chosen = None
    if what != "masks":
        from decoding import ModelError
        from flowdsl import load_model
        from flowdsl.generate import default_model

        try:
            chosen = default_model() if model is None and adapter is None else load_model(model, adapter=adapter)
        except ModelError as error:
            if model is not None or adapter is not None:
                raise
            _say(f"without the adapter ({error})")  # speed does not depend on what has been learned
            chosen = load_model()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    files = run_benchmarks(
        chosen, limit=limit, speed=what != "masks", masks=what != "speed", own_text=own_text, folder=Path(output)
    )
    _say("written: " + ", ".join(map(str, files)))


def main() -> None:
    """The entry point `flowdsl`. Output is UTF-8 whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app(prog_name="flowdsl")
