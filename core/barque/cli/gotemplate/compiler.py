"""Text, actions and the blocks they open, compiled to closures: each action becomes a function of the scope it runs in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from barque.cli.gotemplate.functions import FUNCTIONS
from barque.cli.gotemplate.lexer import Token, pieces, tokens
from barque.cli.gotemplate.pipeline import Pipeline, Scope, Step, Value
from barque.cli.gotemplate.values import TemplateError, go_print

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Template"]


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
        scope = Scope(value, functions)
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
        names, assign, value = Pipeline(action).with_variables()
        return _emit(value) if not names else _declare(names[0], assign, value)

    def _body(self, what: str) -> tuple[Step, list[Token]]:
        steps, end = self._steps()
        if end is None:
            raise TemplateError(f"unexpected EOF: {{{{{what}}}}} has no {{{{end}}}}")
        return _sequence(steps), end

    def _conditional(self, head: list[Token], *, rebind: bool) -> Step:
        names, assign, value = Pipeline(head).with_variables()
        then, end = self._body("with" if rebind else "if")
        otherwise: Step | None = None
        if end[0].text == "else":
            if len(end) > 1 and end[1].text in ("if", "with"):
                otherwise = self._conditional(end[2:], rebind=end[1].text == "with")
            else:
                otherwise, end = self._body("else")

        def step(scope: Scope) -> None:
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
        names, assign, value = Pipeline(head).with_variables()
        self._loops += 1
        body, end = self._body("range")
        self._loops -= 1
        otherwise = self._body("else")[0] if end[0].text == "else" else None

        def step(scope: Scope) -> None:
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
    def step(scope: Scope) -> None:
        for one in steps:
            one(scope)

    return step


def _text(text: str) -> Step:
    return lambda scope: scope.output.append(text)


def _emit(value: Value) -> Step:
    return lambda scope: scope.output.append(go_print(value(scope)))


def _raiser(error: type[Exception]) -> Step:
    def step(_scope: Scope) -> None:
        raise error

    return step


def _declare(name: str, assign: bool, value: Value) -> Step:
    return lambda scope: _bind(scope, name, assign, value(scope))


def _bind(scope: Scope, name: str, assign: bool, value: Any) -> None:
    if assign:
        scope.variables[scope.find(name)] = (name, value)
    else:
        scope.variables.append((name, value))
