"""The values a template works on (JSON's, and records of columns), and how Go prints and compares them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from barque.cli.errors import CliError
from barque.cli.gotemplate.structs import structure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NO_VALUE", "Record", "TemplateError", "compare", "equal", "field", "go_json", "go_print", "kind"]

NO_VALUE = "<no value>"


# The API's fields that Go knows as slices and as maps: null there prints as an empty one.
_LISTS = frozenset(
    "Aliases Args Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeightDevice "
    "CapAdd CapDrop Cmd Config DNSNames DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch Entrypoint Env "
    "ExecIDs ExtraHosts GroupAdd Layers Links MaskedPaths Mounts Names OnBuild ReadonlyPaths RepoDigests RepoTags "
    "SecurityOpt Shell Ulimits VolumesFrom Warnings".split()
)
_MAPS = frozenset(
    "Annotations Containers Data DriverOpts ExposedPorts Labels Networks Options PortBindings Ports StorageOpt Sysctls "
    "Tmpfs Volumes".split()
)


class _NilList(list["Any"]):
    """A nil slice: empty, and null in JSON."""


class _NilMap(dict[str, "Any"]):
    """A nil map: empty, and null in JSON."""


class _Nil:
    """A nil pointer: false, prints `<nil>`, null in JSON."""

    def __bool__(self) -> bool:
        return False


NIL_LIST = _NilList()
NIL_MAP = _NilMap()
NIL = _Nil()


class TemplateError(CliError):
    """A template that does not parse, or cannot be applied to this value."""

    def __init__(self, message: str) -> None:
        super().__init__(f"template parsing error: template: :1: {message}")


class Record:
    """A row whose fields are computed when a template asks for them.

    `columns` gives a field's value by its name; a value that is callable is a method that takes arguments
    (`{{.Label "x"}}`). `shown` are the fields that `{{json .}}` prints.
    """

    __slots__ = ("_columns", "_row", "_shown")

    def __init__(self, row: Any, columns: Mapping[str, Callable[[Any], Any]], shown: tuple[str, ...]) -> None:
        self._row = row
        self._columns = columns
        self._shown = shown

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> Any:
        return self._columns[name](self._row)

    def document(self) -> dict[str, Any]:
        """The shown fields as a JSON object, names sorted as Go sorts a map's."""
        return {name: self[name] for name in sorted(self._shown)}


def field(value: Any, name: str, label: str) -> Any:
    """`value.name`; `label` is the expression, for messages. A map that lacks the key is an error, like Docker's."""
    if isinstance(value, Record):
        if name not in value:
            raise TemplateError(f'executing "" at <{label}>: can\'t evaluate field {name}')
        found = value[name]
        return NIL if found is None else found
    if isinstance(value, Mapping):
        key = name if name in value else _same_but_case(value, name)
        if key is not None:
            return typed_nil(key) if value[key] is None else value[key]
        raise TemplateError(f'executing "" at <{label}>: map has no entry for key "{name}"')
    if value is None or value is NIL:
        raise TemplateError(f'executing "" at <{label}>: nil pointer evaluating interface {{}}.{name}')
    raise TemplateError(f'executing "" at <{label}>: can\'t evaluate field {name} in type {kind(value)}')


def _same_but_case(value: Mapping[str, Any], name: str) -> str | None:
    """The key that Go's name for it differs from in case only (`ID` is `Id` in the API)."""
    found = [key for key in value if key.lower() == name.lower()]
    return found[0] if len(found) == 1 else None


def typed_nil(name: str) -> Any:
    """What Docker, which knows the types, sees where the API says null: an empty list or map, or a nil pointer."""
    if name in _MAPS:
        return NIL_MAP
    return NIL_LIST if name in _LISTS or "/" in name else NIL


def kind(value: Any) -> str:
    """Go's name for the value's type, for messages."""
    names: tuple[tuple[type, str], ...] = (
        (bool, "bool"),
        (int, "int"),
        (float, "float64"),
        (str, "string"),
        (list, "[]interface {}"),
        (Mapping, "map[string]interface {}"),
    )
    return next(
        (name for cls, name in names if isinstance(value, cls)), "nil" if value is None else "interface {}"
    )


def go_print(value: Any) -> str:
    """The value as fmt.Print shows it."""
    if isinstance(value, str):
        return value
    if value is None:
        return NO_VALUE
    if value is NIL:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Record):
        value = value.document()
    if isinstance(value, Mapping):
        if (fields := structure(value)) is not None:
            return "{" + " ".join(_nested(item) for item in fields) + "}"
        inside = " ".join(f"{go_print(key)}:{_nested(value[key], key)}" for key in sorted(value))
        return f"map[{inside}]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_nested(item) for item in value) + "]"
    return str(value)


def _nested(value: Any, key: str = "") -> str:
    return go_print(typed_nil(key) if value is None else value)


def _float(value: float) -> str:
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    mantissa, separator, exponent = repr(value).partition("e")
    if not separator:
        return mantissa
    return f"{mantissa.removesuffix('.0')}e{exponent[0] if exponent[0] == '-' else '+'}{exponent.lstrip('+-').zfill(2)}"


def go_json(value: Any) -> str:
    """The value as Go's encoder writes it: no spaces, UTF-8."""
    if value is NIL or value is NIL_LIST or value is NIL_MAP:
        return "null"
    if isinstance(value, Record):
        # Docker's rows encode themselves, and Go's encoder then escapes what is special in HTML.
        text = go_json(value.document())
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_document)


def _document(value: Any) -> Any:
    if isinstance(value, Record):
        return value.document()
    raise TemplateError('executing "" at <json>: the value cannot be shown as JSON')


def equal(left: Any, right: Any) -> bool:
    """Go's `eq` of two values."""
    if left is None or right is None:
        return left is right
    _same_kind(left, right)
    return bool(left == right)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1 for Go's lt, le, gt, ge."""
    _same_kind(left, right)
    if isinstance(left, bool | list | Mapping) or left is None:
        raise TemplateError("error calling comparison: invalid type for comparison")
    return int(left > right) - int(left < right)


def _same_kind(left: Any, right: Any) -> None:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if isinstance(left, bool) != isinstance(right, bool) or not (numbers or kind(left) == kind(right)):
        raise TemplateError("error calling comparison: incompatible types for comparison")
