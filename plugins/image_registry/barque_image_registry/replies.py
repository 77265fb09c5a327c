"""What an error answer of a registry means, in Docker's words."""

from __future__ import annotations

import json
from dataclasses import dataclass

from barque.spi.errors import (
    BarqueError,
    InvalidArgument,
    NotFound,
    NotImplemented,
    PermissionDenied,
    Unavailable,
)
from barque_image_registry.connection import BrokenTransfer
from barque_image_registry.retry import Busy, retry_after
from barque_image_registry.transport import Reply

__all__ = ["Subject", "failure"]

_LARGEST_ERROR = 64 << 10
_LONGEST_TEXT = 500
_LATER = frozenset({408, 429, 500, 502, 503, 504})
_DENIED = "denied: requested access to the resource is denied"


@dataclass(frozen=True, slots=True)
class Subject:
    """What was asked for, for messages: `repository` and `image` (with tag or digest) as Docker shows them; whether to put it there."""

    repository: str
    image: str
    pushed: bool = False


def failure(reply: Reply, subject: Subject, authenticated: bool) -> BarqueError | Busy:
    """The error for an answer that is not the wanted one. `Busy` when it is worth another try."""
    code, text = _first_error(reply)
    status = reply.status
    if status in _LATER:
        said = text or f"received unexpected HTTP status: {status}"
        return Busy(f"{reply.url.origin.host}: {said}", retry_after(reply.headers.get("Retry-After")))
    found = (
        _push_failure(reply, code, text, subject)
        if subject.pushed
        else _pull_failure(status, code, text, subject, authenticated)
    )
    return found or Unavailable(
        f"{reply.url}: received unexpected HTTP status {status}" + (f": {text}" if text else "")
    )


def _pull_failure(
    status: int, code: str, text: str, subject: Subject, authenticated: bool
) -> BarqueError | None:
    """A repository one may not see and one that is not there look the same, to Docker's users too: NotFound. PermissionDenied
    is for credentials that were given and refused."""
    if status == 401 and authenticated:
        return PermissionDenied(
            f"unauthorized: {_message(text, code) or 'incorrect username or password'}",
            hint="log in to the registry again",
        )
    if status in (401, 403) or code == "DENIED":
        return NotFound(
            f"pull access denied for {subject.repository}, repository does not exist or may require 'docker login': {_DENIED}",
            hint="check the name, or log in",
        )
    if status == 404 and code == "NAME_UNKNOWN":
        return NotFound(f"repository {subject.repository} not found: {text}", hint="check the name")
    if status == 404 and code == "BLOB_UNKNOWN":
        return NotFound(
            f"{subject.image}: the registry lacks a part of it: {text}", hint="push the image again"
        )
    if status == 404:
        said = text if code == "MANIFEST_UNKNOWN" else "manifest unknown: manifest unknown"
        return NotFound(f"manifest for {subject.image} not found: {said}", hint="check the tag")
    return None


def _push_failure(reply: Reply, code: str, text: str, subject: Subject) -> BarqueError | None:
    status = reply.status
    if status == 401 and "insufficient_scope" not in str(reply.headers.get("WWW-Authenticate")):
        return PermissionDenied(text or "unauthorized: authentication required", hint=_LOG_IN)
    if status in (401, 403) or code == "DENIED":
        return PermissionDenied(text if code == "DENIED" else _DENIED, hint=_LOG_IN)
    if status == 404:
        return NotFound(text or f"repository {subject.repository} not found", hint="check the name")
    if status in (405, 501):
        return NotImplemented(text or f"{reply.url.origin.host} takes no pushes")
    if 400 <= status < 500:
        said = text or f"received unexpected HTTP status {status}"
        return InvalidArgument(f"{reply.url.origin.host} refuses {subject.image}: {said}")
    return None


_LOG_IN = "log in with an account that may push to this repository"


def _first_error(reply: Reply) -> tuple[str, str]:
    """Code and Docker's text of the first error in the body (distribution spec: error codes); empty when there is none."""
    try:
        data = reply.read_at_most(_LARGEST_ERROR)
    except BrokenTransfer:
        # A server that hangs up on a body it refuses may take its words along; the status was there.
        return "", ""
    try:
        document = json.loads(data or b"")
        first = document["errors"][0]
        code, message = str(first["code"]), str(first.get("message") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "", ""
    words = code.lower().replace("_", " ")
    text = f"{words}: {message or words}"
    # The registry's words end up on a terminal.
    return code, "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_TEXT]


def _message(text: str, code: str) -> str:
    return text.partition(": ")[2] if code else ""
