"""All runs and reports of docs/evaluation.md, one process after the other; what is done is not done again.

python scripts/evaluation.py                                  # dev, everything
python scripts/evaluation.py --split test ood                 # the figures that count
python scripts/evaluation.py --limit 12 --only tuned best     # a look

Runs are in runs/SPLIT/NAME.jsonl (with --limit in runs/SPLIT-LIMIT), the reports beside them.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The runs of each report by name, with the options of `flowdsl evaluate run`; the first is compared with the rest.
TUNED: dict[str, list[str]] = {"tuned": []}
REPORTS: dict[str, dict[str, list[str]]] = {
    "rivals": TUNED
    | {name: ["--system", name] for name in ("unconstrained", "untuned", "uniform", "random", "nearest", "constant")},
    "ablations": TUNED
    | {
        "perfect-suggestions": ["--suggestions", "perfect"],
        "no-suggestions": ["--suggestions", "none"],
        "respelled": ["--rename", "respelled"],
        "opaque": ["--rename", "opaque"],
        "100-more": ["--distractors", "100"],
        "1000-more": ["--distractors", "1000"],
        "best": ["--effort", "best"],
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--split", nargs="+", default=["dev"], help="files of data/ (default: dev)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these runs")
    parser.add_argument("--limit", type=int, metavar="N", help="only N cases of each split, always the same")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where runs and reports go")
    parser.add_argument("--endpoint", metavar="URL", help="also the prompted baseline; needs --model")
    parser.add_argument("--model", metavar="NAME", help="of the endpoint")
    given = parser.parse_args()
    reports = {title: dict(runs) for title, runs in REPORTS.items()}
    if given.endpoint:
        options = ["--endpoint", given.endpoint, *(["--model", given.model] if given.model else [])]
        reports["rivals"]["prompted"] = ["--system", "prompted", *options]
    known = {name for runs in reports.values() for name in runs}
    if unknown := sorted(set(given.only) - known):
        parser.error(f"no run {', '.join(unknown)}: there are {', '.join(sorted(known))}")
    failed = [one for split in given.split for one in _split(split, reports, given)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _split(split: str, reports: dict[str, dict[str, list[str]]], given: argparse.Namespace) -> list[str]:
    """Runs and reports of one split; gives what failed."""
    folder = Path(given.runs).absolute() / (f"{split}-{given.limit}" if given.limit else split)
    wanted = {name: options for runs in reports.values() for name, options in runs.items()}
    failed = []
    for name, options in wanted.items():
        if not given.only or name in given.only:
            limit = ["--limit", str(given.limit)] if given.limit else []
            told = ["--name", name, "-o", str(folder / f"{name}.jsonl")]
            if not _flowdsl("run", str(ROOT / "data" / f"{split}.jsonl"), *options, *limit, *told):
                failed.append(f"{split}/{name}")
    for title, runs in reports.items():
        done = [path for name in runs if (path := folder / f"{name}.jsonl").exists()]
        if done and not _flowdsl("report", *map(str, done), "-o", str(folder / title)):
            failed.append(f"{split}/{title}")
    return failed


def _flowdsl(*arguments: str) -> bool:
    print("flowdsl evaluate", *arguments, file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, "-m", "flowdsl", "evaluate", *arguments], cwd=ROOT).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
