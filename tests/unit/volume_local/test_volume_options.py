"""The options of volume driver `local`, and what becomes of them in mount(2)."""

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument, Unavailable
from barque_volume_local import mounting
from barque_volume_local.options import LocalOptions, parse


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bad": "1"}, 'invalid option: "bad"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"device": "x"}, 'missing required option: "type"'),
        ({"o": "ro"}, 'missing required option: "device"'),
        ({"type": "none", "device": ""}, "missing device in volume options"),
        ({"size": "abc"}, "invalid size: 'abc'"),
        ({"size": "-1"}, "invalid size: '-1'"),
        (
            {"type": "cifs", "device": "//host:445/x"},
            "port not allowed in CIFS device URL, include 'port' in 'o='",
        ),
        ({"type": "none", "device": "a\0b"}, "an option holds a character that is not allowed"),
    ],
)
def test_refusals_are_dockers(options, words):
    with pytest.raises(InvalidArgument) as caught:
        parse(options)
    assert caught.value.message == words


@pytest.mark.parametrize(
    ("text", "size"), [("10m", 10 << 20), ("1.5 GiB", 3 << 29), ("7", 7), ("2KB", 2048), ("0", 0)]
)
def test_sizes(text, size):
    assert parse({"size": text}).size == size


def test_words_become_flags_propagation_and_data():
    assert mounting._flags("ro,nosuid,suid,rbind,rshared,size=1m,,uid=0") == (
        0x1 | 0x1000 | 0x4000,
        [(1 << 20) | 0x4000],
        "size=1m,uid=0",
    )


@pytest.mark.parametrize(
    ("options", "resolved"),
    [
        (LocalOptions("nfs", ":/x", "addr=localhost,rw"), (":/x", "addr=127.0.0.1,rw")),
        (LocalOptions("nfs", ":/x", "rw,addr=10.0.0.1"), (":/x", "rw,addr=10.0.0.1")),
        (LocalOptions("nfs4", ":/x", "addr=::1"), (":/x", "addr=::1")),
        (LocalOptions("cifs", "//localhost/share", "user=a"), ("//127.0.0.1/share", "user=a")),
        (LocalOptions("ext4", "/dev/x", "addr=localhost"), ("/dev/x", "addr=localhost")),
    ],
)
def test_servers_are_looked_up_for_the_kernel(monkeypatch, options, resolved):
    monkeypatch.setattr(
        mounting.socket, "getaddrinfo", lambda host, *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0))]
    )
    assert mounting._resolved(options) == resolved


def test_a_server_that_is_unknown(monkeypatch):
    def unknown(*_arguments, **_more):
        raise OSError("Name or service not known")

    monkeypatch.setattr(mounting.socket, "getaddrinfo", unknown)
    with pytest.raises(Unavailable, match="error resolving passed in network volume address: lookup nas"):
        mounting._resolved(LocalOptions("nfs", ":/x", "addr=nas"))


@pytest.mark.root
def test_a_failed_mount_tells_all_but_the_password(tmp_path):
    with pytest.raises(FailedPrecondition) as caught:
        mounting.mount(LocalOptions("no-such-fs", "//h/s", "ro,user=a,password=secret,x=1"), str(tmp_path))
    assert caught.value.message == (
        f"error while mounting volume '{tmp_path}': failed to mount local volume: mount //h/s:{tmp_path}, "
        "flags: 0x1, data: user=a,password=********,x=1: no such device"
    )


@pytest.mark.root
def test_nfs_goes_as_far_as_the_kernel_lets(tmp_path):
    """Nobody serves it: the kernel, or its lack of nfs, says so, and nothing stays mounted."""
    with pytest.raises(FailedPrecondition, match="failed to mount local volume: mount :/x:"):
        mounting.mount(
            LocalOptions("nfs", ":/x", "addr=127.0.0.1,nfsvers=4,timeo=1,retrans=0,soft"), str(tmp_path)
        )
    assert mounting.mounted_below(str(tmp_path)) == []


@pytest.mark.root
def test_a_read_only_bind_is_detached_again(tmp_path):
    source, place = tmp_path / "source", tmp_path / "a place"
    source.mkdir()
    place.mkdir()
    mounting.mount(LocalOptions("none", str(source), "bind,ro"), str(place))
    try:
        assert mounting.mounted_below(str(tmp_path)) == [str(place)]
        with pytest.raises(OSError, match="Read-only"):
            (place / "f").touch()
    finally:
        assert mounting.detach(str(place))
    assert not mounting.detach(str(place))
