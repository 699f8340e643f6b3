"""The command line: what goes to stdout, what to stderr, the exit codes, and what files hold afterwards."""

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flowdsl import cli
from flowdsl.compile import compile_dsl
from flowdsl.errors import FlowError
from flowdsl.instance import Instance

ROOT = Path(__file__).resolve().parent.parent
BANK = ROOT / "examples" / "bank.json"

DSL = """\
ON "When a user becomes inactive" record_update sys_user
  condition: active CHANGESTO false
1 "find the incidents they own" look_up_records incident
  conditions: assigned_to = {{trigger.current}}
2 "them" FOREACH
  items: {{1.Records}}
3 "assign them to their manager" update_record incident
  record: {{2.item}}
  values: assigned_to = {{trigger.current.manager}}
END
"""
REQUIREMENT = "When a user becomes inactive, find the incidents they own and assign them to their manager"


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], input=stdin)


def process(*arguments: object, **options: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "flowdsl", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(command, capture_output=True, env=environment, check=False, timeout=400, **options)


def refused(result: Result, code: int, *words: str) -> None:
    """One error line with these words, nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("flowdsl: error: ")
    assert all(word in last for word in words), last
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def expected() -> dict:
    return compile_dsl(DSL, Instance.load("servicenow")).to_json()


@pytest.fixture
def dsl(tmp_path: Path) -> Path:
    path = tmp_path / "flow.dsl"
    path.write_text(DSL)
    return path


@pytest.fixture
def flow(tmp_path: Path, expected: dict) -> Path:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(expected, indent=2))
    return path


# -- converting ----------------------------------------------------------------------------------


def test_compile_decompile_explain(dsl: Path, flow: Path, expected: dict) -> None:
    for source in (dsl, flow):  # each reads both
        compiled, decompiled, explained = (run(name, source) for name in ("compile", "decompile", "explain"))
        assert (compiled.exit_code, decompiled.exit_code, explained.exit_code) == (0, 0, 0)
        assert json.loads(compiled.stdout) == expected
        assert decompiled.stdout == DSL
        assert "assigned to" in explained.stdout.lower() and "2.1" in explained.stdout
        assert compiled.stderr == decompiled.stderr == explained.stderr == ""


def test_standard_input(expected: dict) -> None:
    compiled = run("compile", "-", stdin=DSL)
    assert json.loads(compiled.stdout) == expected
    assert run("decompile", "-", stdin="\ufeff" + compiled.stdout).stdout == DSL
    assert run("check", "-", stdin=DSL.replace("\n", "\r\n")).exit_code == 0


def test_another_instance(tmp_path: Path, dsl: Path) -> None:
    bank = tmp_path / "bank.dsl"
    bank.write_text(Path(ROOT / "tests" / "corpus" / "bank.flow").read_text().split("---")[0])
    assert run("check", bank, "--instance", BANK).exit_code == 0
    assert run("check", bank).exit_code == 1
    assert run("check", dsl, "-i", BANK).exit_code == 1


def test_invalid_flows_are_not_converted(tmp_path: Path, expected: dict) -> None:
    bad = tmp_path / "bad.dsl"
    bad.write_text(DSL.replace("look_up_records", "look_up"))
    target = tmp_path / "out.json"
    for command in ("compile", "decompile", "explain"):
        result = run(command, bad, "-o", target)
        refused(result, 1, "bad.dsl", "error")
        assert f"{bad}:3:1 unknown_step step 1: " in result.stderr
        assert not target.exists()
    expected = {**expected, "extra": 1}
    bad.write_text(json.dumps(expected))
    assert run("compile", bad).exit_code in {0, 1}


def test_the_readme_is_right(tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w*)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert DSL in [text for _, text in blocks]
    assert run("explain", "-", stdin=DSL).stdout in [text for _, text in blocks]
    office = tmp_path / "office.json"
    office.write_text(next(text for form, text in blocks if form == "json"))
    assert run("instance", "validate", office).exit_code == 0
    commands = {line.split()[1] for _, text in blocks for line in text.splitlines() if line.startswith("flowdsl ")}
    assert commands >= {"generate", "edit", "compile", "decompile", "check", "score", "explain", "instance"}


# -- check ---------------------------------------------------------------------------------------


def test_check_places_in_dsl(tmp_path: Path) -> None:
    path = tmp_path / "bad.dsl"
    path.write_text(DSL.replace("CHANGESTO", "BECOMES").replace("{{1.Records}}", "{{7.Records}}"))
    result = run("check", path)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"{path}:2:3", f"{path}:6:3"]
    assert " unknown_pill step 2: " in lines[1]
    assert "2 errors" in result.stderr
    again = run("check", "-", stdin=path.read_bytes())
    assert again.stdout == result.stdout.replace(str(path), "<stdin>")


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_check_places_in_json(tmp_path: Path, expected: dict, indent: int | None) -> None:
    data = json.loads(json.dumps(expected))
    data["trigger"]["type"] = "no_such"
    data["trigger"]["annotation"] = 'a "quoted" { [ components: text'
    data["components"][2]["definition"] = "fly"
    data["components"][2]["order"] = 3
    text = json.dumps(data, indent=indent)
    path = tmp_path / "bad.json"
    path.write_text(text)
    result = run("check", path)
    assert result.exit_code == 1
    told = {line.split(" ")[1]: line.split(" ")[0].split(":")[-2:] for line in result.stdout.splitlines()}
    for kind, meant in (("unknown_trigger", data["trigger"]), ("unknown_step", data["components"][2])):
        line, column = map(int, told[kind])
        rest = "\n".join(text.split("\n")[line - 1 :])[column - 1 :]
        assert json.JSONDecoder().raw_decode(rest)[0] == meant
    assert " unknown_step step 3: " in result.stdout


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"trigger": null,\n "components": [}', "2:17 syntax flow: not JSON"),
        ("{" * 100_000, "1:2 syntax flow: not JSON"),
        ('{"a":' * 100_000, "1:1 syntax flow: not JSON: nested too deep"),
        ('{"trigger": ' + "9" * 5000 + "}", "1:1 syntax flow: not JSON"),
        ('{"components": [7, {"order": "x"}, null]}', "1:20 order step 2"),
        ('{"components": {"a": 1}}', "1:1 syntax flow: components is a list"),
        ('{"trigger": [1, 2]}', "1:13 trigger_count trigger"),
        ("[1, 2]", "1:1 syntax flow"),
        ("\x00\x01", "1:1 syntax flow"),
        ('{"components": [{"definition": "\\ud800", "order": 1}]}', "1:17 unknown_step step 1"),
    ],
)
def test_check_takes_anything(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "any"
    path.write_text(text)
    result = run("check", path)
    assert result.exit_code == 1
    assert f"{path}:{line}" in result.stdout
    assert result.stderr == "1 file checked, " + result.stderr.partition(", ")[2]


def test_check_several(dsl: Path, flow: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("fly")
    assert run("check", dsl, flow).exit_code == 0
    result = run("check", tmp_path / "missing", dsl, bad, flow)
    assert result.exit_code == 1
    assert result.stdout == f"{bad}:1:1 unknown_step step 1: no step 'fly'\n" or result.stdout.count("\n") == 1
    assert "missing" in result.stderr and "4 files checked, 2 errors" in result.stderr
    refused(run("check", "-", "-", stdin=DSL), 2, "once")


# -- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["compile", "decompile", "explain"])
def test_unreadable_files(command: str, tmp_path: Path) -> None:
    empty, latin = tmp_path / "empty", tmp_path / "latin"
    empty.write_text(" \n")
    latin.write_bytes(b"ON \xe9")
    refused(run(command, empty), 1, "is empty")
    refused(run(command, latin), 1, "not UTF-8", "byte 4")
    refused(run(command, tmp_path), 1, "directory")
    refused(run(command, tmp_path / "none"), 1, "none", "No such file")
    refused(run(command, "a\0b"), 1, "null byte")
    refused(run(command, "-", stdin=b""), 1, "<stdin> is empty")


def test_closed_standard_input() -> None:
    result = process("check", "-", preexec_fn=lambda: os.close(0))
    assert result.returncode == 1 and b"Traceback" not in result.stderr


# -- score ---------------------------------------------------------------------------------------


def test_score(dsl: Path, flow: Path, tmp_path: Path, expected: dict) -> None:
    assert run("score", dsl, flow).stdout == "1.0000\n"
    other = tmp_path / "other.json"
    data = json.loads(json.dumps(expected))
    data["components"][0]["inputs"] = []
    other.write_text(json.dumps(data))
    assert 0 < float(run("score", other, flow).stdout) < 1
    assert run("score", other, "-", "--outline", stdin=DSL).stdout == "1.0000\n"
    other.write_text('{"components": 7}')
    assert run("score", other, flow).stdout == "0.0000\n"
    other.write_text("{")
    refused(run("score", other, flow), 1, "other.json is not JSON")
    other.write_text("fly")
    refused(run("score", other, flow), 1, "other.json has 1 error")
    refused(run("score", "-", "-", stdin=DSL), 2, "not both")


# -- instances -----------------------------------------------------------------------------------


def test_instance(tmp_path: Path) -> None:
    fine = run("instance", "validate", BANK)
    assert (fine.exit_code, fine.stdout) == (0, "") and "valid" in fine.stderr
    told = run("instance", "info", "servicenow", "--names").stdout
    assert told.startswith("servicenow: ServiceNow\n") and "  look_up_records  Look Up Records\n" in told
    bad = tmp_path / "bad.json"
    data = json.loads(BANK.read_text())
    data["steps"][0]["name"] = ""
    data["tables"][0]["extends"] = "nothing"
    bad.write_text(json.dumps(data))
    result = run("instance", "validate", bad)
    assert result.exit_code == 1
    assert f"{bad}: $.steps[0].name: " in result.stdout and f"{bad}: $.tables[0].extends: " in result.stdout
    assert len(result.stdout.splitlines()) >= 2
    bad.write_text("{")
    refused(run("instance", "validate", bad), 1, "not JSON")
    refused(run("instance", "info", "nowhere"), 1, "nowhere", "servicenow")
    refused(run("check", bad, "--instance", tmp_path / "no"), 1, "no instance")


def test_instance_import(tmp_path):
    made = tmp_path / "made.json"
    result = run("instance", "import", "examples/pet_shop.yaml", "-o", made, "--name", "shop")
    assert result.exit_code == 0 and result.stdout == "" and "11 steps" in result.stderr
    assert Instance.load(made).name == "shop" and run("instance", "validate", made).exit_code == 0
    bad = tmp_path / "bad.csv"
    bad.write_text("kind,name\nstep,a\nstep,a\nstop,b\n")
    result = run("instance", "import", bad)
    assert result.exit_code == 1 and f"{bad}: line 3: " in result.stderr and f"{bad}: line 4: " in result.stderr
    refused(run("instance", "import", "nowhere.yaml"), 1, "cannot read nowhere.yaml")


# -- output --------------------------------------------------------------------------------------


def test_output_is_whole_or_as_it_was(
    dsl: Path, tmp_path: Path, expected: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.json"
    assert run("compile", dsl, "-o", target).stdout == ""
    assert json.loads(target.read_text()) == expected
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    target.chmod(0o640)
    target.write_text("before")
    before = set(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused(run("compile", dsl, "-o", target), 3, "out.json", "No space left")
    assert target.read_text() == "before" and set(tmp_path.iterdir()) == before
    assert run("compile", dsl, "-o", target).exit_code == 0
    assert json.loads(target.read_text()) == expected and stat.S_IMODE(target.stat().st_mode) == 0o640


def test_output_through_a_link_and_to_a_device(dsl: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real.json")
    assert run("compile", dsl, "-o", link).exit_code == 0
    assert link.is_symlink() and (tmp_path / "real.json").is_file()
    assert run("compile", dsl, "-o", os.devnull).exit_code == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert run("decompile", dsl, "-o", "-").stdout == DSL
    assert run("decompile", dsl, "-o", dsl).exit_code == 0 and dsl.read_text() == DSL


def test_output_that_cannot_be(dsl: Path, tmp_path: Path) -> None:
    refused(run("compile", dsl, "-o", tmp_path), 2, "folder")
    refused(run("compile", dsl, "-o", tmp_path / "no" / "out"), 2, "there is no folder")


def test_stdout_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    path = tmp_path / "flow.dsl"
    path.write_text('"grüße 你好" log\n  log_message: "grüße 你好"\n', encoding="utf-8")
    for form in ("decompile", "compile"):
        out = process(form, path, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
        assert out.returncode == 0, out.stderr
        assert "grüße 你好" in out.stdout.decode("utf-8")


def test_a_reader_that_leaves(dsl: Path) -> None:
    command = f"{sys.executable} -m flowdsl compile {dsl} | true"
    done = subprocess.run(command, shell=True, capture_output=True, cwd=ROOT, check=False)
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr


# -- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing command"),
        (["fly"], "fly"),
        (["train"], "train"),
        (["check"], "flowdsl check --help"),
        (["check", "x", "--no-such"], "--no-such"),
        (["compile", "x", "y"], "y"),
        (["generate"], "REQUIREMENT"),
        (["generate", "x", "--format", "yaml"], "yaml"),
        (["generate", "x", "--max-tokens", "0"], "--max-tokens"),
        (["generate", "x", "--n", "many"], "--n"),
        (["generate", "x", "--temperature", "-1"], "--temperature"),
        (["generate", "x", "--temperature", "inf"], "--temperature"),
        (["generate", "x", "--deadline", "0"], "--deadline"),
        (["edit", "-", "-"], "both"),
        (["instance"], "Missing command"),
    ],
)
def test_usage(arguments: list[str], words: str) -> None:
    refused(run(*arguments), 2, words)


def test_help_has_an_example_everywhere() -> None:
    names = ["generate", "edit", "compile", "decompile", "check", "score", "explain"]
    commands = [[], *([name] for name in names), ["instance"]]
    commands += [["instance", name] for name in ("validate", "info", "import")]
    for command in commands:
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "Example" in result.stdout and "\n    flowdsl " in result.stdout, command


def test_check_does_not_wait_for_torch(dsl: Path) -> None:
    code = (
        "import sys\nfrom flowdsl.cli import app\n"
        f"try: app(['check', {str(dsl)!r}])\nexcept SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'llguidance', 'outlines'} & set(sys.modules)\n"
        "print(code, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "0 []\n", done.stderr


# -- errors --------------------------------------------------------------------------------------


def _raising(error: BaseException) -> object:
    def work(*_: object, **__: object) -> None:
        raise error

    return work


def test_errors_are_one_line_with_their_code(dsl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from decoding.errors import BudgetError, ModelError

    for error, code, words in (
        (FlowError("wrong"), 1, "wrong"),
        (ModelError("no model"), 3, "no model"),
        (BudgetError("too few tokens", 9), 1, "too few"),
        (ImportError("No module named 'torch'"), 3, "torch"),
        (RecursionError(), 1, "deep"),
        (ValueError("a\nb"), 70, "a bug in flowdsl: ValueError: a b"),
    ):
        monkeypatch.setattr(cli, "_convert", _raising(error))
        refused(run("compile", dsl), code, words)
    monkeypatch.setattr(cli, "_convert", _raising(KeyboardInterrupt()))
    interrupted = run("compile", dsl)
    assert interrupted.exit_code == 130 and interrupted.stderr == "flowdsl: interrupted\n"


def test_interrupted(tmp_path: Path) -> None:
    pipe = tmp_path / "flow.dsl"
    os.mkfifo(pipe)
    running = subprocess.Popen(
        [sys.executable, "-m", "flowdsl", "check", str(pipe)],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )
    with pipe.open("w"):  # opens when the other end does: now it waits for its input
        running.send_signal(signal.SIGINT)
        assert running.wait(300) == 130
    assert running.stderr is not None and running.stderr.read() == b"flowdsl: interrupted\n"


# -- generation ----------------------------------------------------------------------------------


def test_the_public_names_stay_what_they_are() -> None:
    """Modules have the names of two of them: importing a module must not put it in the function's place."""
    code = (
        "import flowdsl.decompile\n"
        "from flowdsl import Flow, Instance, check_flow, compile_dsl, decompile, edit_flow, explain_flow\n"
        "from flowdsl import flow_similarity, generate_flow, load_model\n"
        "assert all(map(callable, (check_flow, compile_dsl, decompile, explain_flow, flow_similarity)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_generate_then_check(tmp_path: Path) -> None:
    target = tmp_path / "flow.json"
    made = process("generate", REQUIREMENT, "-o", target, "--stats", "--max-tokens", 150)
    assert made.returncode == 0, made.stderr.decode()
    assert made.stdout == b"" and b"output_tokens" in made.stderr
    checked = run("check", target)
    assert checked.exit_code == 0, checked.stdout
    assert json.loads(target.read_text())["components"]


def test_edit_from_standard_input(flow: Path) -> None:
    made = process("edit", flow, "-", "-f", "dsl", "--quiet", "--deadline", 20, input=b"log a message at the end")
    assert made.returncode == 0, made.stderr.decode()
    assert made.stderr == b""
    assert run("check", "-", stdin=made.stdout).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["generate", ""], 1, "empty"),
        (["generate", "-"], 1, "<stdin> is empty"),
        (["generate", REQUIREMENT, "--model", "./no-such-folder"], 3, "no-such-folder"),
        (["generate", REQUIREMENT, "--instance", "nowhere"], 1, "nowhere"),
        (["generate", REQUIREMENT, "--deny", "no_such_step"], 2, "no_such_step"),
        (["edit", "missing.json", "add a log"], 1, "missing.json"),
    ],
)
def test_generation_refuses(arguments: list[str], code: int, words: str) -> None:
    refused(run(*arguments), code, words)


def test_requirement_that_is_no_text() -> None:
    made = process("generate", b"\xff".decode("utf-8", "surrogateescape"))
    assert made.returncode == 1 and b"not UTF-8" in made.stderr
