"""A prompted model, against servers on this machine that speak OpenAI's chat completions."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowdsl.authored import read_authored
from flowdsl.decompile import decompile
from flowdsl.evaluate import judged
from flowdsl.pairs import Pair, instance_for, write_pairs
from flowdsl.prompted import KEY, Endpoint, Prompted, outline_prompt
from flowdsl.similarity import flow_similarity

ROOT = Path(__file__).resolve().parent.parent
Reply = Callable[[dict[str, Any]], tuple[int, Any]]


@cache
def corpus() -> tuple[Pair, ...]:
    names = ("servicenow", "bank", "smart_home")
    files = [(name, ROOT / "tests" / "corpus" / f"{name}.flow") for name in names]
    return tuple(pair for name, path in files for pair in read_authored(path, "dev", name))


class Server:
    """Answers as `reply` says, and remembers what it was asked."""

    def __init__(self, reply: Reply):
        asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append((self.path, {name.title(): value for name, value in self.headers.items()}, body))
                status, data = reply(body)
                content = data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.send_header("retry-after", "0.01")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.asked = asked
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], Server]]:
    servers: list[Server] = []

    def start(reply: Reply) -> Server:
        servers.append(Server(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def said(text: str) -> tuple[int, Any]:
    return 200, {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}


def knowing(pair: Pair, dressed: str = "{}") -> Reply:
    """A model that knows the flow: answers each prompt with the lines of it that are asked for."""
    outline: list[str] = []
    inputs: dict[str, list[str]] = {}
    step = ""
    for line in pair.flow.splitlines():
        if line.startswith("  "):
            inputs[step].append(line.strip())
        else:
            number = re.match(r"\d+ ", line)
            step = f"step {number[0].strip()}" if number else "the trigger"
            inputs.setdefault(step, [])
            outline.append(line[len(number[0]) :] if number else line)

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        prompt = body["messages"][-1]["content"]
        wanted = re.search(r"^Fill in (the trigger|step \d+): ", prompt, re.MULTILINE)
        return said(dressed.format("\n".join(inputs.get(wanted[1], []) if wanted else outline)))

    return reply


@pytest.mark.parametrize("pair", [pytest.param(pair, id=pair.id) for pair in corpus()[::6]])
def test_a_model_that_knows_is_right(pair: Pair, serve: Callable[[Reply], Server]) -> None:
    server = serve(knowing(pair))
    record = judged(pair, Prompted(Endpoint(server.url, "some-model")), instance_for(pair.instance))
    assert record.error is None and record.issues == () and record.figures["exact"] == 1.0
    assert record.figures["span_f1"] == 1.0
    assert record.took["requests"] == len(server.asked) and record.took["output_tokens"] == 2 * len(server.asked)
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert (body["model"], body["temperature"]) == ("some-model", 0)
    assert pair.requirement in body["messages"][1]["content"]


def test_fences_and_talk_are_left_out(serve: Callable[[Reply], Server]) -> None:
    pair = corpus()[3]
    server = serve(knowing(pair, "Here it is:\n```flow\n{}\n```\nI hope it **helps**."))
    assert judged(pair, Prompted(Endpoint(server.url, "m")), instance_for("servicenow")).figures["exact"] == 1.0


def test_what_is_wrong_is_counted_and_the_rest_is_kept(serve: Callable[[Reply], Server]) -> None:
    pair = next(
        pair for pair in corpus() if " FOREACH" in pair.flow and " IF" not in pair.flow and pair.flow.startswith("ON")
    )
    right = knowing(pair)

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        status, data = right(body)
        message = data["choices"][0]["message"]
        if "Fill in" not in body["messages"][-1]["content"]:
            message["content"] += '\n"x" invent_something\nELSE\nthis is no line'
        return status, data

    record = judged(pair, Prompted(Endpoint(serve(reply).url, "m")), instance_for("servicenow"))
    assert {"unknown_step", "else_without_if", "syntax"} <= set(record.issues)
    assert record.candidate is not None and "this is no line" in record.text
    assert flow_similarity(record.candidate, pair.compiled()) == record.figures["complete"] > 0.3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda body: (401, {"error": "no key"}), f"refuses, 401: .*no key.* \\(is {KEY} set\\?\\)"),
        (lambda body: (500, b"oh no"), "refuses, 500: oh no"),
        (lambda body: (200, b"<html>"), "cannot be asked"),
        (lambda body: (200, {"choices": []}), "answers something else than a chat completion"),
        (lambda body: (429, b"later"), "refuses, 429: later"),
    ],
)
def test_a_server_that_fails_is_an_error_of_the_case(
    reply: Reply, message: str, serve: Callable[[Reply], Server]
) -> None:
    record = judged(corpus()[0], Prompted(Endpoint(serve(reply).url, "m")), instance_for("servicenow"))
    assert record.candidate is None and record.error is not None and re.search(message, record.error)


def test_a_busy_server_is_asked_again(serve: Callable[[Reply], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(503, b""), (429, b""), said("fine")])
    server = serve(lambda body: next(answers))
    monkeypatch.setenv(KEY, "secret")
    assert Endpoint(server.url + "/", "m").complete([{"role": "user", "content": "?"}])[0] == "fine"
    assert len(server.asked) == 3 and server.asked[0][1]["Authorization"] == "Bearer secret"


def test_nobody_there() -> None:
    record = judged(corpus()[0], Prompted(Endpoint("http://127.0.0.1:9/v1", "m")), instance_for("servicenow"))
    assert record.error is not None and "http://127.0.0.1:9/v1 cannot be asked" in record.error


def test_an_edit_shows_the_flow_to_change(serve: Callable[[Reply], Server]) -> None:
    first, second = corpus()[0], corpus()[1]
    pair = Pair("e", second.requirement, second.flow, prior=first.flow)
    server = serve(knowing(pair))
    record = judged(pair, Prompted(Endpoint(server.url, "m")), instance_for("servicenow"))
    assert record.figures["exact"] == 1.0
    shown = server.asked[0][2]["messages"][1]["content"]
    assert "Change this workflow:" in shown and first.compiled().components[0].annotation in shown  # type: ignore[operator]
    assert "Change this workflow" not in outline_prompt("Log it", instance_for("servicenow"))[1]["content"]


@pytest.mark.parametrize("name", ["servicenow", "bank", "smart_home"])
def test_grammars_in_the_request_leave_nothing_wrong(name: str, serve: Callable[[Reply], Server]) -> None:
    """The server draws any text that the grammar which it is sent allows."""
    import torch

    from decoding import Constraint, decode, load_model
    from flowdsl.systems import uniform_model

    torch.set_num_threads(1)
    model = uniform_model(load_model())
    prompt = model.tokenizer("x")["input_ids"]

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        grammar = body["structured_outputs"]["grammar"]
        seed = len(server.asked)
        return said(decode(model, prompt, Constraint(grammar), max_tokens=400, temperature=1.0, seed=seed).text)

    server = serve(reply)
    pair = next(pair for pair in corpus() if pair.instance == name and len(pair.requirement) < 120)
    instance = instance_for(name)
    record = judged(pair, Prompted(Endpoint(server.url, "m", "structured_outputs.grammar")), instance)
    assert record.error is None and record.issues == () and record.candidate is not None
    assert record.candidate["components"]
    assert any(body.get("continue_final_message") for _, _, body in server.asked)
    assert decompile(pair.compiled(), instance)


def test_command(serve: Callable[[Reply], Server], tmp_path: Path) -> None:
    pair = corpus()[5]
    server = serve(knowing(pair))
    write_pairs(tmp_path / "dev.jsonl", [pair])

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flowdsl", "evaluate", "run", tmp_path / "dev.jsonl", "--system", "prompted"]
        return subprocess.run([*map(str, [*command, *arguments])], cwd=ROOT, capture_output=True, text=True)

    done = run("--endpoint", server.url, "--model", "m", "-o", tmp_path / "run.jsonl")
    assert done.returncode == 0 and "complete 1.000" in done.stdout, done.stderr
    done = run("--model", "m")
    assert done.returncode == 2 and "needs --endpoint URL and --model NAME" in done.stderr
