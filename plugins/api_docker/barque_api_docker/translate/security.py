"""`HostConfig.SecurityOpt`."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument, NotImplemented
from barque_api_docker.fields import Fields, parse_json

__all__ = ["security_options"]


def security_options(host: Fields) -> tuple[bool, str]:
    """Whether no-new-privileges is set, and the seccomp profile (`default`, `unconfined` or JSON).

    AppArmor and SELinux are not used: only asking for none of them is fine. Errors: InvalidArgument, NotImplemented.
    """
    no_new_privileges, seccomp = False, "default"
    for option in host.texts("SecurityOpt") or ():
        key, value = _split(option)
        if key == "no-new-privileges":
            no_new_privileges = _boolean(option, value)
        elif key == "seccomp":
            seccomp = _seccomp(value)
        elif (key, value) not in (("apparmor", "unconfined"), ("label", "disable")):
            if key not in ("apparmor", "label", "systempaths", "writable-cgroups"):
                raise InvalidArgument(f"invalid --security-opt 2: {option!r}")
            raise NotImplemented(f'HostConfig.SecurityOpt "{option}" is not implemented by barque yet')
    return no_new_privileges, seccomp


def _split(option: str) -> tuple[str, str]:
    """`key=value`, or in the old way `key:value`."""
    mark = "=" if "=" in option else ":"
    key, _, value = option.partition(mark)
    return key, value


def _boolean(option: str, value: str) -> bool:
    if value in ("", "true", "True", "1"):
        return True
    if value in ("false", "False", "0"):
        return False
    raise InvalidArgument(f"invalid --security-opt 2: {option!r}")


def _seccomp(value: str) -> str:
    if value in ("unconfined", "default"):
        return value
    if value in ("", "builtin"):
        return "default"
    if not isinstance(parse_json(value.encode()), dict):
        raise InvalidArgument("decoding seccomp profile failed: a profile is a JSON object")
    return value
