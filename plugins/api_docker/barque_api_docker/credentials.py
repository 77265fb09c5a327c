"""What `docker login` stored, as it comes with requests: in the header X-Registry-Auth, or as the body of `POST /auth`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from barque.spi.image import Credentials
from barque_api_docker.call import Call

__all__ = ["given_credentials", "read_credentials"]

_MAX_AUTH = 16 << 10


def given_credentials(call: Call) -> Credentials | None:
    """Those of the header. Docker ignores a header it cannot read, and so do we: the request then goes without."""
    header = call.request.headers.get("x-registry-auth", "")
    if not header or len(header) > _MAX_AUTH:
        return None
    try:
        document = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return read_credentials(document) if isinstance(document, dict) else None


def read_credentials(document: Mapping[str, Any]) -> Credentials | None:
    """An AuthConfig; None when nothing is in it. A member that is no printable text counts as absent: tokens become headers."""
    values = {
        name: value if isinstance(value := document.get(key), str) and value.isprintable() else ""
        for name, key in (
            ("username", "username"),
            ("password", "password"),
            ("identity_token", "identitytoken"),
            ("registry_token", "registrytoken"),
        )
    }
    if not values["username"] and isinstance(document.get("auth"), str):
        values["username"], _, values["password"] = _decoded(document["auth"]).partition(":")
    if not any(values.values()):
        return None
    server = document.get("serveraddress")
    return Credentials(**values, server=server if isinstance(server, str) else "")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (ValueError, binascii.Error):
        return ""
