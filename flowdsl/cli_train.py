"""`flowdsl train`: tune an adapter on pairs."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

FilesArgument = Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of pairs (JSON lines).")]


def train(
    files: FilesArgument,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="Of the adapter and the run.")],
    model: Annotated[str | None, typer.Option(help="A name on the hub or a folder; default: the built-in one.")] = None,
    minutes: Annotated[float, typer.Option(help="How long the run takes, over all its sessions.")] = 60.0,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser at most.")] = 100_000,
    batch: Annotated[int, typer.Option(help="Flows a step.")] = 4,
    rank: Annotated[int, typer.Option(help="Of the LoRA matrices.")] = 32,
    rate: Annotated[float, typer.Option(help="The learning rate.")] = 8e-4,
    seed: Annotated[int, typer.Option(help="Of the order and the matrices.")] = 7,
    threads: Annotated[int | None, typer.Option(help="Of the processor; default: all.")] = None,
    export: Annotated[str | None, typer.Option(metavar="FOLDER", help="Also write the adapter there, small.")] = None,
) -> int:
    """Tune a LoRA adapter on pairs of requirements and flows.

    A run that was stopped goes on when it is started again with the same folder. The adapter is used with
    `flowdsl generate --adapter FOLDER`.

    \b
    Example:
      flowdsl train data/train.jsonl -o my-adapter --minutes 120
    """
    import torch

    from decoding import load_model
    from flowdsl.pairs import read_pairs
    from flowdsl.train import Recipe, export_adapter
    from flowdsl.train import train as tune

    if threads is not None:
        torch.set_num_threads(threads)
    pairs = [pair for file in files for pair in read_pairs(file)]
    print(f"{len(pairs):,} pairs", file=sys.stderr)
    recipe = Recipe(rank=rank, scale=2 * rank, rate=rate, batch=batch, steps=steps, minutes=minutes, seed=seed)

    def tell(step: Mapping[str, float]) -> None:
        print(
            f"step {step['step']:.0f}, {step['minutes']:.1f} minutes, {step['tokens']:,.0f} tokens, "
            f"loss {step['loss']:.3f}",
            file=sys.stderr,
            flush=True,
        )

    tune(load_model(model), pairs, Path(output), recipe, tell)
    if export is not None:
        export_adapter(Path(output), Path(export))
    return 0
