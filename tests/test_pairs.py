"""Pairs: files, the authored form, what is wrong with them, and how varied their wording is."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.authored import numbered, read_authored, read_blocks
from flowdsl.errors import InvalidInstance
from flowdsl.pair_check import validate_pairs
from flowdsl.pair_statistics import statistics
from flowdsl.pairs import InvalidPairs, Pair, instance_for, read_pairs, write_pairs
from flowdsl.wording import Wording, masked, overlap, sentences, skeleton

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "corpus"
GOOD = 'ON "Every day" daily\n  time: 00:00\n1 "log hello" log\n  log_message: "hello"\n'
PAIR = Pair("dev-1", "Every day, log hello", GOOD, "servicenow", split="dev")
EDIT = """# PRIOR:
ON "Every day" daily
  time: 00:00
1 "log hello" log
  log_message: "hello"
# INSTRUCTION: Also tell ann@x.org
# TAGS: terse
ON "Every day" daily
time: 0:00
"log hello" log
log_message: "hello"
"tell ann@x.org" send_email
ah_to: "ann@x.org"
ah_subject: "Hello"
"""


@pytest.fixture(scope="module")
def corpus() -> list[Pair]:
    names = ("servicenow", "bank", "smart_home")
    return [pair for name in names for pair in read_authored(CORPUS / f"{name}.flow", "dev", name)]


# -- files -------------------------------------------------------------------------------------


def test_corpus_survives_the_file(corpus: list[Pair], tmp_path: Path) -> None:
    write_pairs(tmp_path / "dev.jsonl", corpus)
    assert list(read_pairs(tmp_path / "dev.jsonl")) == corpus
    assert len((tmp_path / "dev.jsonl").read_text().splitlines()) == len(corpus) >= 150


@given(
    st.builds(
        Pair,
        st.text(),
        st.text(),
        st.text(),
        st.text(),
        st.lists(st.text()).map(tuple),
        st.sampled_from(["written", "composed"]),
        st.just("train"),
        st.none() | st.text(),
    )
)
def test_any_text_survives_json(pair: Pair) -> None:
    line = json.dumps(pair.to_json(), ensure_ascii=False)
    assert "\n" not in line
    assert Pair.from_json(json.loads(line)) == pair


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "a pair is a JSON object"),
        ('{"id": "a", "requirement": "b"}', "no flow"),
        ('{"id": "a", "requirement": "b", "flow": "c", "colour": "d"}', "unknown colour"),
        ('{"id": 1, "requirement": "b", "flow": "c"}', "id is a string"),
        ('{"id": "1", "requirement": "b", "flow": "c", "tags": "x"}', "tags is a list"),
    ],
)
def test_bad_line_is_told_with_its_number(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(PAIR.to_json()) + "\n\n" + line + "\n")
    with pytest.raises(InvalidPairs, match=rf"x\.jsonl:3: not a pair: .*{reason}"):
        read_pairs(path)


def test_instances_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert instance_for("bank").name == "bank"
    for name in ("nobody", "../examples/bank", ""):
        with pytest.raises(InvalidInstance, match="neither bundled nor"):
            instance_for(name)
    (tmp_path / "data" / "instances").mkdir(parents=True)
    (tmp_path / "data" / "instances" / "tiny.json").write_text('{"name": "tiny", "steps": [], "triggers": []}')
    monkeypatch.chdir(tmp_path)
    assert instance_for("tiny").name == "tiny"


# -- the authored form -------------------------------------------------------------------------


def test_an_edit_is_read_and_spelled_canonically(tmp_path: Path) -> None:
    (tmp_path / "e.flow").write_text(EDIT + "---\n# REQUIREMENT: " + PAIR.requirement + "\n" + GOOD)
    edit, plain = read_authored(tmp_path / "e.flow")
    assert (edit.prior, edit.requirement, edit.tags) == (GOOD, "Also tell ann@x.org", ("terse",))
    assert edit.flow == GOOD + '2 "tell ann@x.org" send_email\n  ah_to: "ann@x.org"\n  ah_subject: "Hello"\n'
    assert plain.prior is None and plain.flow == GOOD
    assert validate_pairs([edit, plain]) == ()


def test_errors_have_the_line_of_the_file(tmp_path: Path) -> None:
    text = '# REQUIREMENT: Log hello\n\nlog\n  log_message: "hello"\n---\n# REQUIREMENT: Log that\n# TAGS: a\n\nflog\n'
    (tmp_path / "e.flow").write_text(text + "---\n" + EDIT.replace("0:00", "25:00"))
    with pytest.raises(InvalidPairs) as raised:
        read_authored(tmp_path / "e.flow")
    lines = str(raised.value).split("\n")
    numbers = [int(line.split(":")[1]) for line in lines]
    whole = (tmp_path / "e.flow").read_text().split("\n")
    assert [whole[number - 1] for number in numbers] == ["flog", "time: 25:00", "  time: 025:00"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("log\n", r":1: a block without # REQUIREMENT"),
        ("# REQUIREMENT: a\n# PRIOR:\nlog\n", r":1: an edit has"),
        ("# REQUIREMENT: a\nlog\n\n# REQUIREMENT: b\nlog\n", r":4: a second # REQUIREMENT: in one block"),
    ],
)
def test_incomplete_blocks(text: str, reason: str) -> None:
    with pytest.raises(InvalidPairs, match=reason):
        read_blocks(text)


def test_ids_do_not_depend_on_the_others(corpus: list[Pair]) -> None:
    assert len({pair.id for pair in corpus}) == len(corpus)
    assert list(numbered(corpus[::-1]))[::-1] == corpus


# -- validation --------------------------------------------------------------------------------


def test_corpus_is_valid(corpus: list[Pair]) -> None:
    assert validate_pairs(corpus) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": GOOD.replace(" log\n", " flog\n")}, "flow: 3:.* unknown_step"),
        ({"flow": GOOD.replace("1 ", "")}, "flow: not in the canonical spelling"),
        ({"flow": GOOD.replace('"log hello"', '"logs hello"')}, "'logs hello' is no span"),
        ({"flow": GOOD.replace('"log hello"', '"log hell"')}, "'log hell' begins or ends inside a word"),
        ({"flow": GOOD.replace('"log hello"', '" log hello"')}, "' log hello' has space around it"),
        ({"flow": GOOD.replace('"log hello" ', "")}, "step 1: no annotation"),
        ({"instance": "nobody"}, "no instance 'nobody'"),
        ({"origin": "stolen"}, "'stolen' is none of"),
        ({"split": "exam"}, "'exam' is none of"),
        ({"requirement": PAIR.requirement + " "}, "has space around it"),
        ({"prior": "flog\n"}, "prior: 1:1 unknown_step"),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, str], message: str) -> None:
    problems = validate_pairs([replace(PAIR, **change)])
    assert len(problems) == 1
    assert re.search(message, problems[0].message)


def test_nothing_is_asked_twice_across_splits() -> None:
    again = replace(PAIR, id="test-1", requirement="every day: LOG hello!", split="test")
    again = replace(again, flow=GOOD.replace("Every", "every").replace("log hello", "LOG hello"))
    assert [str(p) for p in validate_pairs([PAIR, again])] == ["test-1: the same requirement as dev-1 (dev)"]
    assert [
        str(p) for p in validate_pairs([PAIR, replace(again, id="dev-1", requirement="every day LOG hello 2")])
    ] == ["dev-1: the id is not unique"]


def test_an_edit_may_keep_what_its_prior_says_and_no_more() -> None:
    flow = GOOD + '2 "email ann" log\n  log_message: "x"\n'
    edit = replace(PAIR, requirement="then email ann", prior=GOOD, flow=flow)
    assert validate_pairs([edit]) == ()
    assert len(validate_pairs([replace(edit, prior=GOOD.replace("log hello", "hello"))])) == 1


# -- wording -----------------------------------------------------------------------------------


def test_skeletons_mask_names_numbers_and_quotations() -> None:
    assert skeleton('Set 12 of Ann Lee\'s tasks to "On Hold", mail a.b@c.org INC0012') == (
        "set NUMBER of NAME tasks to QUOTE mail NAME NUMBER"
    )
    assert masked("don't move 'Old stuff' of the users' group") == "don't move QUOTE of the users group".split()
    assert sentences('Log "a. b". Then: 1. stop 2. wait') == ['Log "a, b".', "Then:", "stop", "wait"]


def test_wording_counts_what_templates_would_show() -> None:
    made = [f"When a user in Site{i} leaves, close the {i} open incidents of that person" for i in range(400)]
    found = Wording.of(made)
    assert [item.count for item in (found.skeletons[0], found.eight_grams[0], found.openings[0])] == [400] * 3
    assert [item.limit for item in (found.skeletons[0], found.eight_grams[0], found.openings[0])] == [3, 4, 20]
    assert len(found.over) >= 3
    assert Wording.of(made[:3]).over == ()
    assert overlap(made[:1], made[1:2]) and not overlap(made[:1], ["Close the open incidents of that person"])


def test_corpus_statistics_add_up(corpus: list[Pair]) -> None:
    found = statistics(corpus)
    assert found.pairs == len(corpus) == sum(found.counts["kind"].values()) == sum(found.counts["steps"].values())
    assert found.counts["instance"] == {"servicenow": 100, "bank": 30, "smart_home": 20} | found.counts["instance"]
    text = "".join((CORPUS / f"{name}.flow").read_text() for name in found.counts["instance"])
    assert found.counts["logic"]["FOREACH"] == sum(line.split()[-1] == "FOREACH" for line in text.splitlines() if line)
    assert json.loads(json.dumps(found.to_json()))["pairs"] == len(corpus)


# -- commands ----------------------------------------------------------------------------------


def _flowdsl(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowdsl", "data", *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )


def test_commands(corpus: list[Pair], tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    write_pairs(good, corpus[:5])
    write_pairs(bad, [replace(corpus[0], id="other")])
    done = _flowdsl("validate", good)
    assert (done.returncode, done.stdout) == (0, "") and "5 pairs checked, 0 problems" in done.stderr
    done = _flowdsl("validate", good, bad)
    assert done.returncode == 1 and done.stdout == f"other: the same requirement as {corpus[0].id}\n"
    done = _flowdsl("stats", "--json", good)
    assert json.loads(done.stdout)["pairs"] == 5
    done = _flowdsl("stats", good)
    assert done.returncode == 0 and "pairs: 5 (0 edits)" in done.stdout
    uniform = [replace(PAIR, id=str(i), requirement=f"Every day, log hello {i}") for i in range(4)]
    write_pairs(bad, uniform)
    assert _flowdsl("stats", "--strict", bad).returncode == 1
    assert _flowdsl("stats", bad).returncode == 0
    done = _flowdsl("validate", tmp_path / "none.jsonl")
    assert done.returncode == 1 and "cannot read the pairs" in done.stderr


def test_build_data(tmp_path: Path) -> None:
    authored, data = tmp_path / "authored", tmp_path / "data"
    authored.mkdir()
    instance = json.loads((ROOT / "examples" / "smart_home.json").read_text()) | {"name": "house"}
    (authored / "test_house.json").write_text(json.dumps(instance))
    (authored / "dev_1.flow").write_text("# REQUIREMENT: " + PAIR.requirement + "\n" + GOOD)
    text = (CORPUS / "smart_home.flow").read_text()
    (authored / "test_house_1.flow").write_text(text)

    def build(*more: str) -> subprocess.CompletedProcess[str]:
        script = [sys.executable, str(ROOT / "scripts" / "build_data.py"), str(authored), "--instances", str(authored)]
        return subprocess.run([*script, *more], cwd=tmp_path, capture_output=True, text=True)

    done = build("--freeze")
    assert done.returncode == 0, done.stderr + done.stdout
    assert {pair.instance for pair in read_pairs(data / "test.jsonl")} == {"house"}
    assert (data / "instances" / "house.json").exists()
    before = (data / "test.jsonl").read_bytes()
    assert build().returncode == 0
    (authored / "test_house_1.flow").write_text(text.partition("---\n")[2])
    done = build()
    assert done.returncode == 1 and "frozen" in done.stderr
    assert (data / "test.jsonl").read_bytes() == before
