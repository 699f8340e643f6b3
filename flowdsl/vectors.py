"""The vectors of an installation's texts, kept in the user's cache.

One file holds them under the fingerprints of their texts, so what is there is never wrong for a text:
a changed catalogue costs the changed texts, an interrupted build goes on where it was, a file that is
damaged or of another version counts as none.

    <cache>/index/<name>.vectors    one line of JSON, then fingerprints, then vectors; appears by rename
    <cache>/index/<name>.lock       held while one process builds; the others wait and then read
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from flowdsl.encoder import WIDTH, Encoder, RetrievalWarning

#: Half precision: a tenth of what rounding scores for the ranking takes away.
Stored = NDArray[np.float16]

FORMAT = 1
_MARK = 16  # bytes of a fingerprint
_HEAD = 512  # bytes of the header, padded
_ROW = _MARK + WIDTH * 2
#: Seconds of work that an interruption may cost.
_SAVE_EVERY = 20.0
#: Texts embedded between two looks at the clock.
_CHUNK = 1024
#: Texts from which on a build is worth telling about.
_TOLD = 512
#: Rows of texts that the catalogue no longer has are kept up to this many: narrowed instances share the file.
_SPARE = 20_000


def index_folder() -> Path:
    """Where indexes are kept."""
    from decoding.embedded import cache_root

    return cache_root() / "index"


def file_stem(name: str) -> str:
    """A file name for an instance, whatever it is called.

    >>> file_stem("Acme / Prod")
    'acme-prod-d12c7e65'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "instance"
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def fingerprint(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_MARK).digest()


def digest_of(texts: Sequence[str]) -> str:
    """One fingerprint of texts in their order."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, eq=False)
class VectorFile:
    """The vectors of one instance on disk.

    Attributes:
        path: of the file; its folder is made when it is first written.
        model: whose vectors they are.
    """

    path: Path
    model: str

    def read(self) -> "Kept":
        """What the file holds; nothing, with a note, if it is damaged or of another version."""
        try:
            content = np.fromfile(self.path, np.uint8)
        except (FileNotFoundError, NotADirectoryError):
            return Kept.none()
        except OSError as error:
            return self._useless(error.strerror or str(error))
        if len(content) < _HEAD:
            return self._useless("it is cut off")
        try:
            head = json.loads(content[:_HEAD].tobytes())
            expected = (head["format"], head["model"], head["width"])
            count, digest, order = int(head["count"]), head["sha256"], str(head["order"])
        except (ValueError, KeyError, TypeError):
            return self._useless("its header cannot be read")
        if expected != (FORMAT, self.model, WIDTH):
            return self._useless("it is of another version")
        body = content[_HEAD:]
        if len(body) != count * _ROW or hashlib.sha256(body.data).hexdigest() != digest:
            return self._useless("it is damaged or cut off")
        marks = body[: count * _MARK].tobytes()
        return Kept(marks, body[count * _MARK :].view(np.float16).reshape(count, WIDTH), order)

    def write(self, marks: bytes, vectors: Stored, order: str) -> None:
        """Put this into the file, whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        body = hashlib.sha256(marks)
        body.update(np.ascontiguousarray(vectors).data)
        head = {
            "format": FORMAT,
            "model": self.model,
            "width": WIDTH,
            "count": len(vectors),
            "sha256": body.hexdigest(),
            "order": order,
        }
        with replaced(self.path) as file:
            file.write(json.dumps(head).encode().ljust(_HEAD - 1) + b"\n")
            file.write(marks)
            file.write(np.ascontiguousarray(vectors).data)

    def _useless(self, why: str) -> "Kept":
        warnings.warn(f"the index {self.path} is made again: {why}", RetrievalWarning, stacklevel=4)
        return Kept.none()


@dataclass(frozen=True, eq=False)
class Kept:
    """What a file held: fingerprints one after the other, and a vector for each.

    Attributes:
        order: the digest of the texts that the first rows stand for, one by one.
    """

    marks: bytes
    vectors: Stored
    order: str

    @classmethod
    def none(cls) -> "Kept":
        return cls(b"", np.zeros((0, WIDTH), np.float16), "")

    def rows(self) -> dict[bytes, int]:
        return {self.marks[i * _MARK : (i + 1) * _MARK]: i for i in range(len(self.vectors))}


