from __future__ import annotations

import socket
import time

import pytest

from barque.spi.errors import InvalidArgument, PermissionDenied
from barque_image_registry.dial import dial
from barque_image_registry.origin import Origin, PlainHttp, parse_url

HTTPS = Origin("https", "registry.example", 443)


def test_url_parts():
    url = parse_url("https://Host.example:8443/a/b?c=d#e")
    assert url.origin == Origin("https", "host.example", 8443)
    assert url.target == "/a/b?c=d"
    assert "c=d" not in str(url)
    assert str(parse_url("http://[::1]/").origin) == "http://[::1]"


@pytest.mark.parametrize("location", ["https://cdn.example/x", "//cdn.example/x", "/x", "x?y"])
def test_location_is_relative_to_the_url(location):
    joined = parse_url("https://registry.example/v2/a/blobs/b").join(location)
    assert joined.origin.host in ("cdn.example", "registry.example")
    assert joined.origin.scheme == "https"


@pytest.mark.row("S24")
@pytest.mark.parametrize("location", ["http://[::1", "//[", "https://[zz]/", "https://host:99999/"])
def test_location_that_is_no_url_is_an_error_of_the_contract(location):
    with pytest.raises(InvalidArgument):
        parse_url("https://registry.example/v2/").join(location)


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example"])
def test_host_that_no_resolver_takes_is_told_at_once(host):
    """Not when the patience for a slow resolver is over."""
    began = time.monotonic()
    with pytest.raises(socket.gaierror):
        dial(host, 443, 20.0, lambda: None)
    assert time.monotonic() - began < 5


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    "text",
    ["", "ftp://host/", "file:///etc/passwd", "https://", "https://user@host/", "https://user:pass@host/", "https://host:99999/",
     "https://host/a b", "https://host/\r\nX: y", "https://host/\u00e9", "javascript:1", "https://[::1", "unix:///run/x.sock"],
)  # fmt: skip
def test_unusable_url_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_url(text)


@pytest.mark.row("S25")
@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("127.0.0.1", 5000, True), ("127.9.9.9", 80, True), ("::1", 80, True), ("localhost", 5000, True),
        ("LOCALHOST", 5000, True), ("listed.example", 80, True), ("listed.example", 5000, True), ("ported.example", 5000, True),
        ("ported.example", 80, False), ("10.1.2.3", 5000, True), ("11.1.2.3", 5000, False), ("fd00::1", 80, True),
        ("registry.example", 80, False), ("127.0.0.1.example", 80, False), ("localhost.example", 80, False), ("0.0.0.0", 80, False),
    ],
)  # fmt: skip
def test_plain_http_is_for_loopback_and_listed_hosts(host, port, allowed):
    plain = PlainHttp(("listed.example", "ported.example:5000", "10.0.0.0/8", "[fd00::1]:80"))
    assert plain.allows(host, port) is allowed


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    ("target", "before", "allowed"),
    [
        ("https://anywhere.example/token", HTTPS, True),
        ("http://registry.example/token", HTTPS, False),
        ("http://127.0.0.1/token", HTTPS, False),
        ("http://listed.example/token", HTTPS, False),
        ("http://127.0.0.1:1/token", Origin("http", "127.0.0.1", 5000), True),
        ("http://evil.example/token", Origin("http", "127.0.0.1", 5000), False),
        ("http://listed.example/token", Origin("http", "127.0.0.1", 5000), True),
    ],
)
def test_no_downgrade(target, before, allowed):
    plain = PlainHttp(("listed.example",))
    if allowed:
        plain.check(parse_url(target), before, "redirect")
    else:
        with pytest.raises(PermissionDenied, match="not https"):
            plain.check(parse_url(target), before, "redirect")


def test_malformed_network_is_refused():
    with pytest.raises(InvalidArgument, match="insecure_registries"):
        PlainHttp(("10.0.0.0/99",))
