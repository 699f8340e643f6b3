"""The figures of a Flow-Bench run, for all cases and for each tag, as Markdown."""

from collections.abc import Sequence

from flowdsl.bench_script import USER_TASK
from flowdsl.flow_bench import Benchmark, Case, recalls
from flowdsl.intervals import Interval
from flowdsl.model import PLACEHOLDER, Flow
from flowdsl.records import Record, Run
from flowdsl.structure import structure


def right(case: Case, record: Record, conditions: bool = False) -> bool:
    """Whether the answer has the structure of one of the flows that count as right."""
    if record.candidate is None:
        return False
    mine = structure(Flow.from_json(record.candidate), conditions)
    return any(mine == structure(flow, conditions) for flow in case.expected)


def hallucinated(benchmark: Benchmark, record: Record) -> tuple[int, int]:
    """How many of the answer's activities the catalogue does not have, and how many it has in all."""
    flow = Flow.from_json(record.candidate) if record.candidate is not None else Flow()
    known = benchmark.instance.step_by_name.keys() | {PLACEHOLDER, USER_TASK}
    names = [component.definition for component in flow.components if not component.is_logic]
    return sum(name not in known for name in names), len(names)


def flow_bench_tables(benchmark: Benchmark, run: Run | None = None) -> str:
    """Recall of the suggestions, and the figures of a run."""
    parts = [
        "# Flow-Bench",
        f"{len(benchmark.cases)} cases, {len(benchmark.instance.steps) - 1} activities.",
        _recall(benchmark),
    ]
    if run is not None:
        parts += [f"## {run.name}", _figures(benchmark, run)]
    if benchmark.skipped:
        parts += ["## Cases that could not be read", "\n".join(f"- {text}" for text in benchmark.skipped)]
    return "\n\n".join(parts) + "\n"


def _recall(benchmark: Benchmark) -> str:
    lines = ["| suggestions | recall of activities | cases with all of them |", "| --- | --- | --- |"]
    for limit in (10, 50):
        found = list(recalls(benchmark, limit).values())
        complete = Interval.of([float(value == 1.0) for value in found])
        lines.append(f"| {limit} | {Interval.of(found)} | {complete.mean:.3f} |")
    note = (
        "Means over the cases, with 95 % bootstrap intervals. The query is the utterance alone; of an edit, activities "
        "that the prior flow has do not count."
    )
    return "\n".join(lines) + f"\n\n{note}"


def _figures(benchmark: Benchmark, run: Run) -> str:
    cases = {case.pair.id: case for case in benchmark.cases}
    done = [record for record in run.records if record.id in cases]
    tags = sorted({tag for record in done for tag in record.tags})
    groups = [("all", done), *((tag, [record for record in done if tag in record.tags]) for tag in tags)]
    names = ("", "cases", "exact structure", "with conditions", "FlowSim outline", "valid", "hallucinated", "seconds")
    head = f"| {' | '.join(names)} |\n{'| --- ' * len(names)}|"
    rows = [_row(name, [(cases[r.id], r) for r in records], benchmark) for name, records in groups]
    return "\n".join([head, *rows])


def _row(name: str, judged: Sequence[tuple[Case, Record]], benchmark: Benchmark) -> str:
    if not judged:
        return f"| {name} | 0 |" + " - |" * 6
    exact, full = (
        Interval.of([float(right(case, r, conditions)) for case, r in judged]) for conditions in (False, True)
    )
    outline = Interval.of([r.figures["outline"] for _, r in judged])
    valid = sum(r.candidate is not None and not r.issues for _, r in judged) / len(judged)
    unknown, activities = (sum(n) for n in zip(*(hallucinated(benchmark, r) for _, r in judged), strict=True))
    seconds = sum(r.took.get("seconds", 0.0) for _, r in judged) / len(judged)
    share = f"{unknown / activities:.1%}" if activities else "-"
    return f"| {name} | {len(judged)} | {exact} | {full} | {outline} | {valid:.1%} | {share} | {seconds:.1f} |"
