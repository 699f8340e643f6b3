"""Tuning a model on pairs: LoRA, both stages of a flow in one sequence (`flowdsl.sequences`).

The schedule has no preset end: warm-up, then a constant rate, then a decay that begins when `steps` or
`minutes` are nearly used up. A run leaves its state in the folder of the adapter and goes on from there
when it is started again.

    adapter_model.safetensors, adapter_config.json   what `load_model(adapter=...)` reads
    flowdsl.json       that prompts are the short ones of `flowdsl.tuned`, and where the adapter comes from
    state.pt           optimiser, step and random state, for going on
    log.jsonl          a line each `LOG_EVERY` steps: step, minutes, tokens, loss, rate
    loss.svg           the same as a picture (with matplotlib)
"""

import hashlib
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from decoding import Model
from decoding.model import METADATA, read_metadata
from flowdsl.ask import prompt_start
from flowdsl.errors import UsageError
from flowdsl.files import write_whole
from flowdsl.pairs import Pair
from flowdsl.plots import loss_plot
from flowdsl.sequences import IGNORED, TokenSequence, token_sequence
from flowdsl.tuned import STYLE

#: Steps between two lines of the log.
LOG_EVERY = 5


@dataclass(frozen=True)
class Recipe:
    """How to tune.

    Attributes:
        rank, scale: of the LoRA matrices; the scale is LoRA's alpha.
        rate: the constant learning rate.
        warmup, decay: steps in which the rate rises, and the last share of the run in which it falls.
        batch: flows for each step of the optimiser.
        longest: tokens of a sequence; longer ones are passed over.
        steps, minutes: when to end, whichever comes first.
        save_minutes: between two checkpoints.
        seed: of the order, the variation and the matrices.
    """

    rank: int = 32
    scale: int = 64
    rate: float = 8e-4
    warmup: int = 20
    decay: float = 0.25
    batch: int = 8
    longest: int = 1400
    steps: int = 100_000
    minutes: float = 60.0
    save_minutes: float = 5.0
    seed: int = 7


def train(
    model: Model,
    pairs: Sequence[Pair],
    folder: Path,
    recipe: Recipe,
    on_step: Callable[[Mapping[str, float]], None] | None = None,
) -> None:
    """Tune an adapter for a model.

    Args:
        model: whose weights stay as they are.
        pairs: each is visited once, in any order, then all of them again.
        folder: where the adapter and the state go; a run found there is gone on with.
        on_step: is told of each step: step, tokens, loss (nats a token), rate.

    Raises:
        UsageError: there are no pairs, or all are too long.
    """
    if not pairs:
        raise UsageError("there are no pairs to train on")
    torch.manual_seed(recipe.seed)
    network = _adapted(model.network, folder, recipe)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    step, done_minutes, random_state = _resumed(folder, optimizer)
    rng = random.Random(recipe.seed)
    if random_state is not None:
        rng.setstate(random_state)
    started = saved = time.monotonic()
    tokens, losses = 0, []
    network.train()
    visits = _visits(pairs, model, recipe, rng)
    while step < recipe.steps:
        minutes = done_minutes + (time.monotonic() - started) / 60
        if minutes >= recipe.minutes:
            break
        rate = recipe.rate * _factor(step, minutes, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = [next(visits) for _ in range(recipe.batch)]
        count = sum(label != IGNORED for sequence in batch for label in sequence.labels)
        total = 0.0
        for sequence in batch:
            loss = sequence_loss(network, sequence) / count
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            tokens += len(sequence.tokens)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        losses.append(total)
        told = {"step": step, "minutes": round(minutes, 2), "tokens": tokens, "loss": total, "rate": rate}
        if on_step is not None:
            on_step(told)
        if step % LOG_EVERY == 0:
            _log(folder, told | {"loss": sum(losses) / len(losses)})
            losses = []
        if time.monotonic() - saved > 60 * recipe.save_minutes:
            _save(folder, network, optimizer, step, minutes, rng, model, recipe, pairs)
            saved = time.monotonic()
    minutes = done_minutes + (time.monotonic() - started) / 60
    _save(folder, network, optimizer, step, minutes, rng, model, recipe, pairs)
    _draw(folder)


def _draw(folder: Path) -> None:
    log = folder / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    if lines and (picture := loss_plot([json.loads(line) for line in lines])) is not None:
        write_whole(folder / "loss.svg", picture)


def sequence_loss(network: Any, sequence: TokenSequence) -> torch.Tensor:
    """The summed cross entropy (nats) of the tokens that a sequence trains: a scalar in float32."""
    device = network.device
    labels = torch.tensor(sequence.labels, device=device)
    wanted = labels != IGNORED
    inputs = {
        "input_ids": torch.tensor([sequence.tokens], device=device),
        "position_ids": torch.tensor([sequence.positions], device=device),
        "attention_mask": attention_mask(sequence.rows, network.dtype, device),
    }
    base = network.get_base_model() if hasattr(network, "get_base_model") else network
    with torch.autocast(device.type, torch.bfloat16, enabled=network.dtype == torch.bfloat16):
        hidden = base.model(**inputs, use_cache=False).last_hidden_state[0]
        logits = base.get_output_embeddings()(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), labels[wanted], reduction="sum")


