"""A causal language model, ready to decode: weights, tokenizer and vocabulary together."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from decoding.attention import use_grouped
from decoding.errors import DecodeError, ModelError
from decoding.vocabulary import Vocabulary

Message = Mapping[str, str]  # "role" and "content"

#: A file beside the weights, or beside an adapter's, that says what they were tuned for.
METADATA = "flowdsl.json"

_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model in eval mode.

    Attributes:
        name: what it was loaded from.
        network: the transformers model.
        tokenizer: its fast transformers tokenizer.
        vocabulary: the same tokens for masks; as many as the network has logits.
        device, dtype: where the weights are, and in which numbers.
        metadata: what the model's folder, or its adapter's, says of it in `METADATA`; not interpreted here.
    """

    name: str
    network: Any
    tokenizer: Any
    vocabulary: Vocabulary
    device: torch.device = field(default=torch.device("cpu"))
    dtype: torch.dtype = field(default=torch.float32)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Any, tokenizer: Any, name: str = "model", metadata: Mapping[str, str] | None = None) -> Model:
        """Wrap a transformers model and its fast tokenizer that are already in memory.

        Raises:
            ModelError: they cannot be used together, or the tokenizer is slow-only.
        """
        network.eval()
        head = network.get_output_embeddings()
        size = network.config.get_text_config(decoder=True).vocab_size if head is None else head.weight.shape[0]
        ends = getattr(network.generation_config, "eos_token_id", None)
        vocabulary = Vocabulary.from_transformers(tokenizer, size=size, eos=_merge_eos(ends, tokenizer.eos_token_id))
        return cls(name, network, tokenizer, vocabulary, network.device, network.dtype, metadata or {})

    @property
    def positions(self) -> int:
        """Tokens that prompt and output may have together."""
        config = self.network.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Prompt ids for `messages` (each a "role": system, user or assistant, and a "content").

        Uses the tokenizer's chat template, else a plain layout. Special tokens spelled out in a content are
        read as plain text.
        """
        messages = [{"role": m["role"], "content": self._defused(m["content"])} for m in messages]
        if not self.tokenizer.chat_template:
            lines = [f"### {m['role'].capitalize()}\n{m['content']}\n\n" for m in messages]
            return list(self.tokenizer("".join(lines) + "### Assistant\n")["input_ids"])
        from jinja2 import TemplateError

        try:
            return self._from_template(messages)
        except TemplateError as error:  # raised by templates that know no system role
            if not messages or messages[0]["role"] != "system" or len(messages) < 2:
                raise ModelError(f"the chat template of {self.name} refuses these messages: {error}") from None
            first = {"role": "user", "content": messages[0]["content"] + "\n\n" + messages[1]["content"]}
            return self._from_template([first, *messages[2:]])

    @torch.inference_mode()
    def read(self, tokens: Sequence[int], past: Any = None) -> tuple[torch.Tensor, Any]:
        """One forward pass over `tokens` after what `past` holds.

        Returns:
            The logits of the last position (float32 on the CPU, one for each id), and the extended cache.

        Raises:
            DecodeError: out of memory.
        """
        ids = torch.tensor([list(tokens)], device=self.device)
        last = {"logits_to_keep": 1} if keeps_logits(type(self.network).forward) else {}
        try:
            out = self.network(input_ids=ids, past_key_values=past, use_cache=True, **last)
        except torch.OutOfMemoryError:
            raise DecodeError(
                f"out of memory on {self.device} while reading {len(tokens)} tokens: shorten the prompt or use a "
                "smaller model"
            ) from None
        return out.logits[0, -1].float().cpu(), out.past_key_values

    def _from_template(self, messages: Sequence[Message]) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _defused(self, text: str) -> str:
        for token in self.tokenizer.all_special_tokens:
            if len(token) > 1:
                text = text.replace(token, token[0] + " " + token[1:])
        return text


def load_model(
    name_or_path: str | os.PathLike[str] | None = None,
    adapter: str | os.PathLike[str] | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> Model:
    """Load a causal language model.

    Args:
        name_or_path: a folder, or a name on the Hugging Face hub; None is the embedded SmolLM2-135M-Instruct.
        adapter: folder of a LoRA adapter, merged into the weights (needs `peft`).
        dtype: of the weights, bfloat16 by default. Use float32 to compare numbers exactly.
        device: by default CUDA or MPS where there is one, else the CPU.

    Raises:
        ModelError: with cause and remedy, whatever went wrong.
    """
    from decoding.embedded import NAME, embedded_path

    name = NAME if name_or_path is None else os.fspath(name_or_path)
    where = embedded_path() if name_or_path is None else _locate(name)
    with quiet():
        network, tokenizer = _load(name, str(where), dtype or torch.bfloat16)
        if adapter is not None:
            network = _adapted(network, Path(adapter))
        try:
            network.to(device or _best_device())
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"{name} cannot be moved to {device or _best_device()}: {_first_line(error)}") from None
        use_grouped(network)
    return Model.of(network, tokenizer, name, read_metadata(Path(adapter if adapter is not None else where)))


def load_tuned(adapter: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> Model:
    """The embedded model with an adapter of its own, merged once and kept in the cache.

    Raises:
        ModelError: with cause and remedy, whatever went wrong.
    """
    from decoding.embedded import NAME, merged_path

    return replace(load_model(merged_path(Path(adapter)), dtype=dtype), name=NAME)


def read_metadata(folder: Path) -> dict[str, str]:
    """The JSON object of strings in a folder's `METADATA`; empty if there is none."""
    try:
        data = json.loads((folder / METADATA).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def _locate(name: str) -> str | Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name} is a file; give the folder that holds config.json and the weights")
    if name.startswith((".", "/", "~", os.sep)) or (name.count("/") != 1 and os.sep in name) or not name:
        raise ModelError(f"there is no model folder {name!r}")
    return name


