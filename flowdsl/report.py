"""The report over several runs: figures, differences, errors by feature and kind, worst cases.

Markdown, and the same as one HTML file with the plots in it.
"""

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from flowdsl.features import FEATURES, GROUPS
from flowdsl.files import write_whole
from flowdsl.intervals import Interval, paired
from flowdsl.measures import MEASURES
from flowdsl.model import Flow
from flowdsl.plots import plots
from flowdsl.records import Record, Run
from flowdsl.tree_diff import tree_diff

_TOOK = {"seconds": "seconds", "passes": "passes", "output_tokens": "tokens", "forced_tokens": "of these forced",
         "prompt_tokens": "prompt tokens"}  # fmt: skip
_CAPTIONS = {
    "figures": "Figures with 95 % bootstrap intervals.",
    "features": "Complete FlowSim by feature of the case.",
    "steps": "Complete FlowSim by the length of the wanted flow.",
    "seconds": "Seconds a flow.",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;font-size:13px}"
    "td,th{border-bottom:1px solid #ddd;padding:.3rem .6rem;"
    "text-align:left;vertical-align:top}pre{background:#f6f6f6;padding:.7rem;overflow-x:auto;font-size:13px}"
    "img{max-width:100%}"
)


def write_report(runs: Sequence[Run], folder: str | Path, worst: int = 5) -> Path:
    """Writes `report.md`, `report.html` and the plots into a folder; gives the path of the Markdown."""
    folder = Path(folder)
    drawn = plots(runs)
    for name, svg in drawn.items():
        write_whole(folder / f"{name}.svg", svg)
    text = markdown(runs, worst, tuple(drawn))
    write_whole(folder / "report.html", as_html(text, drawn))
    write_whole(folder / "report.md", text)
    return folder / "report.md"


def as_html(text: str, drawn: Mapping[str, str]) -> str:
    """The report as one file that needs nothing else."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, svg in drawn.items():
        data = base64.b64encode(svg.encode()).decode()
        body = body.replace(f'src="{name}.svg"', f'src="data:image/svg+xml;base64,{data}"')
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>flowdsl evaluation</title>'
        f"<style>{_STYLE}</style>\n{body}</html>\n"
    )


def markdown(runs: Sequence[Run], worst: int = 5, drawn: Sequence[str] = ()) -> str:
    """The report as Markdown; `drawn` are the names of plots beside it."""
    parts = ["# Evaluation", _overview(runs)]
    parts += [f"![{_CAPTIONS[name]}]({name}.svg)" for name in drawn]
    parts += ["## Figures", _figures(runs)]
    if len(runs) > 1:
        parts += [f"## Differences to {_cell(runs[0].name)}", _differences(runs)]
    parts += ["## By feature", _by_feature(runs)]
    for title, key in (("By instance", _instance_of), ("By steps of the wanted flow", _length_of)):
        if len({key(record) for run in runs for record in run.records}) > 1:
            parts += [f"## {title}", _by(runs, key)]
    parts += ["## Errors", _errors(runs)]
    parts += ["## Settings", *map(_settings, runs)]
    for run in runs if worst else ():
        parts += [f"## Worst cases of {_cell(run.name)}", *map(_case, worst_of(run, worst))]
    return "\n\n".join(parts) + "\n"


def worst_of(run: Run, number: int) -> list[Record]:
    """The cases with the least complete FlowSim, least first."""
    return sorted(run.records, key=lambda record: (record.figures["complete"], record.id))[:number]


# -- tables ------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text in a cell: on one line, and nothing in it is Markdown."""
    return "".join(f"\\{c}" if c in "\\|*_`<>[]#" else c for c in " ".join(text.split()))


def _mean(records: Sequence[Record], name: str) -> Interval:
    return Interval.of([record.figures[name] for record in records])


