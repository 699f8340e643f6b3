"""The nearest of many vectors: exactly, or through a graph (HNSW) where there are too many to look at each.

<cache>/index/<name>-<kind>-<digest>.graph     the graph of hnswlib
<cache>/index/<name>-<kind>-<digest>.json      how many vectors it holds, and its checksum; written after it
"""

import contextlib
import hashlib
import json
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from flowdsl.encoder import WIDTH, RetrievalWarning, Vectors
from flowdsl.vectors import Stored, progress_bar, remove_earlier, remove_partial, replaced

#: Up to here every vector is looked at: 5,000 take 1 ms.
EXACT = 5_000
#: Links of a node, candidates while building, candidates while searching: recall@10 >= 0.98 of 10^5.
_LINKS, _BUILD, _SEARCH = 16, 200, 240
#: Nodes added between two looks at the clock, and seconds of work that an interruption may cost.
_CHUNK, _SAVE_EVERY = 2_000, 30.0
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Vectors that can be asked for the nearest ones.

    Attributes:
        vectors: unit vectors in single precision if all are looked at, else as stored.
        graph: hnswlib's index over them, or None.
    """

    vectors: Vectors | Stored
    graph: Any = None

    @classmethod
    def of(cls, vectors: Stored, stem: Path | None = None, exact: int | None = None) -> "Neighbours":
        """The vectors, with a graph if there are more than `exact` (default: `EXACT`).

        Args:
            stem: path of the graph's files without their endings, different for different vectors; None: there
                is no graph.
        """
        if len(vectors) <= (EXACT if exact is None else exact) or stem is None:
            return cls(vectors.astype(np.float32))
        try:
            return cls(vectors, _graph(vectors, stem))
        except ImportError:
            why = "hnswlib is not installed (pip install hnswlib)"
        except OSError as error:
            why = f"its graph cannot be kept in {stem.parent} ({error.strerror or error})"
        warnings.warn(f"searching {len(vectors):,} entries one by one: {why}", RetrievalWarning, stacklevel=2)
        return cls(vectors.astype(np.float32))

    def nearest(self, queries: Vectors, count: int) -> tuple[NDArray[np.int64], Vectors]:
        """Rows and cosines of the nearest, best first: each (queries, at most `count`)."""
        count = min(count, len(self.vectors))
        if self.graph is None:
            cosines = queries @ self.vectors.T
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
            return order, np.take_along_axis(cosines, order, 1)
        self.graph.set_ef(max(_SEARCH, count + 32))
        rows, distances = self.graph.knn_query(queries, k=count, num_threads=1)
        return rows.astype(np.int64), (1 - distances).astype(np.float32)

    def cosines(self, queries: Vectors, rows: NDArray[np.int64] | None = None) -> Vectors:
        """(queries, rows): of all vectors, or of some."""
        chosen = self.vectors if rows is None else self.vectors[rows]
        return np.asarray(queries @ chosen.astype(np.float32).T, np.float32)


def _graph(vectors: Stored, stem: Path) -> Any:
    """The graph from its file, or made: with one thread, so that it is the same each time."""
    import hnswlib

    digest = stem.name
    index = hnswlib.Index(space="ip", dim=WIDTH)
    if _load(index, stem, digest, len(vectors)) == len(vectors):
        return index
    stem.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(stem.with_suffix(".lock")):
        remove_partial(stem.with_suffix(".graph"))
        index = hnswlib.Index(space="ip", dim=WIDTH)
        done = _load(index, stem, digest, len(vectors))
        if done == 0:
            index = hnswlib.Index(space="ip", dim=WIDTH)
            index.init_index(max_elements=len(vectors), M=_LINKS, ef_construction=_BUILD, random_seed=100)
        _fill(index, vectors, done, stem, digest)
    remove_earlier(stem.with_suffix(".graph"))
    return index


def _fill(index: Any, vectors: Stored, done: int, stem: Path, digest: str) -> None:
    saved = time.monotonic()
    with progress_bar("linking the index", len(vectors) - done) as advance:
        for begin in range(done, len(vectors), _CHUNK):
            chunk = vectors[begin : begin + _CHUNK].astype(np.float32)
            index.add_items(chunk, np.arange(begin, begin + len(chunk)), num_threads=1)
            advance(len(chunk))
            if time.monotonic() - saved > _SAVE_EVERY:
                _save(index, stem, digest)
                saved = time.monotonic()
    _save(index, stem, digest)


def _save(index: Any, stem: Path, digest: str) -> None:
    partial = stem.with_suffix(f".graph.{os.getpid()}.partial")
    try:
        index.save_index(str(partial))
        with partial.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        head = {"format": FORMAT, "vectors": digest, "count": index.get_current_count(), "sha256": checksum}
        os.replace(partial, stem.with_suffix(".graph"))
    except RuntimeError as error:  # what hnswlib raises for a full disk
        raise OSError(str(error)) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    with replaced(stem.with_suffix(".json")) as file:
        file.write(json.dumps(head).encode())


def _load(index: Any, stem: Path, digest: str, count: int) -> int:
    """How many vectors the file had, loaded into `index`; 0 if there is none that can be used."""
    graph = stem.with_suffix(".graph")
    try:
        head = json.loads(stem.with_suffix(".json").read_text("utf-8"))
        with graph.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if (head["format"], head["vectors"], head["sha256"]) != (FORMAT, digest, checksum):
            raise ValueError("it is damaged or of another version")
        index.load_index(str(graph), max_elements=count)
        return int(head["count"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        warnings.warn(f"the index {graph} is made again: {error}", RetrievalWarning, stacklevel=4)
        return 0
