"""Generate a flow for every requirement of `examples/requirements.json` and check it.

    python benchmarks/validity.py [servicenow|bank|smart_home] [--limit N] [--out FILE]

Prints one line a flow, and at the end how many are valid, bare (a placeholder or a trigger alone),
and what they took. Exit code 1 if any flow has an issue.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from flowdsl import Instance, check_flow, generate_flow
from flowdsl.model import PLACEHOLDER

EXAMPLES = Path(__file__).parent.parent / "examples"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instance", nargs="?", default="servicenow")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    requirements = json.loads((EXAMPLES / "requirements.json").read_text(encoding="utf-8"))[options.instance]
    path = EXAMPLES / f"{options.instance}.json"
    instance = Instance.load(path if path.exists() else options.instance)
    invalid = bare = 0
    records = []
    for number, requirement in enumerate(requirements[: options.limit], start=1):
        started = time.perf_counter()
        result = generate_flow(requirement, instance)
        seconds = time.perf_counter() - started
        issues = check_flow(result.to_json(), instance)
        steps = result.flow.components
        is_bare = not steps or all(step.definition == PLACEHOLDER for step in steps)
        invalid += bool(issues)
        bare += is_bare
        stats = result.stats
        print(
            f"{number:3} {'INVALID' if issues else 'bare' if is_bare else 'valid'} {len(steps)} steps, "
            f"{stats.output_tokens} tokens ({stats.forced_tokens} forced), {stats.passes} passes, {seconds:.1f} s: "
            f"{requirement[:60]}",
            flush=True,
        )
        records.append({"requirement": requirement, "dsl": result.dsl, "issues": [str(issue) for issue in issues]})
    print(f"{len(records)} flows: {len(records) - invalid} valid, {invalid} invalid, {bare} bare")
    if options.out:
        options.out.write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")
    return 1 if invalid or bare else 0


if __name__ == "__main__":
    sys.exit(main())
