"""Catalogues of other makes as instances: OpenAPI 3 (JSON or YAML), CSV, or ServiceNow's SDK.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / "My tools.csv"
...     _ = path.write_text("kind,name\\nstep,ping\\n")
...     import_instance(path)["name"]
'my-tools'
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flowdsl.csv_catalogue import read_csv
from flowdsl.errors import InvalidInstance
from flowdsl.fluent import fluent_files, read_fluent
from flowdsl.instance import Instance
from flowdsl.openapi import read_openapi

#: Bytes of a file that are read; the largest public API descriptions have 10 MB.
_LARGEST = 100_000_000
#: Collections of a document in each other.
_DEEPEST = 200


def import_instance(path: str | Path, name: str = "") -> dict[str, Any]:
    """The JSON of an instance, checked, of a file in another format.

    Args:
        path: ``.csv`` or ``.tsv``; a folder or an npm archive of SDK declarations; otherwise an OpenAPI 3 document.
        name: of the instance; default: from the document or the file.

    Raises:
        InvalidInstance: the file is missing, of no known format, or has problems; `problems` lists them.
    """
    source = Path(path)
    plain = re.sub(r"[^\w]+", "-", source.stem.lower()).strip("-") or "imported"
    if source.is_dir() or source.suffix.lower() in {".tgz", ".gz"}:
        data = read_fluent(fluent_files(source), name or plain)
    elif source.suffix.lower() in {".csv", ".tsv"}:
        data = read_csv(_text(source), name or plain)
    else:
        data = read_openapi(_document(source, _text(source)), name)
    made: dict[str, Any] = Instance.from_json(data).model_dump(mode="json", exclude_defaults=True)
    return made


def _text(source: Path) -> str:
    try:
        if source.stat().st_size > _LARGEST:
            raise InvalidInstance(f"{source} is larger than {_LARGEST // 1_000_000} MB")
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInstance(f"{source} is not UTF-8 text (byte {error.start + 1})") from None
    except (OSError, ValueError) as error:
        raise InvalidInstance(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from None
    if not text.strip():
        raise InvalidInstance(f"{source} is empty")
    return text


def _document(source: Path, text: str) -> Any:
    """The content of JSON or YAML."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except RecursionError:
            raise InvalidInstance(f"{source} is nested too deeply") from None
        except json.JSONDecodeError as error:
            if source.suffix.lower() == ".json":
                raise InvalidInstance(f"{source} is not JSON: {error}") from None
    import yaml

    try:
        loader = _plain_loader()
        if _depth(yaml.parse(text, Loader=loader)) > _DEEPEST:  # the C loader would end the process
            raise InvalidInstance(f"{source} is nested too deeply")
        return yaml.load(text, Loader=loader)
    except RecursionError:
        raise InvalidInstance(f"{source} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise InvalidInstance(f"{source} is neither CSV, JSON nor YAML: {told}") from None


def _depth(events: Iterable[Any]) -> int:
    """How deep the collections of a YAML document stand in each other, as far as it matters."""
    depth = deepest = 0
    for event in events:
        kind = type(event).__name__
        depth += kind in {"MappingStartEvent", "SequenceStartEvent"}
        depth -= kind in {"MappingEndEvent", "SequenceEndEvent"}
        deepest = max(deepest, depth)
        if deepest > _DEEPEST:
            break
    return deepest


def _plain_loader() -> Any:
    """A safe YAML loader for which dates are texts, as OpenAPI has it, and keys are too."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in base.yaml_implicit_resolvers.items()
    }
    return type("Loader", (base,), {"yaml_implicit_resolvers": resolvers})
