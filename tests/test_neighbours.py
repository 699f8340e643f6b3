"""The graph: near enough to exact search, the same each time, and made again when it is not what it should be."""

import json

import numpy as np
import pytest

from flowdsl import Instance
from flowdsl.encoder import WIDTH, RetrievalWarning
from flowdsl.neighbours import Neighbours
from flowdsl.retrieve import Search
from flowdsl.vectors import file_stem, kept_arrays

COUNT = 1500


@pytest.fixture(scope="module")
def vectors():
    """Unit vectors in clusters, as those of texts are."""
    draw = np.random.default_rng(5)
    centres = draw.normal(size=(40, WIDTH))
    found = centres[draw.integers(0, 40, COUNT)] + 0.7 * draw.normal(size=(COUNT, WIDTH))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def queries(vectors):
    draw = np.random.default_rng(6)
    found = vectors[:200].astype(np.float32) + 0.03 * draw.normal(size=(200, WIDTH)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def graph(vectors, folder):
    return Neighbours.of(vectors, folder / "acme-steps-0123456789ab", exact=100)


def test_exact_search_is_sorting_by_cosine(vectors, queries):
    rows, cosines = Neighbours.of(vectors).nearest(queries, 7)
    expected = queries @ vectors.astype(np.float32).T
    assert np.allclose(cosines, -np.sort(-expected, axis=1)[:, :7], atol=1e-5)
    assert np.array_equal(rows, np.argsort(-expected, axis=1, kind="stable")[:, :7])
    assert Neighbours.of(vectors[:3]).nearest(queries, 7)[0].shape == (200, 3)


def test_the_graph_finds_what_exact_search_finds(vectors, queries, tmp_path):
    found, cosines = graph(vectors, tmp_path).nearest(queries, 10)
    wanted, exact = Neighbours.of(vectors).nearest(queries, 10)
    recall = np.mean([len(set(f) & set(w)) / 10 for f, w in zip(found, wanted, strict=True)])
    assert recall >= 0.98
    assert np.allclose(cosines[:, 0], exact[:, 0], atol=1e-3)


def test_the_graph_is_the_same_from_its_file_and_made_again(vectors, queries, tmp_path):
    first = graph(vectors, tmp_path / "a").nearest(queries, 10)
    loaded = graph(vectors, tmp_path / "a").nearest(queries, 10)
    again = graph(vectors, tmp_path / "b").nearest(queries, 10)
    for other in (loaded, again):
        assert np.array_equal(first[0], other[0])


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "note", "version", "half"])
def test_a_damaged_graph_is_made_again(vectors, queries, tmp_path, harm):
    wanted = graph(vectors, tmp_path).nearest(queries, 10)[0]
    (path,), (note,) = tmp_path.glob("*.graph"), tmp_path.glob("*.json")
    content, head = path.read_bytes(), json.loads(note.read_text())
    if harm in {"cut", "flipped", "empty"}:
        changed = bytes([content[5000] ^ 255])
        path.write_bytes(
            {"cut": content[:-9], "flipped": content[:5000] + changed + content[5001:], "empty": b""}[harm]
        )
    elif harm == "half":
        note.write_text(json.dumps(head)[:20])
    else:
        note.write_text(json.dumps({**head, "format": 0} if harm == "version" else {**head, "vectors": "other"}))
    with pytest.warns(RetrievalWarning, match="made again"):
        assert np.array_equal(graph(vectors, tmp_path).nearest(queries, 10)[0], wanted)


def test_an_interrupted_graph_goes_on_where_it_was(vectors, queries, tmp_path, monkeypatch):
    monkeypatch.setattr("flowdsl.neighbours._CHUNK", 300)
    monkeypatch.setattr("flowdsl.neighbours._SAVE_EVERY", -1.0)
    from flowdsl import neighbours

    saved, save = [], neighbours._save

    def save_twice(*arguments):
        save(*arguments)
        saved.append(arguments[0].get_current_count())
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(neighbours, "_save", save_twice)
    with pytest.raises(KeyboardInterrupt):
        graph(vectors, tmp_path)
    found = graph(vectors, tmp_path).nearest(queries, 10)[0]
    assert saved[:3] == [300, 600, 900] and saved[-1] == COUNT
    wanted = Neighbours.of(vectors).nearest(queries, 10)[0]
    assert np.mean([len(set(f) & set(w)) / 10 for f, w in zip(found, wanted, strict=True)]) >= 0.98


def test_what_earlier_states_left_is_removed(vectors, tmp_path):
    (tmp_path / "acme-steps-ffffffffffff.graph").write_bytes(b"old")
    (tmp_path / "acme-tables-ffffffffffff.graph").write_bytes(b"of another kind")
    graph(vectors, tmp_path)
    left = sorted(path.name for path in tmp_path.glob("*.graph"))
    assert left == ["acme-steps-0123456789ab.graph", "acme-tables-ffffffffffff.graph"]


def test_kept_arrays_survive_damage(tmp_path):
    path, made = tmp_path / "acme-steps-0123.words", []

    def make():
        made.append(1)
        return {"a": np.arange(1000), "b": np.zeros(3, np.float32)}

    for _ in range(2):
        assert np.array_equal(kept_arrays(path, make)["a"], np.arange(1000))
    assert len(made) == 1
    content = path.read_bytes()
    for broken in (content[:300], b"", content[:2000] + bytes([content[2000] ^ 255]) + content[2001:]):
        path.write_bytes(broken)
        with pytest.warns(RetrievalWarning, match="made again"):
            assert np.array_equal(kept_arrays(path, make)["a"], np.arange(1000))
    assert len(made) == 4 and path.read_bytes() == content


def test_suggestions_through_a_graph_are_those_of_exact_search(own_cache, monkeypatch):
    """The same catalogue below and above the size from which a graph is used."""
    places = "Slack Teams Box Jira GitLab Trello Zendesk Stripe Shopify Zoom".split()
    things = "invoice order ticket contract customer payment folder message meeting issue".split()
    actions = "Create Delete Update Find".split()
    steps = [
        {"name": f"{a}_{t}_{p}".lower(), "label": f"{a} {t} in {p}"} for a in actions for t in things for p in places
    ]
    instance = Instance.from_json({"name": "many", "steps": steps})
    texts = [
        "delete the Jira issue and then find all invoices in Stripe",
        "schedule a Zoom meeting",
        "refund the customer",
    ]
    exact = [[step.name for step in Search(instance).steps(text)] for text in texts]
    monkeypatch.setattr("flowdsl.retrieve.EXACT", 50)
    monkeypatch.setattr("flowdsl.neighbours.EXACT", 50)
    search = Search(instance)
    assert search._steps.neighbours.graph is not None
    assert [[step.name for step in search.steps(text)] for text in texts] == exact
    kinds = {path.suffix for path in (own_cache / "index").glob(f"{file_stem('many')}*")}
    assert {".vectors", ".graph", ".words", ".json"} <= kinds
    part = Instance.from_json({"name": "many", "steps": steps[:200]})
    before = sorted((own_cache / "index").iterdir())
    assert Search(part)._steps.neighbours.graph is None and sorted((own_cache / "index").iterdir()) == before
