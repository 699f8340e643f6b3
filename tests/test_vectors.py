"""The index on disk: never a wrong vector, whatever happened to the file."""

import hashlib
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from flowdsl.encoder import WIDTH, RetrievalWarning
from flowdsl.vectors import VectorFile, digest_of, file_stem, vectors_of

TEXTS = [f"entry {i}" for i in range(40)]


class Hashed:
    """An encoder whose vectors follow from a hash, so that the right one of any text is known."""

    def __init__(self, name="hashed", fails_after=None):
        self.name, self.seen, self.fails_after = name, [], fails_after

    def encode(self, texts, done=lambda count: None):
        if self.fails_after is not None and len(self.seen) + len(texts) > self.fails_after:
            raise KeyboardInterrupt
        self.seen += texts
        done(len(texts))
        return np.stack([vector(text) for text in texts])


def vector(text):
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def right(texts):
    return np.stack([vector(text) for text in texts]).astype(np.float16)


@pytest.fixture
def kept(tmp_path):
    vectors_of("acme", TEXTS, Hashed(), tmp_path)
    return tmp_path / f"{file_stem('acme')}.vectors"


def test_what_is_kept_is_not_embedded_again(kept):
    encoder = Hashed()
    vectors, digest = vectors_of("acme", TEXTS, encoder, kept.parent)
    assert encoder.seen == [] and digest == digest_of(TEXTS)
    assert np.array_equal(vectors, right(TEXTS))


def test_only_what_changed_is_embedded(kept):
    changed = [*TEXTS[5:], "new", "other"][::-1]
    encoder = Hashed()
    vectors, digest = vectors_of("acme", changed, encoder, kept.parent)
    assert sorted(encoder.seen) == ["new", "other"] and digest == digest_of(changed)
    assert np.array_equal(vectors, right(changed))


def test_a_part_of_a_catalogue_leaves_the_file_alone(kept):
    before = kept.read_bytes()
    vectors, digest = vectors_of("acme", TEXTS[::3], Hashed(fails_after=0), kept.parent)
    assert digest is None and np.array_equal(vectors, right(TEXTS[::3]))
    assert kept.read_bytes() == before


@pytest.mark.parametrize("harm", ["cut", "short", "empty", "flipped", "header", "version", "swapped"])
def test_a_damaged_file_is_made_again(kept, harm):
    content = kept.read_bytes()
    broken = {
        "cut": content[:-100],
        "short": content[:100],
        "empty": b"",
        "flipped": content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        "header": b"\xff" * 512 + content[512:],
        "version": content.replace(b'"format": 1', b'"format": 0', 1),
        "swapped": content[:512] + content[512 + 16 : 512 + 32] + content[512 : 512 + 16] + content[512 + 32 :],
    }[harm]
    kept.write_bytes(broken)
    encoder = Hashed()
    with pytest.warns(RetrievalWarning, match="made again"):
        vectors, _ = vectors_of("acme", TEXTS, encoder, kept.parent)
    assert np.array_equal(vectors, right(TEXTS)) and sorted(encoder.seen) == sorted(TEXTS)
    assert kept.read_bytes() == content


def test_the_vectors_of_another_model_are_not_taken(kept):
    with pytest.warns(RetrievalWarning, match="another version"):
        vectors_of("acme", TEXTS, Hashed("other"), kept.parent)
    assert VectorFile(kept, "other").read().vectors.shape == (40, WIDTH)


def test_another_instance_with_the_same_name_shares_the_file_without_mixing(kept):
    others = [f"thing {i}" for i in range(10)]
    vectors, _ = vectors_of("acme", others, Hashed(), kept.parent)
    assert np.array_equal(vectors, right(others))
    vectors, _ = vectors_of("acme", TEXTS, Hashed(fails_after=0), kept.parent)
    assert np.array_equal(vectors, right(TEXTS))


def test_an_interrupted_build_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("flowdsl.vectors._CHUNK", 10)
    monkeypatch.setattr("flowdsl.vectors._SAVE_EVERY", -1.0)
    first, second = Hashed(fails_after=25), Hashed()
    with pytest.raises(KeyboardInterrupt):
        vectors_of("acme", TEXTS, first, tmp_path)
    vectors, _ = vectors_of("acme", TEXTS, second, tmp_path)
    assert len(first.seen) == 20 and sorted(first.seen + second.seen) == sorted(TEXTS)
    assert np.array_equal(vectors, right(TEXTS))
    assert not list(tmp_path.glob("*.partial"))


def test_a_cache_that_cannot_be_written_costs_time_not_the_answer(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RetrievalWarning, match="FLOWDSL_CACHE"):
        vectors, digest = vectors_of("acme", TEXTS, Hashed(), tmp_path / "file" / "index")
    assert digest is None and np.array_equal(vectors, right(TEXTS))


_BUILD = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from test_vectors import Hashed, right, TEXTS
from flowdsl.vectors import vectors_of
import numpy as np
encoder = Hashed()
vectors, _ = vectors_of("acme", TEXTS, encoder, pathlib.Path(sys.argv[2]))
assert np.array_equal(vectors, right(TEXTS))
print(len(encoder.seen))
"""


_KILLED = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import flowdsl.vectors as vectors
from test_vectors import Hashed, TEXTS

class Stuck(Hashed):
    def encode(self, texts, done=lambda count: None):
        if len(self.seen) == 30:
            (pathlib.Path(sys.argv[2]) / "acme-822b33ad.vectors.abc.partial").write_text("half")
            print("stuck", flush=True)
            sys.stdin.read()
        return super().encode(texts, done)

vectors._CHUNK, vectors._SAVE_EVERY = 10, -1.0
vectors.vectors_of("acme", TEXTS, Stuck(), pathlib.Path(sys.argv[2]))
"""


def test_after_a_kill_the_next_process_goes_on(tmp_path):
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", _KILLED, here, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "stuck\n"
        process.kill()
    encoder = Hashed()
    vectors, _ = vectors_of("acme", TEXTS, encoder, tmp_path)
    assert len(encoder.seen) == 10 and np.array_equal(vectors, right(TEXTS))
    assert not list(tmp_path.glob("*.partial"))


def test_two_processes_build_once(tmp_path):
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", _BUILD, here, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = sorted(int(process.communicate()[0]) for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert outputs == [0, len(TEXTS)]


def test_no_note_where_nothing_was_wrong(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors_of("acme", TEXTS, Hashed(), tmp_path)
        vectors_of("acme", TEXTS, Hashed(), tmp_path)
