"""The plots of a report and of a training run, as SVG. Needs matplotlib (the extra `bench`)."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from flowdsl.features import FEATURES
from flowdsl.intervals import Interval
from flowdsl.records import Run

_WIDE = 7.5


def loss_plot(log: Sequence[Mapping[str, float]]) -> str | None:
    """SVG text of the loss and the rate of a training run over its steps; None without matplotlib.

    Args:
        log: the lines of its ``log.jsonl``, each with step, loss (nats a token) and rate.
    """

    def draw(figure: Any) -> bool:
        left = figure.add_subplot()
        right = left.twinx()
        steps = [line["step"] for line in log]
        left.plot(steps, [line["loss"] for line in log], color="C0")
        right.plot(steps, [line["rate"] for line in log], color="C1", linewidth=0.8)
        left.set(xlabel="step", ylabel="loss, nats a token", ylim=(0, None))
        right.set(ylabel="learning rate", ylim=(0, None))
        right.spines["right"].set_visible(True)
        return True

    return _svg(draw)


def plots(runs: Sequence[Run]) -> dict[str, str]:
    """SVG text by the name of the plot, in the order of the report; none without matplotlib.

    The same runs give the same text.
    """
    makers: Mapping[str, Callable[..., bool]] = {
        "figures": _figures,
        "features": _features,
        "steps": _steps,
        "seconds": _seconds,
    }
    drawn = {name: _svg(partial(make, runs=runs)) for name, make in makers.items()}
    return {name: text for name, text in drawn.items() if text is not None}


def _svg(draw: Callable[[Any], bool]) -> str | None:
    """The SVG text of what is drawn on a figure; None if there is nothing to draw, or no matplotlib."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return None
    with rc_context({"svg.hashsalt": "flowdsl", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(_WIDE, 3.4), layout="constrained")
        if not draw(figure):
            return None
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _grouped(axes: Any, runs: Sequence[Run], rows: Sequence[tuple[str, Sequence[Interval]]]) -> None:
    width = 0.8 / len(runs)
    for i, run in enumerate(runs):
        cells = [cells[i] for _, cells in rows]
        places = [at + (i - (len(runs) - 1) / 2) * width for at in range(len(rows))]
        errors = [[max(0.0, c.mean - c.low) for c in cells], [max(0.0, c.high - c.mean) for c in cells]]
        axes.bar(places, [c.mean for c in cells], width, yerr=errors, label=run.name, error_kw={"lw": 0.8})
    axes.set_xticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8, ncols=min(4, len(runs)), loc="lower center", bbox_to_anchor=(0.5, 1))


def _figures(figure: Any, runs: Sequence[Run]) -> bool:
    names = {"outline": "outline", "complete": "complete", "equivalent": "equivalence-\naware", "trigger": "trigger",
             "exact": "exact", "span_f1": "span F1"}  # fmt: skip
    rows = [
        (label, [Interval.of([record.figures[name] for record in run.records]) for run in runs])
        for name, label in names.items()
    ]
    axes = figure.subplots()
    _grouped(axes, runs, rows)
    return bool(any(run.records for run in runs))


def _features(figure: Any, runs: Sequence[Run]) -> bool:
    rows = []
    for name in FEATURES:
        cells = [Interval.of([r.figures["complete"] for r in run.records if name in r.features]) for run in runs]
        if all(cell.cases for cell in cells):
            rows.append((f"{name} ({cells[0].cases})", cells))
    if not rows:
        return False
    figure.set_figheight(4.6)
    axes = figure.subplots()
    _grouped(axes, runs, rows)
    axes.tick_params(axis="x", rotation=60)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    axes.set_ylabel("FlowSim complete")
    return True


def _steps(figure: Any, runs: Sequence[Run]) -> bool:
    axes = figure.subplots()
    for run in runs:
        by_steps: dict[int, list[float]] = {}
        for record in run.records:
            by_steps.setdefault(min(record.steps, 10), []).append(record.figures["complete"])
        counts = sorted(by_steps)
        means = [sum(by_steps[n]) / len(by_steps[n]) for n in counts]
        axes.plot(counts, means, marker="o", markersize=3, lw=1, label=run.name)
    axes.set_xlabel("steps of the wanted flow (10: or more)")
    axes.set_ylabel("FlowSim complete")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    return bool(any(run.records for run in runs))


def _seconds(figure: Any, runs: Sequence[Run]) -> bool:
    slow = [run for run in runs if sum(record.took.get("seconds", 0) for record in run.records) > len(run.records)]
    if not slow:
        return False
    axes = figure.subplots()
    values = [[record.took["seconds"] for record in run.records] for run in slow]
    axes.boxplot(values, orientation="horizontal", tick_labels=[run.name for run in slow])
    axes.set_xlabel("seconds a flow")
    return True
