"""The shape of an image's config (OCI image-spec, "config"; Docker's `HealthConfig` and `OnBuild`): checked once, when the image comes in.

Whatever reads a stored config relies on it: an object is an object, a list of strings one. Fields nobody knows are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from barque.spi.errors import InvalidArgument

__all__ = ["check_image_config"]


def check_image_config(config: object) -> None:
    """Errors: InvalidArgument names the first field that is not what the specification says."""
    document = _check("the config", config, _is_object)
    for name in ("architecture", "os", "variant", "created", "author", "docker_version"):
        _check(name, document.get(name), _is_text)
    for number, entry in enumerate(_check("history", document.get("history"), _is_list) or ()):
        item = _check(f"history[{number}]", entry, _is_object)
        for name in ("created", "created_by", "author", "comment"):
            _check(f"history[{number}].{name}", item.get(name), _is_text)
    run = _check("config", document.get("config"), _is_object)
    for name, fits in _RUN.items():
        _check(f"config.{name}", run.get(name), fits)
    health = run.get("Healthcheck") or {}
    _check("config.Healthcheck.Test", health.get("Test"), _is_texts)
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        _check(f"config.Healthcheck.{name}", health.get(name), _is_number)


def _check(name: str, value: Any, fits: Callable[[Any], bool]) -> Any:
    """The value; what is null or missing counts as nothing of its kind, as for Docker."""
    if value is None:
        return {}
    if not fits(value):
        raise InvalidArgument(
            f"malformed image config: {name} is not {_KINDS[fits]}", hint="the image is broken at its source"
        )
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_text_by_text(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values())


_KINDS: Mapping[Callable[[Any], bool], str] = {
    _is_text: "a string", _is_number: "an integer", _is_flag: "a boolean", _is_object: "an object", _is_list: "a list",
    _is_texts: "a list of strings", _is_text_by_text: "an object of strings",
}  # fmt: skip
_RUN: Mapping[str, Callable[[Any], bool]] = {
    "User": _is_text, "WorkingDir": _is_text, "StopSignal": _is_text, "Env": _is_texts, "Entrypoint": _is_texts, "Cmd": _is_texts,
    "Shell": _is_texts, "OnBuild": _is_texts, "Labels": _is_text_by_text, "Volumes": _is_object, "ExposedPorts": _is_object,
    "ArgsEscaped": _is_flag, "Healthcheck": _is_object,
}  # fmt: skip
