"""`flowdsl evaluate`: how well a model, or a rival that needs none, does on pairs whose flow is known."""

import re
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowdsl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowdsl.evaluate import OnCase
    from flowdsl.instance import Instance
    from flowdsl.pairs import Pair
    from flowdsl.records import Record, Run
    from flowdsl.systems import System

evaluate_app = typer.Typer(
    help="Measure models and rivals on pairs of requirements and flows.\n\n"
    "\b\nExample:\n  flowdsl evaluate run data/dev.jsonl -o runs/dev-default.jsonl\n"
    "  flowdsl evaluate report runs/dev-*.jsonl -o runs/dev",
    rich_markup_mode=None,
)


class Kind(StrEnum):
    """What is judged."""

    model = "model"
    unconstrained = "unconstrained"
    untuned = "untuned"
    uniform = "uniform"
    random = "random"
    nearest = "nearest"
    constant = "constant"
    prompted = "prompted"


class Suggested(StrEnum):
    """What the outline prompt lists."""

    retrieved = "retrieved"
    perfect = "perfect"
    none = "none"


class Rename(StrEnum):
    """How names are changed, see `renamed.STYLES`."""

    respelled = "respelled"
    opaque = "opaque"


_TRAINED = (Kind.nearest, Kind.constant)

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME|PATH", help="A causal model (default: the embedded one, tuned)."),
]
AdapterOption = Annotated[str | None, typer.Option(metavar="PATH", help="A LoRA adapter for the model.")]
EndpointOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Of prompted: an OpenAI-compatible server, with /v1; key in FLOWDSL_API_KEY."),
]
GrammarOption = Annotated[
    str | None,
    typer.Option(
        "--grammar-field",
        metavar="FIELD",
        help="Of prompted: where the server takes a grammar, such as "
        "structured_outputs.grammar (vLLM), ebnf (SGLang), grammar (llama.cpp).",
    ),
]
TrainOption = Annotated[str, typer.Option(metavar="FILE", help="What nearest and constant copy from.")]
EffortOption = Annotated[str, typer.Option(metavar="fast|best", help="Of generate.")]
SuggestionsOption = Annotated[
    Suggested,
    typer.Option(
        help="Ablation: the names in the outline prompt are those found, the reference's own first (perfect), or none."
    ),
]
RenameOption = Annotated[
    Rename | None,
    typer.Option(
        help="Ablation: steps, triggers, tables and columns are called something else (labels stay): acmeSendEmail, or "
        "invented words. Answers are judged under the old names."
    ),
]
DistractorsOption = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Ablation: N steps of other catalogues stand among those of the instance."),
]
SeedOption = Annotated[int, typer.Option(metavar="N", help="Of sampling and of random weights.")]
TokensOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Of generate.")]
LimitOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only N cases, always the same.")]
NameOption = Annotated[str | None, typer.Option(metavar="NAME", help="What reports call the run.")]
RestartOption = Annotated[bool, typer.Option("--restart", help="Begin anew if the run is there already.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
WorstOption = Annotated[int, typer.Option(min=0, metavar="N", help="Worst cases that are shown of each run.")]


@evaluate_app.command()
def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of pairs (JSON lines).")],
    kind: Annotated[
        Kind,
        typer.Option(
            "--system",
            "-s",
            help="model; or a rival: unconstrained (the model without grammars), untuned (worked examples instead of "
            "the adapter), uniform (any allowed token), random (untrained weights), nearest (copies the training flow "
            "that is worded most alike), constant (one flow for all), prompted (--model behind --endpoint).",
        ),
    ] = Kind.model,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    train: TrainOption = "data/train.jsonl",
    endpoint: EndpointOption = None,
    grammar_field: GrammarOption = None,
    effort: EffortOption = "fast",
    suggestions: SuggestionsOption = Suggested.retrieved,
    rename: RenameOption = None,
    distractors: DistractorsOption = 0,
    max_tokens: TokensOption = None,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    name: NameOption = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="The run (default: runs/SPLIT-NAME.jsonl).")
    ] = None,
    restart: RestartOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer all pairs of a split, and record each answer with its figures.

    A run that was stopped goes on where it was when the same command is given again. `flowdsl evaluate
    report` makes tables and plots of one or several runs.

    \b
    Examples:
      flowdsl evaluate run data/dev.jsonl --adapter my-adapter --name tuned
      flowdsl evaluate run data/test.jsonl --system nearest
      flowdsl evaluate run data/dev.jsonl --rename opaque --name renamed
      flowdsl evaluate run data/test.jsonl --system prompted --endpoint http://localhost:8000/v1 --model my-model
    """
    from flowdsl.distractors import AmongOthers
    from flowdsl.evaluate import some
    from flowdsl.pairs import read_pairs
    from flowdsl.systems import UnderOtherNames

    if kind in _TRAINED and (rename or distractors):
        raise UsageError(f"--system {kind.value} copies flows: it has no use for --rename and --distractors")
    if suggestions is not Suggested.retrieved and kind in {*_TRAINED, Kind.prompted}:
        raise UsageError(f"--system {kind.value} takes no --suggestions")
    pairs = some([pair for file in files for pair in read_pairs(file)], limit)
    if not pairs:
        raise UsageError("there are no pairs in " + ", ".join(files))
    ablated = [rename, f"{distractors}-more" if distractors else None]
    ablated += [f"{suggestions.value}-suggestions" if suggestions is not Suggested.retrieved else None]
    label = name or "-".join(filter(None, [_label(kind, model, adapter), *ablated]))
    stem = "-".join(Path(file).stem for file in files) + "-" + re.sub(r"[^A-Za-z0-9._-]+", "-", label)
    copied = tuple(read_pairs(train)) if kind in _TRAINED else ()
    options = {"effort": effort, "seed": seed, "max_tokens": max_tokens}
    system = _system(kind, model, adapter, copied, options, endpoint, grammar_field, suggestions)
    if rename is not None:
        system = UnderOtherNames(system, rename.value)
    if distractors:  # outside, so that what is added is renamed as well
        system = AmongOthers(system, distractors)
    done = judge(pairs, system, output or f"runs/{stem}.jsonl", label, restart, quiet)
    _tell([done])


@evaluate_app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run files; the first is compared with the rest.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="Where the report goes.")],
    worst: WorstOption = 5,
) -> None:
    """Make a report of runs, side by side: report.md, report.html, and plots.

    Figures with intervals, paired differences, errors by feature and by kind, the worst cases with what
    differs. Plots need matplotlib: pip install 'flowdsl[bench]'.

    \b
    Example:
      flowdsl evaluate report runs/test-tuned.jsonl runs/test-nearest.jsonl -o runs/test
    """
    from flowdsl.records import read_run
    from flowdsl.report import write_report

    read = [read_run(path) for path in runs]
    path = write_report(read, output, worst)
    _tell(read)
    print(f"{path} and {path.with_suffix('.html').name}", file=sys.stderr)


@evaluate_app.command("flow-bench")
def flow_bench(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A checkout of IBM/flow-bench, or one of its YAML files.")
    ],
    kind: Annotated[Kind, typer.Option("--system", "-s", help="model, or a rival, as in run.")] = Kind.model,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    train: TrainOption = "data/train.jsonl",
    endpoint: EndpointOption = None,
    grammar_field: GrammarOption = None,
    effort: EffortOption = "fast",
    seed: SeedOption = 0,
    max_tokens: TokensOption = None,
    limit: LimitOption = None,
    recall: Annotated[bool, typer.Option("--recall", help="Only the recall of the suggestions; no model.")] = False,
    export: Annotated[
        str | None, typer.Option(metavar="FILE", help="Only write the catalogue as an instance JSON.")
    ] = None,
    name: NameOption = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="The run (default: runs/flow-bench-NAME.jsonl)."),
    ] = None,
    restart: RestartOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure on IBM Flow-Bench, in its public layout.

    Its catalogue becomes an instance. Told on stdout, as Markdown: how many of the wanted activities are
    among the first 10 and 50 suggestions; exact match of the structure (activities and control flow), and
    with conditions; hallucinated activities; valid flows; seconds a flow; for all cases and for each tag.
    Cases with a prior sequence are edits of it. A run that was stopped goes on where it was.

    \b
    Examples:
      flowdsl evaluate flow-bench flow-bench/data --recall
      flowdsl evaluate flow-bench flow-bench/data --adapter my-adapter
      flowdsl evaluate flow-bench flow-bench/data --export flow_bench.json
    """
    from flowdsl.evaluate import some
    from flowdsl.files import write_whole
    from flowdsl.flow_bench import read_benchmark
    from flowdsl.flow_bench_report import flow_bench_tables
    from flowdsl.pairs import read_pairs

    benchmark = read_benchmark(folder)
    if export is not None:
        write_whole(Path(export), benchmark.instance.model_dump_json(exclude_defaults=True, indent=1) + "\n")
        return
    done = None
    if not recall:
        label = name or _label(kind, model, adapter)
        copied = tuple(read_pairs(train)) if kind in _TRAINED else ()
        # its own `user_task` is what stands for work that no activity does
        options = {"effort": effort, "seed": seed, "max_tokens": max_tokens, "placeholders": False}
        system = _system(kind, model, adapter, copied, options, endpoint, grammar_field)
        path = output or f"runs/flow-bench-{re.sub(r'[^A-Za-z0-9._-]+', '-', label)}.jsonl"
        pairs = some([case.pair for case in benchmark.cases], limit)
        done = judge(pairs, system, path, label, restart, quiet, lambda _: benchmark.instance)
    sys.stdout.write(flow_bench_tables(benchmark, done))


