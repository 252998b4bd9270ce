"""Arithmetic with names in it, as costs of nodes are written: `0.02 + 0.08 * {megapixels}`.

Numbers, `{names}`, + - * / and parentheses, `min(a, b)` and `max(a, b)`; nothing else, so that a scenario from
somebody else is only ever numbers.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from functools import lru_cache

Lookup = Callable[[str], float]
Evaluate = Callable[[Lookup], float]

LONGEST = 200
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PREFIX = "name_"  # so that `{if}` is a name, not a keyword
_EXAMPLE = 'such as "0.02 + 0.08 * {megapixels}"'
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right if right else 0.0,
}
_FUNCTIONS: dict[str, Callable[[float, float], float]] = {"min": min, "max": max}


@lru_cache(maxsize=1000)
def parse_formula(text: str) -> Evaluate:
    """A function from a lookup of names to the value; ValueError with an example for what is no formula."""
    if len(text) > LONGEST:
        raise ValueError(f"expected a formula of at most {LONGEST} characters, got {len(text)}")
    try:
        tree = ast.parse(_NAME.sub(lambda match: _PREFIX + match[1], text.strip()), mode="eval")
        return _compiled(tree.body)
    except (SyntaxError, RecursionError, _NotArithmeticError):
        raise ValueError(f"expected arithmetic {_EXAMPLE}, got {text!r}") from None


class _NotArithmeticError(Exception):
    pass


def _compiled(node: ast.expr) -> Evaluate:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and math.isfinite(number):
            return lambda _lookup: float(number)
        case ast.Name(id=name) if name.startswith(_PREFIX):
            return lambda lookup: lookup(name.removeprefix(_PREFIX))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compiled(operand)
            return lambda lookup: -inner(lookup)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _binary(_OPERATORS[type(op)], _compiled(left), _compiled(right))
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in _FUNCTIONS:
            return _binary(_FUNCTIONS[name], _compiled(left), _compiled(right))
        case _:
            raise _NotArithmeticError


def _binary(operation: Callable[[float, float], float], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda lookup: operation(left(lookup), right(lookup))
