"""The one grammar of methods and parts in texts: `name`, `name(0.25, c=4)`, `name:key=value;key=value`."""

from __future__ import annotations

import ast
import io
import tokenize
from typing import Any, NamedTuple

from redundancy.checks import described

WRONG = (
    '{} given, expected a name with plain values as settings: "fastvid(retention=0.25, c=4)" or '
    '"fastvid:retention=0.25;c=4"'
)


class Call(NamedTuple):
    """A name with its settings in order and by name; a value is plain, or a `Call` for a part with settings."""

    name: str
    given: list[Any]
    named: list[tuple[str, Any]]


def parsed(text: str) -> Call:
    """What a text says, nothing of it evaluated.

    Raises
    ------
    ValueError
        If it follows no form of the grammar.
    """
    wrong = WRONG.format(described(text))
    at = min((i for i in (text.find("("), text.find(":")) if i >= 0), default=len(text))
    name, rest = text[:at].strip(), text[at:].strip()
    if not rest:
        return Call(name, [], [])
    try:
        if rest == ":":
            raise ValueError(wrong)
        if rest.startswith(":"):
            rest = f"({_commas(rest[1:])})"
        call = ast.parse("f" + rest, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError(wrong)
        return _call(name, call)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        raise ValueError(wrong) from None


def written(value: Any) -> str:
    """A plain value as a text that reads back as it: words without quotes where they need none, numbers short."""
    if isinstance(value, str) and value.isidentifier() and value not in ("None", "True", "False"):
        return value
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return repr(value)


def _commas(settings: str) -> str:
    """Settings behind a colon with commas between them; a semicolon inside quotes stays."""
    tokens = list(tokenize.generate_tokens(io.StringIO(settings).readline))
    found = list(settings)
    for token in tokens:
        if token.type == tokenize.OP and token.string == ";" and token.start[0] == 1:
            found[token.start[1]] = ","
    return "".join(found)


def _call(name: str, call: ast.Call) -> Call:
    if any(k.arg is None for k in call.keywords):
        raise ValueError(name)
    return Call(name, [_value(a) for a in call.args], [(str(k.arg), _value(k.value)) for k in call.keywords])


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, node)
    return ast.literal_eval(node)