def _label(kind: Kind, model: str | None, adapter: str | None) -> str:
    if kind is not Kind.model:
        return kind.value
    parts = [Path(part).name for part in (model, adapter) if part]
    return "+".join(parts) or "default"


def _system(
    kind: Kind,
    model: str | None,
    adapter: str | None,
    train: "Sequence[Pair]",
    options: dict[str, Any],
    endpoint: str | None,
    grammar: str | None,
    suggestions: Suggested = Suggested.retrieved,
) -> "System":
    if kind is Kind.prompted:
        if endpoint is None or model is None:
            raise UsageError("--system prompted needs --endpoint URL and --model NAME, as the server calls it")
        from flowdsl.prompted import Endpoint, Prompted

        prefix = "%llguidance {}" if grammar in {"grammar", "ebnf"} else ""
        return Prompted(Endpoint(endpoint, model, grammar, prefix, options["max_tokens"] or 1000))
    from flowdsl.systems import Constant, Generator, Nearest, adapter_digest, random_model, uniform_model

    if kind is Kind.untuned and adapter is not None:
        raise UsageError("--system untuned has no adapter")
    if kind in _TRAINED:
        return Nearest(tuple(train)) if kind is Kind.nearest else Constant(tuple(train))
    from flowdsl import load_model
    from flowdsl.generate import ADAPTER
    from flowdsl.unconstrained import Unconstrained

    is_default = model is None and adapter is None and kind in {Kind.model, Kind.unconstrained}
    tuned = str(ADAPTER) if is_default else adapter
    loaded = load_model(model, adapter=tuned)
    described: dict[str, Any] = {"kind": kind.value, "model": model or loaded.name}
    if tuned is not None:
        described |= {"adapter": adapter or "default", "adapter_sha256": adapter_digest(tuned)}
    if kind is Kind.unconstrained:
        return Unconstrained(loaded, described, options["max_tokens"], suggestions.value)
    if kind is Kind.uniform:
        loaded, options = uniform_model(loaded), options | {"temperature": 1.0}
    if kind is Kind.random:
        loaded = random_model(loaded, options["seed"])
    return Generator(loaded, described, options, suggestions.value)


