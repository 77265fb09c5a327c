"""Pipelines: what stands in an action, compiled to a function of the scope it is evaluated in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from barque.cli.gotemplate.functions import FUNCTIONS, call
from barque.cli.gotemplate.lexer import Token
from barque.cli.gotemplate.values import TemplateError, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Pipeline", "Scope", "Step", "Value"]


class Scope:
    """Where a template stands: dot, variables in order of declaration, functions, and the output so far."""

    __slots__ = ("dot", "functions", "output", "variables")

    def __init__(self, dot: Any, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.dot = dot
        self.functions = functions
        self.variables: list[tuple[str, Any]] = [("$", dot)]
        self.output: list[str] = []

    def find(self, name: str) -> int:
        """The index of the innermost variable of this name."""
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                return index
        raise TemplateError(f"undefined variable: {name}")


Step = Callable[[Scope], None]
Value = Callable[[Scope], "Any"]


class Pipeline:
    """Parses one pipeline."""

    def __init__(self, action: list[Token]) -> None:
        self._tokens = action
        self._position = 0

    def with_variables(self) -> tuple[list[str], bool, Value]:
        """The variables that get the result (at most two), whether by `=`, and the pipeline."""
        names: list[str] = []
        assign = False
        marks = [t.text for t in self._tokens[:4]]
        for at, count in ((1, 1), (3, 2)):
            if len(marks) > at and marks[at] in (":=", "=") and (count == 1 or marks[1] == ","):
                names = marks[:at:2]
                assign = marks[at] == "="
                self._position = at + 1
                break
        value = self._pipeline()
        if self._position < len(self._tokens):
            raise TemplateError(f"unexpected <{self._tokens[self._position].text}> in command")
        return names, assign, value

    def _peek(self) -> Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _accept(self, mark: str) -> bool:
        token = self._peek()
        if token is None or token.kind != "mark" or token.text != mark:
            return False
        self._position += 1
        return True

    def _pipeline(self) -> Value:
        value = self._command(None)
        while self._accept("|"):
            value = self._command(value)
        return value

    def _command(self, piped: Value | None) -> Value:
        operands: list[tuple[Value, str]] = []
        function = ""
        while (token := self._peek()) is not None and not (token.kind == "mark" and token.text in "|)"):
            if (
                not operands
                and not function
                and token.kind == "word"
                and token.text not in ("true", "false", "nil")
            ):
                function = token.text
                self._position += 1
                continue
            operands.append(self._operand())
        if function:
            return _function(function, [value for value, _ in operands] + ([piped] if piped else []))
        if not operands:
            raise TemplateError("missing value for command")
        (first, label), rest = operands[0], [value for value, _ in operands[1:]]
        arguments = rest + ([piped] if piped else [])
        return _method(first, label, arguments) if arguments else first

    def _operand(self) -> tuple[Value, str]:
        token = self._tokens[self._position]
        self._position += 1
        label = token.text
        value = self._term(token)
        while (after := self._peek()) is not None and after.kind == "field" and after.glued:
            self._position += 1
            label += after.text
            value = _field(value, after.text[1:], label)
        return value, label

    def _term(self, token: Token) -> Value:
        if token.kind in ("string", "raw", "char", "number"):
            literal = token.value
            return lambda _scope: literal
        if token.kind == "dot":
            return lambda scope: scope.dot
        if token.kind == "field":
            return _field(lambda scope: scope.dot, token.text[1:], token.text)
        if token.kind == "variable":
            return lambda scope: scope.variables[scope.find(token.text)][1]
        if token.kind == "word":
            constants = {"true": True, "false": False, "nil": None}
            if token.text in constants:
                constant = constants[token.text]
                return lambda _scope: constant
            return _function(token.text, [])
        if token.text == "(":
            value = self._pipeline()
            if not self._accept(")"):
                raise TemplateError("unclosed left paren")
            return value
        raise TemplateError(f'unexpected "{token.text}" in operand')


def _field(base: Value, name: str, label: str) -> Value:
    return lambda scope: field(base(scope), name, label)


def _method(base: Value, label: str, arguments: list[Value]) -> Value:
    def value(scope: Scope) -> Any:
        method = base(scope)
        if not callable(method):
            raise TemplateError(f'executing "" at <{label}>: {label} is not a method but has arguments')
        return call(label, method, [argument(scope) for argument in arguments])

    return value


def _function(name: str, arguments: list[Value]) -> Value:
    if name in ("and", "or"):
        return _shortcut(name, arguments)
    if name not in FUNCTIONS:
        raise TemplateError(f'function "{name}" not defined')
    return lambda scope: call(name, scope.functions[name], [argument(scope) for argument in arguments])


def _shortcut(name: str, arguments: list[Value]) -> Value:
    if not arguments:
        raise TemplateError(f"wrong number of args for {name}: want at least 1 got 0")

    def value(scope: Scope) -> Any:
        found: Any = None
        for argument in arguments:
            found = argument(scope)
            if bool(found) == (name == "or"):
                break
        return found

    return value
