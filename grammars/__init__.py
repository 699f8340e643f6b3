"""The language as grammars: `flow.lark`, and what it becomes for one instance, step and scope.

Knows texts and types. Knows nothing of models, tokens, or flows as data.
"""
