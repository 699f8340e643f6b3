"""Steps left open where the catalogue has nothing, and only there: 60 requirements from end to end.

    python benchmarks/placeholders.py [--limit N]

The clauses of `tests/corpus/fitting.json`, half with a step that does what they ask for and half without, each
after an event. Prints how many flows of each half hold a placeholder, and those that are on the wrong side.
"""

import argparse
import json
import sys
from pathlib import Path

from flowdsl import Instance, generate_flow

CASES = Path(__file__).resolve().parent.parent / "tests" / "corpus" / "fitting.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=1000, help="clauses of each half")
    options = parser.parse_args()
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    instance = Instance.load(cases["instance"])
    for half, wrong in (("fits", True), ("lacks", False)):
        clauses = cases[half][: options.limit]
        count = 0
        for clause in clauses:
            result = generate_flow(f"When an incident is created, {clause}", instance)
            is_open = bool(result.placeholders)
            count += is_open
            if is_open == wrong:
                steps = ", ".join(component.definition for component in result.flow.components)
                print(f"  {half}: {clause!r} became {steps}", flush=True)
        print(f"{half}: {count} of {len(clauses)} flows with a placeholder", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
