"""Text to workflow, with output that cannot be structurally wrong.

The language (flows, instances, compiling, checking) is imported at once and is light; what needs a
model is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.decompile import decompile
from flowdsl.errors import FlowError, FlowIssue
from flowdsl.instance import Instance
from flowdsl.model import Flow

if TYPE_CHECKING:
    from decoding import Model, load_model
    from flowdsl.edit import edit_flow
    from flowdsl.explain import explain_flow
    from flowdsl.generate import fill_inputs, generate_flow
    from flowdsl.result import FlowResult
    from flowdsl.similarity import flow_similarity

_LATER = {
    "Model": "decoding",
    "load_model": "decoding",
    "edit_flow": "flowdsl.edit",
    "explain_flow": "flowdsl.explain",
    "fill_inputs": "flowdsl.generate",
    "generate_flow": "flowdsl.generate",
    "FlowResult": "flowdsl.result",
    "flow_similarity": "flowdsl.similarity",
}

__all__ = [
    "Flow",
    "FlowError",
    "FlowIssue",
    "FlowResult",
    "Instance",
    "Model",
    "check_flow",
    "compile_dsl",
    "decompile",
    "edit_flow",
    "explain_flow",
    "fill_inputs",
    "flow_similarity",
    "generate_flow",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
