"""Docker's list filters: `{"label": ["a=b"]}`, or the old form `{"label": {"a=b": true}}`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from barque.spi.errors import InvalidArgument
from barque.spi.expressions import expression
from barque_api_docker.fields import parse_json

__all__ = ["Filters"]


class Filters:
    """The values asked for, by filter name. A name without values matches everything."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, tuple[str, ...]]) -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str | None, accepted: Collection[str] | None) -> Filters:
        """Read the query parameter `filters`; `accepted` None takes any. Errors: InvalidArgument `invalid filter 'x'`."""
        if not text:
            return cls({})
        try:
            document = parse_json(text.encode("utf-8", "surrogatepass"))
        except InvalidArgument as error:
            raise InvalidArgument("invalid filter", hint=error.message) from None
        if not isinstance(document, dict):
            raise InvalidArgument("invalid filter", hint="the parameter `filters` must be a JSON object")
        for name in document:
            if accepted is not None and name not in accepted:
                raise InvalidArgument(f"invalid filter '{name}'")
        return cls({name: _strings(name, values) for name, values in document.items()})

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def values(self, name: str) -> tuple[str, ...]:
        """What `name` was given; empty when it was not."""
        return self._values.get(name, ())

    def flag(self, name: str) -> bool | None:
        """A filter that is true or false; None when absent. Errors: InvalidArgument."""
        found = {_BOOLEANS.get(value.lower()) for value in self.values(name)}
        if not found:
            return None
        if len(found) > 1 or None in found:
            raise InvalidArgument(f"invalid filter '{name}=[{' '.join(self.values(name))}]'")
        return found.pop()

    def one_of(self, name: str, allowed: Collection[str]) -> None:
        """Errors: InvalidArgument unless all values of `name` are `allowed`."""
        for value in self.values(name):
            if value not in allowed:
                raise InvalidArgument(f"invalid filter '{name}={value}'")

    def exact(self, name: str, *candidates: str) -> bool:
        """True when absent, or when one value equals one of `candidates`."""
        values = self.values(name)
        return not values or any(candidate in values for candidate in candidates)

    def matches(self, name: str, *candidates: str) -> bool:
        """True when absent, or when one value equals, or as a regular expression is found in, one of `candidates`."""
        values = self.values(name)
        if not values or any(candidate in values for candidate in candidates):
            return True
        return any(_found(value)(candidate) for value in values for candidate in candidates)

    def prefixes(self, name: str, *candidates: str) -> bool:
        """True when absent, or when one value begins one of `candidates`."""
        values = self.values(name)
        return not values or any(candidate.startswith(values) for candidate in candidates)

    def labels(self, labels: Mapping[str, str], name: str = "label") -> bool:
        """True when `labels` has all that was asked for (`key` or `key=value`)."""
        return all(_has_label(labels, wanted) for wanted in self.values(name))


_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def _strings(name: str, values: object) -> tuple[str, ...]:
    if isinstance(values, dict):
        values = list(values)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidArgument(f"invalid filter '{name}': its values must be strings")
    return tuple(values)


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _found(text: str) -> Callable[[str], bool]:
    """What is no expression is looked for as it is."""
    try:
        return expression(text)
    except InvalidArgument:
        return lambda subject: text in subject
