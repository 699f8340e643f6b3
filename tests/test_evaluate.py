"""Runs that can be stopped and go on, rivals, intervals, reports."""

import base64
import json
import multiprocessing
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.authored import read_authored
from flowdsl.errors import UsageError
from flowdsl.evaluate import evaluate, judged, some
from flowdsl.features import FEATURES
from flowdsl.instance import Instance
from flowdsl.intervals import Interval, paired
from flowdsl.measures import MEASURES
from flowdsl.model import Flow
from flowdsl.pairs import Pair, instance_for, write_pairs
from flowdsl.records import InvalidRun, Record, Run, open_run, read_run
from flowdsl.report import markdown, worst_of, write_report
from flowdsl.similarity import flow_similarity
from flowdsl.systems import Answer, Constant, Generator, Nearest, digest, random_model, uniform_model
from flowdsl.tree_diff import tree_diff, tree_lines

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "corpus"


@cache
def corpus() -> tuple[Pair, ...]:
    names = ("servicenow", "bank", "smart_home")
    return tuple(pair for name in names for pair in read_authored(CORPUS / f"{name}.flow", "dev", name))


@dataclass
class Known:
    """Knows some references, fails at others, and remembers what it was asked."""

    knows: frozenset[str]
    asked: list[str] = field(default_factory=list)
    kind: str = "known"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"system": self.kind}

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        self.asked.append(pair.id)
        if pair.id not in self.knows:
            raise ValueError("I do not know | <b>this</b>")
        return Answer.of(pair.compiled(), instance)


def _ids(pairs: tuple[Pair, ...]) -> frozenset[str]:
    return frozenset(pair.id for pair in pairs)


# -- runs --------------------------------------------------------------------------------------


def test_figures_of_right_and_of_failed_answers(tmp_path: Path) -> None:
    pairs = corpus()[:6]
    run = evaluate(pairs, Known(_ids(pairs[:3])), tmp_path / "run.jsonl", "mine")
    assert [record.id for record in run.records] == [pair.id for pair in pairs]
    for record in run.records[:3]:
        assert set(record.figures) == set(MEASURES) and set(record.figures.values()) == {1.0}
        assert record.error is None and record.issues == () and record.took["seconds"] > 0
    for record, pair in zip(run.records[3:], pairs[3:], strict=True):
        assert record.candidate is None and record.error == "ValueError: I do not know | <b>this</b>"
        assert record.figures["complete"] == flow_similarity(Flow(), pair.compiled())
        assert record.figures["exact"] == record.figures["span_f1"] == 0.0


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    pairs, path = corpus()[:8], tmp_path / "run.jsonl"
    whole = evaluate(pairs, Known(_ids(pairs)), path, "mine")
    text = path.read_bytes()
    lines = text.split(b"\n")
    for cut in (len(lines[0]) + 1, len(text) // 2, len(text) - 1, len(text) - 40):
        path.write_bytes(text[:cut])
        finished = len(read_run(path).records)
        system = Known(_ids(pairs))
        again = evaluate(pairs, system, path, "mine")
        assert system.asked == [pair.id for pair in pairs[finished:]]
        assert [r.id for r in again.records] == [r.id for r in whole.records]
    system = Known(frozenset())
    assert evaluate(pairs, system, path, "mine").records and system.asked == []
    assert len(path.read_text().splitlines()) == 9 and not list(tmp_path.glob("*.lock"))


def test_another_system_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    pairs, path = corpus()[:2], tmp_path / "run.jsonl"
    evaluate(pairs, Known(_ids(pairs)), path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="system 'known' instead of 'other'"):
        evaluate(pairs, Known(_ids(pairs), kind="other"), path)
    with pytest.raises(UsageError, match="pairs"):
        evaluate(corpus()[:3], Known(_ids(pairs)), path)
    assert path.read_bytes() == before
    assert evaluate(pairs, Known(frozenset(), kind="other"), path, restart=True).records[0].candidate is None


def _hold(path: str, ready: Any, done: Any) -> None:
    with open_run(path, "a", {}):
        ready.set()
        done.wait(60)


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path / "run.jsonl"), ready, done))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UsageError, match="another process works on"), open_run(tmp_path / "run.jsonl", "b", {}):
            pass
    finally:
        done.set()
        other.join(60)
    with open_run(tmp_path / "run.jsonl", "a", {}) as run:
        assert run.done == ()


