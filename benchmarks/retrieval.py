"""How often the suggestions hold what experts used: recall over `tests/corpus`.

    python benchmarks/retrieval.py [--misses]

For each instance: triggers among 4, steps among 12, tables among 5 for a whole requirement; tables among
5 and columns among 10 for a step (its annotation, then its requirement). With words alone, embeddings
alone, and both. At last, for which of the clauses of `fitting.json` the catalogue is said to have nothing.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import flowdsl.retrieve as retrieve
from flowdsl import Flow, Instance, compile_dsl
from flowdsl.model import PLACEHOLDER
from flowdsl.query import parse_query
from flowdsl.retrieve import Search
from flowdsl.scope import Scope
from flowdsl.tables import columns_for, owner_of
from grammars.kinds import kind_of

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Used:
    """What a flow uses; `on` has the annotation, the table and the columns of each step that works on one."""

    trigger: str | None
    steps: frozenset[str]
    tables: frozenset[str]
    on: tuple[tuple[str, str, frozenset[str]], ...]


def used(flow: Flow, instance: Instance) -> Used:
    scope = Scope.of(flow, instance)
    on = []
    for at in flow.owners:
        owner, definition = owner_of(scope, at)
        table = scope.table(at)
        if not table or definition is None:
            continue
        fields = {field.name: field for field in definition.inputs}
        columns = set()
        for item in owner.inputs:
            field = fields.get(item.name)
            if field is not None and kind_of(field.type) in {"conditions", "template"}:
                terms = parse_query(item.value, columns_for(scope, at, field)).terms
                columns |= {term.left.split(".")[0] for term in terms if "{{" not in term.left}
        on.append((owner.annotation or "", table, frozenset(columns)))
    steps = {c.definition for c in flow.components if c.category != "flowlogic"} - {PLACEHOLDER}
    trigger = flow.trigger.type if flow.trigger else None
    return Used(trigger, frozenset(steps), frozenset(table for _, table, _ in on), tuple(on))


def cases(name: str, instance: Instance) -> Iterator[tuple[str, Used]]:
    for block in (ROOT / "tests" / "corpus" / f"{name}.flow").read_text(encoding="utf-8").split("---\n"):
        head, _, text = block.partition("\n")
        yield head.removeprefix("# REQUIREMENT: "), used(compile_dsl(text, instance), instance)


def measure(search: Search, pairs: list[tuple[str, Used]], misses: bool) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    def add(figure: str, wanted: frozenset[str], got: list[str], text: str) -> None:
        if wanted:
            found.setdefault(figure, []).append(len(wanted & set(got)) / len(wanted))
            if misses and wanted - set(got):
                print(f"  {figure}: {', '.join(sorted(wanted - set(got)))} of {text[:150]!r}; got {', '.join(got)}")

    for requirement, uses in pairs:
        offered = search.suggest(requirement)
        add("trigger@4", frozenset({uses.trigger} - {None}), [t.name for t in offered.triggers], requirement)
        add("steps@12", uses.steps, [step.name for step in offered.steps], requirement)
        add("tables@5", uses.tables, [table.name for table in offered.tables], requirement)
        for annotation, table, columns in uses.on:
            text = f"{annotation} | {requirement}"
            offer = [item.name for item in search.tables(requirement, 5, step=annotation)]
            add("table@5 of a step", frozenset({table}), offer, text)
            offer = [item.name for item in search.columns(table, requirement, 10, step=annotation)]
            add("columns@10 of a step", columns, offer, f"{table} {text}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--misses", action="store_true", help="name what is not found")
    options = parser.parse_args()
    weight = retrieve.LEXICAL
    for name in ("servicenow", "bank", "smart_home"):
        path = ROOT / "examples" / f"{name}.json"
        instance = Instance.load(path if path.exists() else name)
        pairs = list(cases(name, instance))
        for way in ("words", "embeddings", "both"):
            retrieve.LEXICAL = 0.0 if way == "embeddings" else weight
            search = Search(instance)
            if way == "words":
                search.__dict__["_encoder"] = None
            found = measure(search, pairs, options.misses and way == "both")
            figures = ", ".join(f"{figure} {statistics.mean(values):.3f}" for figure, values in found.items())
            print(f"{name} ({len(pairs)} requirements), {way}: {figures}", flush=True)
    cases_of = json.loads((ROOT / "tests" / "corpus" / "fitting.json").read_text(encoding="utf-8"))
    retrieve.LEXICAL = weight
    search = Search(Instance.load(cases_of["instance"]))
    false = [clause for clause in cases_of["fits"] if not search.has_step_for(clause)]
    caught = [clause for clause in cases_of["lacks"] if not search.has_step_for(clause)]
    print(f"placeholders: {len(false)} of {len(cases_of['fits'])} clauses that have a step, ", end="")
    print(f"{len(caught)} of {len(cases_of['lacks'])} that have none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
