"""Flow-Bench's notation of flows: a few lines that read like Python.

::

    leads = Salesforce_Lead__5_0_0__retrievewithwhere_Lead()
    for lead in leads:
      if lead.rating == 'hot':
        issue = Jira_Issue__2_0_0__create_Issue()
      else:
        task = user_task("check the rating")

A name stands for what the step that it was last given gives. Here every step gives a `record` and, if
somebody wants to go through them, `records`: the catalogue says nothing of outputs.

>>> flow = script_flow('''
... a = Box_File__3_0_0__create_File()
... if a.size > 3:
...   b = Slack_message__3_0_0__create_message()''')
>>> [(c.definition, c.block, [i.value for i in c.inputs]) for c in flow.components[:2]]
[('Box_File__3_0_0__create_File', None, []), ('IF', None, ['{{1.record.size}}>3'])]
"""

import ast
from collections.abc import Sequence
from textwrap import dedent

from flowdsl.errors import FlowError
from flowdsl.model import Component, Flow, Input

#: What a person does: the benchmark writes it for whatever the catalogue has nothing for.
USER_TASK = "user_task"
TASK_INPUT = "task"
RECORD, RECORDS = "record", "records"

_COMPARED = {ast.Eq: "=", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "ISEMPTY": "ISNOTEMPTY",
             "ISNOTEMPTY": "ISEMPTY", "LIKE": "NOT LIKE", "IN": "NOT IN"}  # fmt: skip


class InvalidScript(FlowError):
    """A script cannot be read, or says what a flow cannot."""


def script_flow(text: str) -> Flow:
    """The flow of a script; its steps have no annotations.

    Raises:
        InvalidScript: with the line.
    """
    try:
        tree = ast.parse(dedent(text).strip() + "\n")
    except SyntaxError as error:
        raise InvalidScript(f"line {error.lineno}: {error.msg}") from None
    reader = _Reader()
    reader.block(tree.body, None)
    return Flow(components=tuple(reader.components))


class _Reader:
    def __init__(self) -> None:
        self.components: list[Component] = []
        self.names: dict[str, str] = {}  # the pill that a name stands for, without braces

    def block(self, statements: Sequence[ast.stmt], block: int | None) -> None:
        for statement in statements:
            self.statement(statement, block)

    def statement(self, node: ast.stmt, block: int | None) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a comment in quotes
                return
            order = self.call(node.value, block)
            for target in node.targets if isinstance(node, ast.Assign) else ():
                if not isinstance(target, ast.Name):
                    raise _unknown(target)
                self.names[target.id] = f"{order}.{RECORD}"
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name) and not node.orelse:
            source = self.path(node.iter)
            if source.endswith(f".{RECORD}") and source.count(".") == 1:
                source = source.removesuffix(RECORD) + RECORDS
            order = self.add("FOREACH", block, {"items": f"{{{{{source}}}}}"})
            self.names[node.target.id] = f"{order}.item"
            self.block(node.body, order)
        elif isinstance(node, ast.If):
            self.chain(node, block, "IF")
        elif isinstance(node, ast.While) and not node.orelse:
            order = self.add("DOUNTIL", block, {})
            self.block(node.body, order)
            self.components[order - 1] = self.components[order - 1].model_copy(
                update={"inputs": (Input(name="conditions", value=self.condition(node.test, positive=False)),)}
            )
        elif isinstance(node, ast.Break | ast.Continue):
            self.add(type(node).__name__.upper(), block, {})
        elif not isinstance(node, ast.Pass):
            raise _unknown(node)

    def chain(self, node: ast.If, block: int | None, word: str) -> None:
        order = self.add(word, block, {"condition": self.condition(node.test)})
        self.block(node.body, order)
        if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If) and self._is_elif(node, node.orelse[0]):
            self.chain(node.orelse[0], block, "ELSEIF")
        elif node.orelse:
            self.block(node.orelse, self.add("ELSE", block, {}))

    @staticmethod
    def _is_elif(node: ast.If, other: ast.If) -> bool:
        return other.col_offset == node.col_offset

    def add(self, definition: str, block: int | None, inputs: dict[str, str], category: str = "flowlogic") -> int:
        order = len(self.components) + 1
        given = tuple(Input(name=name, value=value) for name, value in inputs.items())
        self.components.append(
            Component.model_validate(
                {"category": category, "definition": definition, "order": order, "block": block, "inputs": given}
            )
        )
        return order

    def call(self, node: ast.expr | None, block: int | None) -> int:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise _unknown(node)
        inputs = {}
        if node.func.id == USER_TASK:
            texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            inputs = {TASK_INPUT: texts[0] if texts else ""}
        return self.add(node.func.id, block, inputs, "action")

    # -- conditions ----------------------------------------------------------------------------

    def condition(self, node: ast.expr, positive: bool = True) -> str:
        """As an encoded query: ``^`` binds weaker than ``^OR``, ``^NQ`` weakest."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self.condition(node.operand, not positive)
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(value, positive) for value in node.values]
            both = isinstance(node.op, ast.And) == positive
            if both and not any("^NQ" in part for part in parts):
                return "^".join(parts)
            if not both:
                return ("^NQ" if any("^" in part.replace("^OR", "") for part in parts) else "^OR").join(parts)
            raise _unknown(node)
        return self.atom(node, positive)

    def atom(self, node: ast.expr, positive: bool) -> str:
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, operator, right = node.left, node.ops[0], node.comparators[0]
            name = _COMPARED.get(type(operator))
            if isinstance(operator, ast.In | ast.NotIn):
                positive = positive == isinstance(operator, ast.In)
                if isinstance(right, ast.List | ast.Tuple | ast.Set):
                    return self._term(left, "IN", ",".join(self.value(part) for part in right.elts), positive)
                return self._term(right, "LIKE", self.value(left), positive)
            if isinstance(operator, ast.Is | ast.IsNot):
                name = "=" if isinstance(operator, ast.Is) else "!="
            if name is not None:
                if isinstance(right, ast.Constant) and right.value in (None, ""):
                    name = "ISEMPTY" if name == "=" else "ISNOTEMPTY"
                    return self._term(left, name, "", positive)
                return self._term(left, name, self.value(right), positive)
        return self._term(node, "ISNOTEMPTY", "", positive)

    def _term(self, left: ast.expr, operator: str, value: str, positive: bool) -> str:
        return f"{{{{{self.path(left)}}}}}{operator if positive else _OPPOSITE[operator]}{value}"

    def value(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name) and node.id in {"true", "false", "null"}:
            return node.id if node.id != "null" else ""
        if isinstance(node, ast.Constant):
            return str(node.value).lower() if isinstance(node.value, bool) else str(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return f"-{node.operand.value!r}"
        return f"{{{{{self.path(node)}}}}}"

    def path(self, node: ast.expr) -> str:
        """The pill of a name with its fields; a name that nothing was given to is a field of nothing."""
        fields: list[str] = []
        while True:
            if isinstance(node, ast.Attribute):
                fields.append(node.attr)
                node = node.value
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                fields.append(str(node.slice.value))
                node = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
                fields.append("length")
                node = node.args[0]
            else:
                break
        if not isinstance(node, ast.Name) or node.id not in self.names:
            raise _unknown(node)
        return ".".join([self.names[node.id], *reversed(fields)])


def _unknown(node: ast.AST | None) -> InvalidScript:
    text = ast.unparse(node).partition("\n")[0] if node is not None else "nothing"
    return InvalidScript(f"line {getattr(node, 'lineno', 1)}: a flow cannot say {text!r}")