@pytest.mark.parametrize(
    "text", ["", "\n", "{}\n", '{"name": "a"}\n', '{"name": "a", "settings": {}}\n{"id": 1}\n', "[1]\n"]
)
def test_what_is_no_run_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.jsonl").write_text(text)
    with pytest.raises(InvalidRun, match="is no run of flowdsl evaluate"):
        read_run(tmp_path / "run.jsonl")
    with pytest.raises(InvalidRun, match="cannot read"):
        read_run(tmp_path / "none.jsonl")


def test_records_survive_json() -> None:
    record = judged(corpus()[0], Known(frozenset()), instance_for("servicenow"))
    assert Record.from_json(json.loads(json.dumps(asdict(record)))) == record
    assert set(record.features) <= set(FEATURES)


@given(st.integers(0, 160), st.integers(0, 160))
def test_fewer_cases_are_among_more(few: int, more: int) -> None:
    few, more = sorted((few, more))
    chosen = some(corpus(), few)
    assert len(chosen) == min(few, len(corpus())) and chosen == some(corpus(), more)[: len(chosen)]
    assert some(corpus(), None) == list(corpus())


# -- rivals ------------------------------------------------------------------------------------


def test_nearest_copies_what_is_worded_alike() -> None:
    train, nearest = corpus(), Nearest(corpus())
    for pair in train[::20]:
        asked = replace(pair, id="new", requirement=f"Please, {pair.requirement.lower()}")
        assert nearest.answer(asked, instance_for(pair.instance)).flow == pair.compiled()
        copied = nearest.answer(pair, instance_for(pair.instance))  # the pair itself is not there to copy
        assert copied.flow != pair.compiled() and copied.issues == ()
    edit = replace(train[0], prior=train[1].flow)
    assert nearest.answer(edit, instance_for("servicenow")).flow == train[1].compiled()
    foreign = Nearest(train[:100]).answer(train[-1], instance_for("smart_home"))
    assert "unknown_step" in foreign.issues
    assert Nearest(()).answer(train[0], instance_for("servicenow")).error


def test_constant_is_the_short_flow_most_like_all() -> None:
    bank = tuple(pair for pair in corpus() if pair.instance == "bank")
    flow = Constant(corpus()).flow("bank")
    assert flow is not None
    flows = [pair.compiled() for pair in bank]
    means = {i: np.mean([flow_similarity(one, other) for other in flows]) for i, one in enumerate(flows)
             if len(one.components) <= 3}  # fmt: skip
    assert flow == flows[max(means, key=lambda i: means[i])]
    assert Constant(bank).answer(corpus()[0], instance_for("servicenow")).flow == flow
    assert Constant(()).answer(bank[0], instance_for("bank")).flow is None


def test_digest_is_of_the_content_in_any_order() -> None:
    pairs = corpus()[:5]
    assert digest(pairs) == digest(pairs[::-1]) != digest(pairs[:4])
    assert digest(pairs) != digest([replace(pairs[0], flow="log\n"), *pairs[1:]])


@pytest.fixture(scope="module")
def embedded() -> Any:
    import torch

    from flowdsl import load_model

    torch.set_num_threads(1)
    return load_model()