def _overview(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        records = run.records
        count = len(records) or 1
        took = [[r.took[name] for r in records if name in r.took] for name in ("seconds", "passes", "output_tokens")]
        rows.append([
            _cell(run.name),
            str(len(records)),
            *(str(_mean(records, name)) for name in ("outline", "complete", "equivalent")),
            f"{_mean(records, 'trigger').mean:.3f}",
            f"{_mean(records, 'exact').mean:.3f}",
            f"{_mean(records, 'span_f1').mean:.3f}",
            f"{sum(_is_wrong(r) for r in records) / count:.1%}",
            *(f"{sum(values) / len(values):.3g}" if values else "-" for values in took),
        ])  # fmt: skip
    head = ["run", "cases", "FlowSim outline", "FlowSim complete", "equivalence-aware", "trigger", "exact", "span F1",
            "structural errors", "seconds", "passes", "tokens"]  # fmt: skip
    note = (
        "Means over the cases, in brackets the 95 % bootstrap interval. A case without a flow counts as the empty flow."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _is_wrong(record: Record) -> bool:
    return bool(record.issues) or record.candidate is None


def _figures(runs: Sequence[Run]) -> str:
    rows = [[label, *(str(_mean(run.records, name)) for run in runs)] for name, label in MEASURES.items()]
    rows.append(["structural errors", *(str(Interval.of([float(_is_wrong(r)) for r in run.records])) for run in runs)])
    for name, label in _TOOK.items():
        values = [[r.took[name] for r in run.records if name in r.took] for run in runs]
        if any(values):
            rows.append([f"{label} a flow", *(_amount(Interval.of(v)) if v else "-" for v in values)])
    return _table(["figure", *(_cell(run.name) for run in runs)], rows)


def _amount(found: Interval) -> str:
    return f"{found.mean:.4g} [{found.low:.4g}, {found.high:.4g}]"


def _differences(runs: Sequence[Run]) -> str:
    first = {record.id: record for record in runs[0].records}
    rows = []
    for run in runs[1:]:
        both = [(first[record.id], record) for record in run.records if record.id in first]
        cells = []
        for name in ("outline", "complete", "equivalent", "span_f1"):
            found = paired([mine.figures[name] for mine, _ in both], [other.figures[name] for _, other in both])
            cells.append(f"{found}{' *' if found.sure else ''}")
        rows.append([_cell(run.name), str(len(both)), *cells])
    head = ["compared with", "common cases", *(MEASURES[n] for n in ("outline", "complete", "equivalent", "span_f1"))]
    note = f"{_cell(runs[0].name)} minus the other, case by case; * where the interval leaves out 0."
    return f"{_table(head, rows)}\n\n{note}"


def _by_feature(runs: Sequence[Run]) -> str:
    rows = []
    for name in FEATURES:
        having = [[r for r in run.records if name in r.features] for run in runs]
        lacking = [[r for r in run.records if name not in r.features] for run in runs]
        if any(having):
            label = f"**{name}**" if name in GROUPS else name
            cells = [
                f"{_mean(records, 'complete')} ({_gap(records, others)})"
                for records, others in zip(having, lacking, strict=True)
            ]
            rows.append([label, str(max(map(len, having))), *cells])
    note = "Complete FlowSim of the cases that have the feature; in parentheses how far above the others they are."
    return f"{_table(['feature', 'cases', *(_cell(run.name) for run in runs)], rows)}\n\n{note}"


def _gap(records: Sequence[Record], others: Sequence[Record]) -> str:
    if not records or not others:
        return "-"
    return f"{_mean(records, 'complete').mean - _mean(others, 'complete').mean:+.3f}"


def _instance_of(record: Record) -> str:
    return record.instance


def _length_of(record: Record) -> str:
    return f"{record.steps:2}" if record.steps < 10 else "10+"


def _by(runs: Sequence[Run], key: Callable[[Record], str]) -> str:
    rows = []
    for value in sorted({key(record) for run in runs for record in run.records}):
        chosen = [[record for record in run.records if key(record) == value] for run in runs]
        cells = (f"{_mean(c, 'outline').mean:.3f} / {_mean(c, 'complete').mean:.3f}" if c else "-" for c in chosen)
        rows.append([_cell(value), str(max(map(len, chosen))), *cells])
    note = "FlowSim outline / complete."
    return f"{_table(['', 'cases', *(_cell(run.name) for run in runs)], rows)}\n\n{note}"


def _errors(runs: Sequence[Run]) -> str:
    kinds = Counter(kind for run in runs for record in run.records for kind in record.issues)
    rows = [
        [kind, *(str(sum(kind in record.issues for record in run.records)) for run in runs)]
        for kind, _ in kinds.most_common()
    ]
    rows.append(["no flow at all", *(str(sum(r.candidate is None for r in run.records)) for run in runs)])
    rows.append(["**any**", *(str(sum(map(_is_wrong, run.records))) for run in runs)])
    lines = [_table(["flows with", *(_cell(run.name) for run in runs)], rows)]
    for run in runs:
        why = Counter(record.error for record in run.records if record.error)
        lines += [f"- {_cell(run.name)}, {n}: {_cell(error[:300])}" for error, n in why.most_common(5)]
    return "\n\n".join(lines[:1]) + ("\n\n" + "\n".join(lines[1:]) if lines[1:] else "")


def _settings(run: Run) -> str:
    told = ", ".join(f"{name}: {value}" for name, value in run.settings.items())
    return f"- **{_cell(run.name)}**: {_cell(told)}"


def _case(record: Record) -> str:
    candidate = Flow.from_json(record.candidate) if record.candidate is not None else Flow()
    diff = tree_diff(candidate, Flow.from_json(record.wanted)) or "(nothing that FlowSim compares)"
    figures = f"outline {record.figures['outline']:.3f}, complete {record.figures['complete']:.3f}"
    failed = f"\n\nNo flow: {_cell(record.error)}" if record.error else ""
    fence = "~" * (3 + max((len(line) for line in diff.split("\n") if set(line) == {"~"}), default=0))
    return f"### {_cell(record.id)}: {figures}\n\n{_cell(record.requirement)}{failed}\n\n{fence}diff\n{diff}\n{fence}"