def judge(
    pairs: "Sequence[Pair]",
    system: "System",
    path: str | Path,
    name: str,
    restart: bool,
    quiet: bool,
    instances: "Callable[[str], Instance] | None" = None,
) -> "Run":
    """Runs a system over pairs with a progress bar."""
    from flowdsl.evaluate import evaluate
    from flowdsl.pairs import instance_for

    with _progress(len(pairs), quiet) as on_case:
        known = instances or instance_for
        done = evaluate(pairs, system, path, name, restart=restart, on_case=on_case, instances=known)
    if not quiet:
        print(f"{path}: {len(done.records)} cases", file=sys.stderr)
    return done


@contextmanager
def _progress(total: int, quiet: bool) -> "Iterator[OnCase | None]":
    """A bar with the running means; one line a case where nobody watches."""
    if quiet:
        yield None
        return
    sums = {"outline": 0.0, "complete": 0.0}

    def means(record: "Record", number: int) -> str:
        for name in sums:
            sums[name] += record.figures[name]
        seen[0] += 1
        return ", ".join(f"{name} {value / seen[0]:.3f}" for name, value in sums.items())

    seen = [0]
    if not sys.stderr.isatty():

        def line(record: "Record", number: int, total: int) -> None:
            told = means(record, number)
            if seen[0] == number:  # not the cases that were done before
                failed = f", {record.error[:100]}" if record.error else ""
                print(f"{number}/{total} {record.id}: {record.figures['complete']:.3f}, "
                      f"{record.took['seconds']:.1f} s{failed}; mean {told}", file=sys.stderr, flush=True)  # fmt: skip

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)

        def show(record: "Record", number: int, total: int) -> None:
            bar.update(task, completed=number, description=means(record, number))

        yield show


def _tell(runs: "Sequence[Run]") -> None:
    """The main figures, one line a run, on stdout."""
    from flowdsl.intervals import Interval

    for one in runs:
        records = one.records
        cells = [f"{name} {Interval.of([r.figures[name] for r in records])}" for name in ("outline", "complete")]
        wrong = sum(bool(record.issues) or record.candidate is None for record in records)
        seconds = sum(record.took.get("seconds", 0.0) for record in records) / (len(records) or 1)
        sys.stdout.write(
            f"{one.name}: {len(records)} cases, {', '.join(cells)}, {wrong} with errors, {seconds:.1f} s a flow\n"
        )