def test_uniform_choice_is_uniform_and_valid(embedded: Any) -> None:
    model = uniform_model(embedded)
    logits, _ = model.read(model.tokenizer("Every day")["input_ids"])
    assert logits.min() == logits.max() and len(logits) == embedded.vocabulary.size
    pair = next(pair for pair in corpus() if pair.instance == "smart_home")
    house = instance_for("smart_home")
    options = {"temperature": 1.0, "seed": 3, "max_tokens": 120}
    first, second = (judged(pair, Generator(model, {"model": "uniform"}, options), house) for _ in range(2))
    assert first.error is None and first.issues == () and first.candidate == second.candidate
    assert first.took["passes"] > 0 and 0 < first.took["output_tokens"] <= 120
    short = judged(pair, Generator(model, {}, {"max_tokens": 1}), house)
    assert short.error is not None and short.error.startswith("BudgetTooSmall: max_tokens is 1")


def test_random_weights_are_not_those_of_the_model(embedded: Any) -> None:
    import torch

    model, again = random_model(embedded), random_model(embedded)
    for name, weight in model.network.named_parameters():
        if "norm" not in name:
            assert not torch.equal(weight, embedded.network.get_parameter(name))
            assert torch.equal(weight, again.network.get_parameter(name))
            break
    assert model.dtype == embedded.dtype and model.vocabulary.size == embedded.vocabulary.size


# -- intervals ---------------------------------------------------------------------------------


def test_intervals_cover_what_they_should() -> None:
    """Of 95 % intervals of 60 draws each, about 95 % hold the true mean."""
    random = np.random.default_rng(1)
    found = [Interval.of(list(random.beta(2, 1, size=60))) for _ in range(300)]
    held = sum(one.low <= 2 / 3 <= one.high for one in found) / len(found)
    assert 0.91 <= held <= 0.98
    width = np.mean([one.high - one.low for one in found])
    assert width == pytest.approx(2 * 1.96 * np.sqrt(1 / 18) / np.sqrt(60), rel=0.1)


def test_intervals_of_little() -> None:
    assert Interval.of([0.25] * 9) == Interval(0.25, 0.25, 0.25, 9)
    assert str(Interval.of([])) == "-" and not Interval.of([]).sure
    assert paired([0.9, 0.8], [0.1, 0.2]).sure and not paired([1.0, 0.0], [0.0, 1.0]).sure


# -- reports -----------------------------------------------------------------------------------


@given(st.sampled_from(corpus()), st.sampled_from(corpus()))
def test_diff_has_both_trees(first: Pair, second: Pair) -> None:
    mine, wanted = first.compiled(), second.compiled()
    if tree_lines(mine) != tree_lines(wanted):
        lines = tree_diff(mine, wanted).split("\n")
        assert [line[1:] for line in lines if line[0] in " -"] == tree_lines(mine)
        assert [line[1:] for line in lines if line[0] in " +"] == tree_lines(wanted)


def test_diff_of_equals_is_empty() -> None:
    flow = corpus()[0].compiled()
    assert tree_diff(flow, flow) == ""


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    pairs = corpus()[60:110]
    perfect = evaluate(pairs, Known(_ids(pairs)), tmp_path / "a.jsonl", "a|b")
    half = evaluate(pairs, Known(_ids(pairs[::2])), tmp_path / "b.jsonl", "half")
    copied = evaluate(pairs, Nearest(corpus()), tmp_path / "c.jsonl", "nearest")
    return [perfect, half, copied]


def test_report_tells_the_figures(runs: list[Run], tmp_path: Path) -> None:
    path = write_report(runs, tmp_path / "report", worst=2)
    text = path.read_text()
    assert "| a\\|b | 50 | 1.000 [1.000, 1.000] |" in text
    assert "| half | 50 |" in text and "| 50.0% |" in text
    mean = np.mean([record.figures["complete"] for record in runs[2].records])
    assert f"| {mean:.3f} [" in next(line for line in text.splitlines() if line.startswith("| nearest"))
    assert "| no flow at all | 0 | 25 | 0 |" in text
    assert "I do not know \\| \\<b\\>this\\</b\\>" in text
    foreach = [r for r in runs[2].records if "FOREACH" in r.features]
    row = next(line for line in text.splitlines() if line.startswith("| FOREACH"))
    assert row.split(" | ")[1] == str(len(foreach))
    assert f"{np.mean([r.figures['complete'] for r in foreach]):.3f}" in row
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| FlowSim")}
    assert widths == {3}


