"""Makes the split files of `data/` from authored pairs.

    python scripts/build_data.py FOLDER [--instances FOLDER] [--data data] [--splits dev test ...]

FOLDER holds authored files (`flowdsl/authored.py` describes them) named ``SPLIT_ANYTHING_NUMBER.flow``;
where ANYTHING holds the name of an instance, or of its file, the pairs are for that one, else for
`servicenow`. Instances are copied to ``data/instances/NAME.json``, NAME being the name they give themselves.
A file called ``SPLIT_composed...`` or ``SPLIT_paraphrased...`` has that origin.

``data/frozen.json`` holds the SHA-256 of the splits that judge. A split in it is never written again:
what it says must be what is there.
"""

import argparse
import json
import re
import sys
from hashlib import sha256
from pathlib import Path

from flowdsl.authored import read_authored
from flowdsl.errors import FlowError
from flowdsl.files import write_whole
from flowdsl.instance import Instance
from flowdsl.pair_check import validate_pairs
from flowdsl.pairs import ORIGINS, SPLITS, Pair, instance_for, read_pairs, write_pairs

JUDGING = ("test", "ood")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--instances", type=Path, help="where the instances are that are not in data/instances yet")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--freeze", action="store_true", help="freeze test and ood as they are now")
    options = parser.parse_args()
    instances = _instances(options.data, options.instances)
    frozen_path = options.data / "frozen.json"
    frozen = json.loads(frozen_path.read_text(encoding="utf-8")) if frozen_path.exists() else {}
    made: dict[str, list[Pair]] = {}
    errors: list[str] = []
    for split in options.splits:
        files = sorted(options.folder.glob(f"{split}_*.flow"), key=_natural)
        for file in files:
            parts = file.stem.split("_")
            origin = next((part for part in parts if part in ORIGINS), "written")
            try:
                pairs = read_authored(file, split, _instance_of(file.stem, instances), origin)
                made.setdefault(split, []).extend(pairs)
            except FlowError as error:
                errors.append(str(error))
    for pairs in made.values():  # before they are checked, where `instance_for` looks for them
        for name in {pair.instance for pair in pairs} & instances.keys():
            target = options.data / "instances" / f"{name}.json"
            if not target.exists() and not (EXAMPLES / f"{name}.json").exists():
                write_whole(target, instances[name][1])
    instance_for.cache_clear()
    others = [
        pair
        for split in SPLITS
        if split not in made and (options.data / f"{split}.jsonl").exists()
        for pair in read_pairs(options.data / f"{split}.jsonl")
    ]
    everything = [*others, *(pair for pairs in made.values() for pair in pairs)]
    errors += map(str, validate_pairs(everything))
    if errors:
        print(*errors, sep="\n")
        print(f"{len(errors)} errors: nothing is written but instances", file=sys.stderr)
        return 1
    for split, pairs in made.items():
        path = options.data / f"{split}.jsonl"
        if split in frozen:
            text = "".join(json.dumps(pair.to_json(), ensure_ascii=False) + "\n" for pair in pairs)
            if sha256(text.encode()).hexdigest() != frozen[split]:
                print(f"{path} is frozen, and the authored files give something else", file=sys.stderr)
                return 1
        else:
            write_pairs(path, pairs)
        print(f"{path}: {len(pairs)} pairs")
    if options.freeze:
        hashes = {
            split: sha256((options.data / f"{split}.jsonl").read_bytes()).hexdigest()
            for split in JUDGING
            if (options.data / f"{split}.jsonl").exists()
        }
        write_whole(
            frozen_path, json.dumps(frozen | {k: v for k, v in hashes.items() if k not in frozen}, indent=2) + "\n"
        )
    return 0


def _natural(path: Path) -> list[int | str]:
    """`train_10` after `train_9`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]


def _instances(data: Path, folder: Path | None) -> dict[str, tuple[Instance, str]]:
    """Instances with their JSON text, by the name of the file and by their own."""
    found: dict[str, tuple[Instance, str]] = {}
    for path in [*sorted((data / "instances").glob("*.json")), *(sorted(folder.glob("*.json")) if folder else [])]:
        instance, text = Instance.load(path), path.read_text(encoding="utf-8")
        found.setdefault(path.stem, (instance, text))
        found.setdefault(instance.name, (instance, text))
    for name in ("bank", "smart_home"):
        path = EXAMPLES / f"{name}.json"
        if path.exists():
            found.setdefault(name, (Instance.load(path), path.read_text(encoding="utf-8")))
    return found


def _instance_of(stem: str, instances: dict[str, tuple[Instance, str]]) -> Instance | str:
    """The instance that the name of a file names: the longest run of its parts."""
    parts = stem.split("_")
    runs = ["_".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]
    for run in sorted(runs, key=len, reverse=True):
        if run in instances:
            return instances[run][0]
    return "servicenow"


if __name__ == "__main__":
    sys.exit(main())