def _load(name: str, where: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(where)
        kinds = config.architectures or []
        if kinds and not any(kind.endswith(_CAUSAL) for kind in kinds):
            raise ModelError(f"{name} is a {kinds[0]}, not a causal language model")
        loaded: Any = AutoModelForCausalLM.from_pretrained(where, config=config, dtype=dtype, output_loading_info=True)
        network, info = loaded
        # mistral_format=False: else a Mistral folder with tekken.json gives a tokenizer that masks cannot use
        tokenizer = AutoTokenizer.from_pretrained(where, mistral_format=False)
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(f"{name} needs a package that is not installed: {_first_line(error)}") from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(_cause(name, where, error)) from None
    except SafetensorError as error:
        raise ModelError(f"{name} cannot be loaded, a file of it is damaged: {_first_line(error)}") from None
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{name} lacks {len(missing)} weights, {missing[0]} among them: the folder is incomplete")
    return network, tokenizer


def _cause(name: str, where: str, error: Exception) -> str:
    if Path(where).is_dir():
        if not (Path(where) / "config.json").exists():
            return f"{name} holds no config.json: give the folder of a transformers model"
        if isinstance(error, ValueError) and "configuration class" in str(error):
            return f"{name} is not a causal language model"
        return f"{name} cannot be loaded: {_first_line(error)}"
    return (
        f"{name} is neither a folder here nor loadable from the Hugging Face hub ({_first_line(error)}): check the "
        "name and the network, log in if it is gated, or download it and give its folder"
    )


def _adapted(network: Any, folder: Path) -> Any:
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder} is no LoRA adapter: it holds no adapter_config.json")
    from safetensors import SafetensorError

    try:
        from peft import PeftModel
    except ImportError:
        raise ModelError("an adapter needs peft: pip install peft") from None
    try:
        return PeftModel.from_pretrained(network, str(folder)).merge_and_unload()
    except (AttributeError, KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ModelError(f"the adapter {folder} does not fit this model: {_first_line(error)}") from None


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _merge_eos(*ids: int | Sequence[int] | None) -> list[int]:
    flat: list[int] = []
    for some in ids:
        flat += [] if some is None else [some] if isinstance(some, int) else some
    return list(dict.fromkeys(flat))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


@functools.cache
def keeps_logits(forward: Callable[..., Any]) -> bool:
    """Whether a forward pass can be told of which positions the logits are wanted."""
    return "logits_to_keep" in inspect.signature(forward).parameters


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of transformers, which are for downloads of gigabytes."""
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
