"""Results as JSON, as Markdown, and as pictures."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowdsl.files import write_whole

_SPEED = (
    ("contender", "contender", "{}"),
    ("seconds", "s / flow", "{:.1f}"),
    ("ratio", "times flowdsl", "{:.1f}"),
    ("tokens", "tokens", "{:.0f}"),
    ("passes", "passes", "{:.0f}"),
    ("tokens_per_pass", "tokens / pass", "{:.1f}"),
    ("passes_per_component", "passes / component", "{:.1f}"),
    ("tokens_per_component", "tokens / component", "{:.0f}"),
    ("outside_share", "outside the model", "{:.0%}"),
)
_MASKS = (
    ("names", "names", "{:,}"),
    ("instance_seconds", "loading, s", "{:.2f}"),
    ("first_outline_ms", "first outline, ms", "{:.0f}"),
    ("outline_ms", "outline, ms", "{:.1f}"),
    ("inputs_ms", "inputs, ms", "{:.1f}"),
    ("rehearsal_ms", "rehearsal, ms", "{:.1f}"),
    ("mask_p50_us", "mask p50, us", "{:.0f}"),
    ("mask_p99_us", "p99", "{:.0f}"),
    ("mask_max_us", "max", "{:.0f}"),
    ("masks", "masks", "{:,}"),
)


def write_report(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write what was measured into `folder`; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine(), **results}
    files = [folder / "results.json", folder / "results.md"]
    write_whole(files[0], json.dumps(whole, indent=1, ensure_ascii=False))
    write_whole(files[1], markdown(whole))
    return files + pictures(whole, folder)


def machine() -> dict[str, Any]:
    """What it ran on."""
    import torch

    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in ("torch", "transformers", "outlines", "llguidance", "xgrammar")},
    }


def markdown(results: Mapping[str, Any]) -> str:
    """All tables."""
    parts = [", ".join(f"{name} {value}" for name, value in results["machine"].items())]
    if speed := results.get("speed"):
        parts += ["## Speed", speed["about"], _table(_SPEED, speed["table"])]
        parts.append("\n".join(f"- {name}: {value}" for name, value in figures(speed).items()))
    if masks := results.get("masks"):
        parts += ["## Masks, Mistral-Nemo vocabulary", _table(_MASKS, masks)]
    return "\n\n".join(parts) + "\n"


def figures(speed: Mapping[str, Any]) -> dict[str, str]:
    """flowdsl's own figures by stage."""
    mine = [one["parts"] for one in speed["measures"] if one["parts"]]
    if not mine:
        return {}
    total = {name: sum(one[name] for one in mine) for name in mine[0]}
    seconds = sum(one["seconds"] for one in speed["measures"] if one["parts"])
    written = total["outline_tokens"] + total["inputs_tokens"]
    passes = total["outline_passes"] + total["inputs_passes"]
    return {
        "outline, tokens per pass": f"{total['outline_tokens'] / max(1, total['outline_passes']):.2f}",
        "outline and inputs, tokens per pass": f"{written / max(1, passes):.2f}",
        "outline and inputs, tokens per row-pass": f"{written / max(1, total['row_passes']):.2f}",
        "forced tokens": f"{total['forced'] / max(1, written):.0%}",
        "drafted tokens that came": f"{total['accepted'] / max(1, total['drafted']):.0%}",
        "masks, drafts and choices, share of the model's time": f"{total['decode_python'] / total['model']:.0%}",
        "everything else outside the model (grammars, retrieval), share of all": (
            f"{(seconds - total['model'] - total['decode_python']) / seconds:.0%}"
        ),
    }


def _table(columns: Sequence[tuple[str, str, str]], rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [" | ".join(title for _, title, _ in columns), " | ".join("---" for _ in columns)]
    for row in rows:
        lines.append(" | ".join("-" if row[key] is None else form.format(row[key]) for key, _, form in columns))
    return "\n".join(f"| {line} |" for line in lines)


def pictures(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Bars of seconds a flow, and mask times over the size of the catalogue."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    files = []
    if speed := results.get("speed"):
        rows = speed["table"][::-1]
        figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.2), layout="constrained")
        bars = axes.barh([row["contender"] for row in rows], [row["ratio"] for row in rows], color="#4878a8")
        axes.bar_label(bars, [f"{row['ratio']:.1f}" for row in rows], padding=3)
        axes.set_xlabel("seconds a flow, times those of flowdsl (median)")
        files.append(folder / "speed.png")
        figure.savefig(files[-1], dpi=120)
        plt.close(figure)
    if masks := results.get("masks"):
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        for key, label in (("mask_p50_us", "p50"), ("mask_p99_us", "p99"), ("mask_max_us", "max")):
            axes.loglog([row["names"] for row in masks], [row[key] for row in masks], marker="o", label=label)
        axes.set_xlabel("names in the instance")
        axes.set_ylabel("microseconds a mask")
        axes.legend()
        files.append(folder / "masks.png")
        figure.savefig(files[-1], dpi=120)
        plt.close(figure)
    return files
