"""A template compiled to closures: each action becomes a function of the scope it runs in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from barque.cli.gotemplate.functions import FUNCTIONS, call
from barque.cli.gotemplate.lexer import Token, pieces, tokens
from barque.cli.gotemplate.values import TemplateError, field, go_print

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Template"]


class _Scope:
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


Step = Callable[[_Scope], None]
Value = Callable[[_Scope], "Any"]


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """A parsed template. The constructor raises TemplateError for one that does not parse."""

    def __init__(self, source: str) -> None:
        self._run = _Blocks(source).whole()

    def render(self, value: Any, functions: Mapping[str, Callable[..., Any]] = FUNCTIONS) -> str:
        """The text for `value`. Raises TemplateError when the template does not fit it."""
        scope = _Scope(value, functions)
        self._run(scope)
        return "".join(scope.output)


class _Blocks:
    """Parses text, actions, and the blocks that actions open."""

    def __init__(self, source: str) -> None:
        self._pieces = list(pieces(source))
        self._position = 0
        self._loops = 0

    def whole(self) -> Step:
        steps, end = self._steps()
        if end is not None:
            raise TemplateError(f"unexpected {{{{{end[0].text}}}}}")
        return _sequence(steps)

    def _steps(self) -> tuple[list[Step], list[Token] | None]:
        """Steps up to the `end` or `else` that is not theirs; that action's tokens, or None at the end of input."""
        steps: list[Step] = []
        while self._position < len(self._pieces):
            is_action, inside = self._pieces[self._position]
            self._position += 1
            if not is_action:
                if inside:
                    steps.append(_text(inside))
                continue
            action = tokens(inside)
            if not action:
                raise TemplateError("missing value for command")
            word = action[0].text if action[0].kind == "word" else ""
            if word in ("end", "else"):
                return steps, action
            steps.append(self._action(word, action))
        return steps, None

    def _action(self, word: str, action: list[Token]) -> Step:
        if word == "if" or word == "with":
            return self._conditional(action[1:], rebind=word == "with")
        if word == "range":
            return self._range(action[1:])
        if word in ("break", "continue"):
            if not self._loops:
                raise TemplateError(f"{{{{{word}}}}} outside {{{{range}}}}")
            return _raiser(_Break if word == "break" else _Continue)
        if word in ("define", "template", "block"):
            raise TemplateError(f"{{{{{word}}}}} is not supported in a format")
        names, assign, value = _Pipeline(action).with_variables()
        return _emit(value) if not names else _declare(names[0], assign, value)

    def _body(self, what: str) -> tuple[Step, list[Token]]:
        steps, end = self._steps()
        if end is None:
            raise TemplateError(f"unexpected EOF: {{{{{what}}}}} has no {{{{end}}}}")
        return _sequence(steps), end

    def _conditional(self, head: list[Token], *, rebind: bool) -> Step:
        names, assign, value = _Pipeline(head).with_variables()
        then, end = self._body("with" if rebind else "if")
        otherwise: Step | None = None
        if end[0].text == "else":
            if len(end) > 1 and end[1].text in ("if", "with"):
                otherwise = self._conditional(end[2:], rebind=end[1].text == "with")
            else:
                otherwise, end = self._body("else")

        def step(scope: _Scope) -> None:
            depth, dot = len(scope.variables), scope.dot
            found = value(scope)
            if names:
                _bind(scope, names[0], assign, found)
            if found:
                if rebind:
                    scope.dot = found
                then(scope)
            elif otherwise is not None:
                otherwise(scope)
            scope.dot = dot
            del scope.variables[depth:]

        return step

    def _range(self, head: list[Token]) -> Step:
        names, assign, value = _Pipeline(head).with_variables()
        self._loops += 1
        body, end = self._body("range")
        self._loops -= 1
        otherwise = self._body("else")[0] if end[0].text == "else" else None

        def step(scope: _Scope) -> None:
            depth, dot = len(scope.variables), scope.dot
            items = _items(value(scope))
            for key, item in items:
                del scope.variables[depth:]
                scope.dot = item
                if len(names) == 2:
                    _bind(scope, names[0], assign, key)
                if names:
                    _bind(scope, names[-1], assign, item)
                try:
                    body(scope)
                except _Continue:
                    continue
                except _Break:
                    break
            scope.dot = dot
            del scope.variables[depth:]
            if not items and otherwise is not None:
                otherwise(scope)

        return step


def _items(value: Any) -> list[tuple[Any, Any]]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(number, number) for number in range(value)]
    raise TemplateError(f"range can't iterate over {go_print(value)}")


def _sequence(steps: list[Step]) -> Step:
    def step(scope: _Scope) -> None:
        for one in steps:
            one(scope)

    return step


def _text(text: str) -> Step:
    return lambda scope: scope.output.append(text)


def _emit(value: Value) -> Step:
    return lambda scope: scope.output.append(go_print(value(scope)))


def _raiser(error: type[Exception]) -> Step:
    def step(_scope: _Scope) -> None:
        raise error

    return step


def _declare(name: str, assign: bool, value: Value) -> Step:
    return lambda scope: _bind(scope, name, assign, value(scope))


def _bind(scope: _Scope, name: str, assign: bool, value: Any) -> None:
    if assign:
        scope.variables[scope.find(name)] = (name, value)
    else:
        scope.variables.append((name, value))


class _Pipeline:
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
    def value(scope: _Scope) -> Any:
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

    def value(scope: _Scope) -> Any:
        found: Any = None
        for argument in arguments:
            found = argument(scope)
            if bool(found) == (name == "or"):
                break
        return found

    return value
