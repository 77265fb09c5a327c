"""`HostConfig.SecurityOpt`."""

from __future__ import annotations

from dataclasses import dataclass

from barque.spi.errors import InvalidArgument
from barque_api_docker.fields import Fields, parse_json

__all__ = ["SecurityOptions", "security_options"]

_TRUE = frozenset({"", "1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(slots=True)
class SecurityOptions:
    """What the options ask for, as fields of a `ContainerConfig`."""

    no_new_privileges: bool = False
    seccomp: str = "default"
    apparmor: str = ""
    selinux: tuple[str, ...] = ()
    writable_cgroups: bool = False


def security_options(host: Fields) -> SecurityOptions:
    """All of `SecurityOpt`, the later of two counts. Errors: InvalidArgument in Docker's words."""
    found = SecurityOptions()
    for option in host.texts("SecurityOpt") or ():
        key, value = _split(option)
        if key == "no-new-privileges":
            found.no_new_privileges = _boolean(option, value)
        elif key == "writable-cgroups":
            found.writable_cgroups = _boolean(option, value)
        elif key == "seccomp":
            found.seccomp = _seccomp(value)
        elif key == "apparmor":
            found.apparmor = (
                "" if value == "unconfined" else value
            )  # nobody is confined who does not ask for it
        elif key == "label":
            found.selinux = (*found.selinux, value)
        else:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return found


def _split(option: str) -> tuple[str, str]:
    """`key=value`, in the old way `key:value`, or one of the words that need no value."""
    if option == "disable":
        return "label", option
    mark = "=" if "=" in option else ":"
    key, separator, value = option.partition(mark)
    if not separator and key not in ("no-new-privileges", "writable-cgroups"):
        raise InvalidArgument(f'invalid --security-opt 1: "{option}"')
    return key, value


def _boolean(option: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidArgument(f'invalid --security-opt 2: "{option}"')


def _seccomp(value: str) -> str:
    if value in ("unconfined", "default"):
        return value
    if value in ("", "builtin"):
        return "default"
    if not isinstance(parse_json(value.encode()), dict):
        raise InvalidArgument("decoding seccomp profile failed: a profile is a JSON object")
    return value