def test_html_report_stands_alone(runs: list[Run], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_report(runs, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<b>" not in page and "<script" not in page and "&lt;b&gt;this" in page
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 3 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    names = ("figures", "features", "steps")
    drawn = [(tmp_path / "report" / f"{name}.svg").read_text() for name in names]
    assert [base64.b64decode(source.partition(",")[2]).decode() for source in sources] == drawn
    write_report(runs, tmp_path / "again")
    assert [(tmp_path / "again" / f"{name}.svg").read_text() for name in names] == drawn


def test_worst_cases_come_first(runs: list[Run]) -> None:
    worst = worst_of(runs[2], 7)
    least = sorted(record.figures["complete"] for record in runs[2].records)[:7]
    assert [record.figures["complete"] for record in worst] == least
    assert worst[0].id.replace("_", "\\_") in markdown(runs[2:], worst=1)
    assert "Worst" not in markdown(runs, worst=0)


def test_report_of_an_unfinished_run_and_of_none(tmp_path: Path) -> None:
    with open_run(tmp_path / "run.jsonl", "begun", {}):
        pass
    assert "| begun | 0 | - |" in markdown([read_run(tmp_path / "run.jsonl")])


# -- commands ----------------------------------------------------------------------------------


def _flowdsl(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowdsl", "evaluate", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_commands(tmp_path: Path) -> None:
    write_pairs(tmp_path / "dev.jsonl", corpus()[:10])
    write_pairs(tmp_path / "train.jsonl", corpus()[10:60])
    given = ("run", tmp_path / "dev.jsonl", "--system", "nearest", "--train", tmp_path / "train.jsonl")
    done = _flowdsl(*given, "-o", tmp_path / "n.jsonl")
    assert done.returncode == 0 and done.stdout.startswith("nearest: 10 cases, outline 0."), done.stderr
    assert "10/10" in done.stderr
    done = _flowdsl(*given, "-o", tmp_path / "n.jsonl", "--limit", 4)
    assert done.returncode == 2 and "use --restart, or -o" in done.stderr
    done = _flowdsl("report", tmp_path / "n.jsonl", "-o", tmp_path / "report")
    assert done.returncode == 0 and (tmp_path / "report" / "report.html").exists()
    done = _flowdsl("report", tmp_path / "none.jsonl", "-o", tmp_path / "report")
    assert done.returncode == 1 and "cannot read the run" in done.stderr
    write_pairs(tmp_path / "empty.jsonl", [])
    done = _flowdsl("run", tmp_path / "empty.jsonl")
    assert done.returncode == 2 and "there are no pairs" in done.stderr


def test_all_runs_and_reports(tmp_path: Path) -> None:
    """A rehearsal with what needs no model; a second one finds everything done."""
    command = [sys.executable, str(ROOT / "scripts" / "evaluation.py"), "--limit", "3", "--runs", str(tmp_path)]
    done = subprocess.run([*command, "--only", "nearest", "constant"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "dev-3"
    assert sorted(path.name for path in folder.iterdir()) == ["constant.jsonl", "nearest.jsonl", "rivals"]
    assert "| nearest | 3 |" in (folder / "rivals" / "report.md").read_text()
    before = (folder / "nearest.jsonl").read_bytes()
    again = subprocess.run([*command, "--only", "nearest"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and (folder / "nearest.jsonl").read_bytes() == before
    wrong = subprocess.run([*command, "--only", "nothing"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2 and "no run nothing: there are 100-more, 1000-more," in wrong.stderr


def test_figures_of_time_have_intervals(runs: list[Run]) -> None:
    rows = {line.split(" | ")[0]: line for line in markdown(runs, worst=0).splitlines()}
    assert "| 0.500 [0.360, 0.640] |" in rows["| structural errors"]
    assert re.search(r"\| [0-9.e-]+ \[[0-9.e-]+, [0-9.e-]+\] \|", rows["| seconds a flow"])