def vectors_of(
    name: str, texts: Sequence[str], encoder: Encoder, folder: Path | None = None
) -> tuple[Stored, str | None]:
    """The unit vectors of distinct texts, (texts, `WIDTH`), from the cache as far as it has them.

    With them comes the digest of the texts if the file now holds just these, so that more can be kept
    beside it; None for a part of a catalogue, and where nothing can be kept.

    Args:
        name: of the instance; it names the file.
        folder: of the file; default: the user's cache.
    """
    file = VectorFile((folder or index_folder()) / f"{file_stem(name)}.vectors", encoder.name)
    order = digest_of(texts)
    kept = file.read()
    if (found := _found(kept, texts, order)) is not None:
        return found
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.path.with_suffix(".lock")):
            remove_partial(file.path)
            kept = file.read() if file.path.exists() else Kept.none()  # another process may have made it meanwhile
            if (found := _found(kept, texts, order)) is not None:
                return found
            return _build(file, kept, texts, encoder)
    except OSError as error:
        warnings.warn(
            f"the index cannot be kept in {file.path.parent} ({error.strerror or error}): it is made anew each time; "
            "set FLOWDSL_CACHE to a folder that can be written",
            RetrievalWarning,
            stacklevel=2,
        )
        return encoder.encode(texts).astype(np.float16), None


def _found(kept: Kept, texts: Sequence[str], order: str) -> tuple[Stored, str | None] | None:
    """The vectors of all texts, if they are all there."""
    if kept.order == order:
        return kept.vectors[: len(texts)], order
    if len(kept.vectors) < len(texts):
        return None
    rows = kept.rows()
    places = [rows.get(fingerprint(text), -1) for text in texts]
    return None if -1 in places else (kept.vectors[places], None)


def _build(file: VectorFile, kept: Kept, texts: Sequence[str], encoder: Encoder) -> tuple[Stored, str]:
    """Embed what is missing, save now and then, and at last in the order of the texts."""
    rows = kept.rows()
    marks = [fingerprint(text) for text in texts]
    vectors = np.zeros((len(texts), WIDTH), np.float16)
    known = np.array([rows.get(mark, -1) for mark in marks], np.int64)
    vectors[known >= 0] = kept.vectors[known[known >= 0]]
    # Alike in length: little padding. The order depends on the texts alone.
    missing = sorted(np.flatnonzero(known < 0).tolist(), key=lambda i: (len(texts[i]), i))
    wanted = set(marks)
    spare = [row for mark, row in rows.items() if mark not in wanted][:_SPARE]
    spare_marks = b"".join(kept.marks[row * _MARK : (row + 1) * _MARK] for row in spare)
    saved = time.monotonic()
    with progress_bar(f"indexing {file.path.stem[:-9]}", len(missing)) as advance:
        for begin in range(0, len(missing), _CHUNK):
            chunk = missing[begin : begin + _CHUNK]
            vectors[chunk] = encoder.encode([texts[i] for i in chunk], advance)
            if time.monotonic() - saved > _SAVE_EVERY and begin + _CHUNK < len(missing):
                done = [*np.flatnonzero(known >= 0).tolist(), *missing[: begin + _CHUNK]]
                some = b"".join(marks[i] for i in done)
                file.write(some + spare_marks, np.concatenate([vectors[done], kept.vectors[spare]]), "")
                saved = time.monotonic()
    order = digest_of(texts)
    file.write(b"".join(marks) + spare_marks, np.concatenate([vectors, kept.vectors[spare]]), order)
    return vectors, order


def kept_arrays(path: Path | None, make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Arrays from a file, or made and put there.

    Args:
        path: different for different arrays; None: they are only made. Files of the same name but for what
            follows the last hyphen are of earlier states, and are removed.
    """
    if path is None:
        return make()
    try:
        with np.load(path, allow_pickle=False) as file:  # the archive has a checksum for each array
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"the index {path} is made again: {error}", RetrievalWarning, stacklevel=2)
    arrays = make()
    with contextlib.suppress(OSError):  # it costs time, not the answer
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as opened:
            np.savez(opened, allow_pickle=False, **arrays)
        remove_earlier(path)
    return arrays


def remove_partial(path: Path) -> None:
    """Remove what killed processes left of a file; the caller holds its lock."""
    for partial in path.parent.glob(f"{path.name}.*.partial"):
        with contextlib.suppress(OSError):
            partial.unlink()


def remove_earlier(path: Path) -> None:
    """Remove what was kept like this for earlier states of the instance."""
    for other in path.parent.glob(f"{path.stem.rpartition('-')[0]}-*"):
        if (
            other.suffix != ".lock"
            and other.stem != path.stem
            and other.stem.rpartition("-")[0] == path.stem.rpartition("-")[0]
        ):
            with contextlib.suppress(OSError):
                other.unlink()


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Any]:
    """A file to write to that becomes `path` when all is written."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def progress_bar(title: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr for a long build; one line where that is no terminal."""
    if total < _TOLD:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        console.print(f"{title}: {total:,} texts (once)", highlight=False)
        yield lambda count: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)
