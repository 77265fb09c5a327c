"""Entries in the journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/), with Docker's fields."""

from __future__ import annotations

import re
import time

from barque.spi.log import CONTAINER_NAME, CONTAINER_TAG, IMAGE_NAME, LogSpec

__all__ = ["PRIORITIES", "encode", "fields"]

PRIORITIES = {"stdout": "6", "stderr": "3"}
_OTHER = re.compile(r"[^A-Z0-9_]")


def fields(spec: LogSpec) -> bytes:
    """What every entry of a container says."""
    known = spec.attributes
    tag = known.get(CONTAINER_TAG) or spec.container_id[:12]
    named = {
        "CONTAINER_ID": spec.container_id[:12],
        "CONTAINER_ID_FULL": spec.container_id,
        "CONTAINER_NAME": known.get(CONTAINER_NAME, ""),
        "CONTAINER_TAG": tag,
        "IMAGE_NAME": known.get(IMAGE_NAME, ""),
        "SYSLOG_IDENTIFIER": tag,
    }
    chosen = {_field(name): value for name, value in known.items()}
    reserved = {*named, "MESSAGE", "PRIORITY", "CONTAINER_PARTIAL_MESSAGE", "SYSLOG_TIMESTAMP", ""}
    extra = {name: value for name, value in chosen.items() if name not in reserved}
    return b"".join(
        _pair(name, value.encode("utf-8", "replace")) for name, value in {**extra, **named}.items()
    )


def encode(constant: bytes, stream: str, text: bytes, partial: bool, time_ns: int) -> bytes:
    """One entry; `constant` is what `fields` gave."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"
    more = _pair("CONTAINER_PARTIAL_MESSAGE", b"true") if partial else b""
    own = _pair("PRIORITY", PRIORITIES[stream].encode()) + _pair("SYSLOG_TIMESTAMP", stamp.encode())
    return constant + own + more + _pair("MESSAGE", text)


def _pair(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
    return b"%b=%b\n" % (name.encode(), value)


def _field(name: str) -> str:
    """A label's name as the journal allows it: upper-case letters, digits and _, no _ or digit at the front, 64 at most."""
    return _OTHER.sub("_", name.upper()).lstrip("_0123456789")[:64]