def attention_mask(rows: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu") -> torch.Tensor:
    """Who sees whom: (1, 1, n, n), 0 where a token (second last axis) sees another (last), else the lowest number.

    >>> (attention_mask([0, 0, 1, 2], torch.float32)[0, 0] == 0).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    """
    row = torch.tensor(list(rows), device=device)
    sees = (row[None, :] == 0) | (row[None, :] == row[:, None])
    sees &= torch.ones_like(sees).tril()
    mask = torch.full(sees.shape, torch.finfo(dtype).min, dtype=dtype, device=device)
    return mask.masked_fill_(sees, 0.0)[None, None]


def _visits(pairs: Sequence[Pair], model: Model, recipe: Recipe, rng: random.Random) -> Iterator[TokenSequence]:
    """Every pair once in any order, then all of them again, but for those that are too long."""
    bos = prompt_start(model)
    order = list(pairs)
    while order:
        rng.shuffle(order)
        for pair in tuple(order):
            sequence = token_sequence(pair, model.vocabulary, bos, rng)
            if len(sequence.tokens) <= recipe.longest:
                yield sequence
            else:
                order.remove(pair)
    raise UsageError(f"every pair takes more than {recipe.longest} tokens")


def _factor(step: int, minutes: float, recipe: Recipe) -> float:
    """Share of the constant rate: rises over the warm-up, falls as a half cosine over the last part."""
    done = max(step / recipe.steps, minutes / recipe.minutes)
    rising = min(1.0, (step + 1) / max(1, recipe.warmup))
    falling = min(1.0, max(0.0, (1 - done) / recipe.decay)) if recipe.decay else 1.0
    return rising * (0.5 - 0.5 * math.cos(math.pi * falling))


def _adapted(network: Any, folder: Path, recipe: Recipe) -> Any:
    from peft import LoraConfig, PeftModel, get_peft_model

    if (folder / "adapter_config.json").exists():
        return PeftModel.from_pretrained(network, str(folder), is_trainable=True)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.scale, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return get_peft_model(network, config)


def _resumed(folder: Path, optimizer: torch.optim.Optimizer) -> tuple[int, float, Any]:
    path = folder / "state.pt"
    if not path.exists():
        return 0, 0.0, None
    state = torch.load(path, weights_only=False)
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["minutes"], state["random"]


def _save(
    folder: Path,
    network: Any,
    optimizer: torch.optim.Optimizer,
    step: int,
    minutes: float,
    rng: random.Random,
    model: Model,
    recipe: Recipe,
    pairs: Sequence[Pair],
) -> None:
    """Writes the adapter and the state: complete in a folder beside, then moved file by file."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    network.save_pretrained(str(partial), safe_serialization=True)
    content = "".join(sorted(json.dumps(pair.to_json(), ensure_ascii=False) for pair in pairs))
    told = {
        "prompts": STYLE,
        "base": model.name,
        "pairs": str(len(pairs)),
        "pairs_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "step": str(step),
        "recipe": json.dumps(asdict(recipe)),
    }
    write_whole(partial / METADATA, json.dumps(told, indent=1) + "\n")
    state = {"optimizer": optimizer.state_dict(), "step": step, "minutes": minutes, "random": rng.getstate()}
    torch.save(state, partial / "state.pt")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(partial.iterdir(), key=lambda path: path.name == "state.pt"):
        path.replace(folder / path.name)
    partial.rmdir()


def export_adapter(folder: Path, target: Path) -> None:
    """What a tuned model needs of a run, in bfloat16: half the size, for shipping.

    Raises:
        UsageError: the folder holds no adapter.
    """
    from safetensors.torch import load_file, save_file

    if not (folder / "adapter_model.safetensors").is_file():
        raise UsageError(f"{folder} holds no adapter: give the folder of a training run")
    target.mkdir(parents=True, exist_ok=True)
    weights = load_file(folder / "adapter_model.safetensors")
    half = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    save_file(half, target / "adapter_model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(folder / METADATA, target / METADATA)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = read_metadata(folder)["base"]  # not the path that it had here
    write_whole(target / "adapter_config.json", json.dumps(config, indent=1) + "\n")


def _log(folder: Path, told: Mapping[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")
