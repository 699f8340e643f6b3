"""`flowdsl data`: check pairs of requirements and flows, and tell what they hold."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowdsl.pair_statistics import Statistics

data_app = typer.Typer(
    help="Check and describe pairs of requirements and flows.\n\n"
    "A file holds one pair a line, as JSON; data/README.md describes the files of the project.\n\n"
    "\b\nExample:\n  flowdsl data validate data/*.jsonl",
    rich_markup_mode=None,
)

FilesArgument = Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of pairs (JSON lines).")]


@data_app.command()
def validate(files: FilesArgument) -> int:
    """Check that pairs are fit to train and judge models with.

    Flows compile and are spelled canonically, annotations are exact spans, nothing comes twice, in all
    files together. One line on stdout for each problem; exit code 1 if there is one.

    \b
    Example:
      flowdsl data validate data/train.jsonl data/dev.jsonl data/test.jsonl data/ood.jsonl
    """
    from flowdsl.pair_check import validate_pairs
    from flowdsl.pairs import read_pairs

    pairs = [pair for file in files for pair in read_pairs(file)]
    problems = validate_pairs(pairs)
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    print(f"{len(pairs):,} pairs checked, {len(problems):,} problems", file=sys.stderr)
    return 1 if problems else 0


@data_app.command()
def stats(
    files: FilesArgument,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 if the wording is too uniform.")] = False,
) -> int:
    """Tell what pairs hold, and how varied their wording is.

    Wording: how often the commonest sentence comes after names, numbers and quotations are masked, the
    commonest run of eight words, and the commonest opening of three.

    \b
    Examples:
      flowdsl data stats data/train.jsonl
      flowdsl data stats --strict data/*.jsonl
    """
    from flowdsl.pair_statistics import statistics
    from flowdsl.pairs import read_pairs

    found = statistics([pair for file in files for pair in read_pairs(file)])
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(_told(found))
    return 1 if strict and found.wording.over else 0


def _told(found: "Statistics") -> str:
    lines = [
        f"pairs: {found.pairs:,} ({found.edits:,} edits), {found.flows:,} different flows",
        f"words of a requirement: {found.words}",
        f"steps of a flow: {found.steps}",
    ]
    for name, count in found.counts.items():
        if count:
            shares = (f"{key} {n} ({n / found.pairs:.0%})" for key, n in count.most_common(40))
            more = f", and {len(count) - 40} more" if len(count) > 40 else ""
            lines.append(f"{name}: {', '.join(shares)}{more}")
    wording = found.wording
    lines.append(f"wording of the {wording.requirements:,} written ones:")
    kinds = (("sentence skeleton", wording.skeletons), ("8-gram", wording.eight_grams), ("opening", wording.openings))
    for kind, items in kinds:
        for item in items:
            mark = "  TOO OFTEN" if item.over else ""
            lines.append(f"  {kind}, {item.count} (at most {item.limit}): {item.what}{mark}")
    return "".join(f"{line}\n" for line in lines)
