"""Runs on disk: one JSON line that says what is run, then one for each finished case.

A case is appended when it is finished, so a run that is stopped at any moment goes on where it was. Of a
run that was killed while writing, the half line is dropped.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from flowdsl.errors import EnvironmentNotReady, FlowError, UsageError
from flowdsl.files import write_whole


class InvalidRun(FlowError):
    """A run file is missing or cannot be read."""


@dataclass(frozen=True)
class Record:
    """One finished case.

    Attributes:
        id, split, instance, requirement, tags: of the pair.
        features: see `features`.
        wanted: the flow JSON of the reference.
        candidate: the flow JSON of the answer, None if there is no flow.
        text, error, issues: of the answer.
        figures: see `measures`.
        took: seconds, passes, tokens.
    """

    id: str
    requirement: str
    wanted: Mapping[str, Any]
    candidate: Mapping[str, Any] | None
    figures: Mapping[str, float]
    took: Mapping[str, float]
    split: str = ""
    instance: str = ""
    tags: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    issues: tuple[str, ...] = ()
    text: str = ""
    error: str | None = None

    @property
    def steps(self) -> int:
        """Of the wanted flow."""
        return len(self.wanted.get("components", ()))

    @classmethod
    def from_json(cls, data: Any) -> "Record":
        """Raises TypeError or KeyError if it is none; unknown keys are left alone."""
        known = {one.name for one in fields(cls)}
        lists = ("tags", "features", "issues")
        given: dict[str, Any] = {
            key: tuple(value) if key in lists else value for key, value in dict(data).items() if key in known
        }
        return cls(**given)


@dataclass(frozen=True)
class Run:
    """A run as far as it is done.

    Attributes:
        name: what reports call it.
        settings: what it depends on.
        records: the finished cases, in the order they were finished.
    """

    name: str
    settings: Mapping[str, Any]
    records: tuple[Record, ...] = ()
    path: Path | None = field(default=None, compare=False)


def read_run(path: str | Path) -> Run:
    """A run, also one that is not finished.

    Raises:
        InvalidRun: it is missing, or is no run file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidRun(f"cannot read the run {path}: {reason}") from None
    lines = text.split("\n")[:-1]  # what stands after the last line break was not written to its end
    try:
        head = json.loads(lines[0])
        records = {record.id: record for record in (Record.from_json(json.loads(line)) for line in lines[1:] if line)}
        return Run(str(head["name"]), dict(head["settings"]), tuple(records.values()), path)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InvalidRun(f"{path} is no run of flowdsl evaluate: {error}") from None


@contextlib.contextmanager
def open_run(path: str | Path, name: str, settings: Mapping[str, Any], restart: bool = False) -> "Iterator[RunFile]":
    """Goes on with the run in `path`, or begins one there. Only one process has a run open.

    Raises:
        UsageError: there is a run under other settings; or another process works on it.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    settings = json.loads(json.dumps(settings))  # as they will be read
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentNotReady(f"cannot write {path}: {error.strerror or error}") from None
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UsageError(f"another process works on {path}: wait for it, or write to another file") from None
    try:
        done: tuple[Record, ...] = ()
        if path.exists() and not restart:
            before = read_run(path)
            if before.settings != settings:
                raise UsageError(
                    f"{path} holds a run with {_difference(before.settings, settings)}: use --restart, or -o"
                )
            done = before.records
        lines = [{"name": name, "settings": settings}, *(asdict(record) for record in done)]
        write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        yield RunFile(path, done)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)  # while it is held: nobody can have taken it who would lose it
        lock.release()


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return ", ".join(f"{key} {before.get(key)!r} instead of {now.get(key)!r}" for key in keys)[:500]


@dataclass(frozen=True)
class RunFile:
    """An open run. `done` are the cases that were finished when it was opened."""

    path: Path
    done: tuple[Record, ...]

    def add(self, record: Record) -> None:
        """Appends a finished case; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
