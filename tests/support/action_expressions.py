"""The part of GitHub's expression language that our actions and workflows use; anything else is an error.

    evaluate("inputs.name != '' && !cancelled()", contexts, functions)
    interpolate("a ${{ github.sha }} b", contexts, functions)

Values are None, bool, int, str, dict and list. Unlike GitHub, which makes unknown contexts an error and unknown
properties null, a property of `inputs`, `env`, `runner` or `needs` that isn't there is an error too: a slip of the pen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["ExpressionError", "evaluate", "interpolate", "is_true", "text_of"]

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>\d+)|(?P<name>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)"
    r"|(?P<sign>==|!=|&&|\|\||[!()]))"
)
_HOLE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_CLOSED = ("inputs", "env", "runner", "needs")
_WORDS = {"true": True, "false": False, "null": None}

Functions = Mapping[str, Callable[[], bool]]


class ExpressionError(Exception):
    """An expression that GitHub would refuse, or that this evaluator does not know."""


def interpolate(text: str, contexts: Mapping[str, Any], functions: Functions) -> str:
    """Replace each `${{ }}`; None becomes an empty text, true and false are words."""
    return _HOLE.sub(lambda hole: text_of(evaluate(hole[1], contexts, functions)), text)


def evaluate(text: str, contexts: Mapping[str, Any], functions: Functions) -> Any:
    """Return an expression's value; `&&` and `||` return one of their sides, as in GitHub's language."""
    whole = _HOLE.fullmatch(text.strip())
    return _Parser(whole[1] if whole else text, contexts, functions).whole()


def is_true(value: Any) -> bool:
    """Tell whether a value counts as true: all but false, 0, '' and null."""
    return value not in (None, False, 0, "")


def text_of(value: Any) -> str:
    """Return a value as text."""
    if isinstance(value, (dict, list)):
        raise ExpressionError(f"{value!r:.80} can't be written as text")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


class _Parser:
    def __init__(self, text: str, contexts: Mapping[str, Any], functions: Functions) -> None:
        self._text, self._contexts, self._functions = text, contexts, functions
        self._tokens = self._split(text)

    def _split(self, text: str) -> list[tuple[str, str]]:
        found, at = [], 0
        while text[at:].strip():
            token = _TOKEN.match(text, at)
            if token is None:
                raise ExpressionError(f"{text.strip()!r}: {text[at:].strip()[:20]!r} is not understood")
            kind = str(token.lastgroup)
            found.append((kind, token[kind]))
            at = token.end()
        return found

    def whole(self) -> Any:
        value = self._either()
        if self._tokens:
            raise ExpressionError(f"{self._text.strip()!r}: {self._tokens[0][1]!r} comes too late")
        return value

    def _either(self) -> Any:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value if is_true(value) else other
        return value

    def _both(self) -> Any:
        value = self._equal()
        while self._take("&&"):
            other = self._equal()
            value = other if is_true(value) else value
        return value

    def _equal(self) -> Any:
        value = self._one()
        for sign in ("==", "!="):
            if self._take(sign):
                return _same(value, self._one()) == (sign == "==")
        return value

    def _one(self) -> Any:
        if self._take("!"):
            return not is_true(self._one())
        if self._take("("):
            value = self._either()
            self._expect(")")
            return value
        kind, word = self._tokens.pop(0) if self._tokens else ("", "")
        if kind == "string":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            return int(word)
        if kind != "name":
            raise ExpressionError(f"{self._text.strip()!r}: a value is missing")
        if self._take("("):
            return self._called(word)
        return _WORDS[word] if word in _WORDS else self._looked_up(word)

    def _called(self, name: str) -> Any:
        if name not in self._functions:
            raise ExpressionError(f"{self._text.strip()!r}: the function {name} is not known here")
        self._expect(")")
        return self._functions[name]()

    def _looked_up(self, path: str) -> Any:
        context, *keys = path.split(".")
        if context not in self._contexts:
            raise ExpressionError(f"{self._text.strip()!r}: there is no context {context} here")
        value = self._contexts[context]
        for at, key in enumerate(keys):
            if context in _CLOSED and at == 0 and key not in value:
                raise ExpressionError(f"{self._text.strip()!r}: {context} has no {key}")
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def _take(self, sign: str) -> bool:
        if self._tokens and self._tokens[0] == ("sign", sign):
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ExpressionError(f"{self._text.strip()!r}: {sign!r} is missing")


def _same(one: Any, other: Any) -> bool:
    """Compare as GitHub does: texts whatever their case, values of unlike types as numbers."""
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    return _number(one) == _number(other)


def _number(value: Any) -> float:
    if isinstance(value, str) and value:
        try:
            return float(value)
        except ValueError:
            return float("nan")  # equal to nothing
    if isinstance(value, (dict, list)):
        raise ExpressionError("objects can't be compared here")
    return float(value or 0)
