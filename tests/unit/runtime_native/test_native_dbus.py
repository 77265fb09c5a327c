"""D-Bus messages byte for byte, and what systemd is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest

from barque.spi.errors import Conflict, Internal, InvalidArgument, PermissionDenied, Unavailable
from barque_runtime_native.cgroup import dbus
from barque_runtime_native.cgroup.dbus_values import Reader, Writer, split
from barque_runtime_native.cgroup.setting import Setting
from barque_runtime_native.cgroup.systemd import addresses, expand_slice, scope_name, socket_of, split_path
from barque_runtime_native.cgroup.systemd_limits import INFINITY, bits, properties_of


def data(kind, value):
    writer = Writer()
    writer.put(kind, value)
    return bytes(writer.data)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        # the specification's own examples
        ("s", "foo", "03000000 666f6f00"),
        ("s", "+", "01000000 2b00"),
        ("ax", [5], "08000000 00000000 0500000000000000"),
        ("u", 7, "07000000"),
        ("b", True, "01000000"),
        ("g", "a(sv)", "05 6128737629 00"),
        ("v", ("u", 1), "01 75 00 00 01000000"),
        ("ay", [1, 2], "02000000 0102"),
        ("a(sv)", [], "00000000 00000000"),
        ("(yt)", (1, 2), "01 00000000000000 0200000000000000"),
    ],
)
def test_values_as_the_specification_has_them(kind, value, expected):
    assert data(kind, value) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("a(sv)", [("A", ("u", 3)), ("B", ("as", ["x", "é"])), ("C", ("ay", [1]))]),
        ("a(sa(sv))", [("n", [("k", ("b", 1))])]),
        ("a{sv}", [("k", ("t", 1 << 60))]),
        ("(ybnqiuxtds)", (1, 1, -2, 3, -4, 5, -6, 7, 0.5, "z")),
    ],
)
def test_round_trip(kind, value):
    def plain(each):
        if isinstance(each, tuple) and len(each) == 2 and each[0] in ("u", "as", "ay", "b", "t"):
            return each[1]
        return type(each)(map(plain, each)) if isinstance(each, list | tuple) else each

    assert Reader(data(kind, value)).get(kind) == plain(value)


def test_signature_is_split():
    assert split("ssa(sv)a(sa(sv))u") == ["s", "s", "a(sv)", "a(sa(sv))", "u"]


@pytest.mark.parametrize("cut", range(1, 40))
def test_cut_message_is_an_error(cut):
    whole = data("a(sv)", [("Name", ("as", ["value", "other"]))])
    with pytest.raises(ValueError, match="D-Bus"):
        Reader(whole[:-cut] if cut < len(whole) else b"").get("a(sv)")


def test_method_call_byte_for_byte():
    message = dbus.Message(dbus.CALL, {dbus.PATH: "/a", dbus.MEMBER: "M"}, ("x",), 1)
    assert dbus.encode(message, "s") == bytes.fromhex(
        "6c 01 00 01 06000000 01000000 27000000"
        "01 01 6f 00 02000000 2f6100 0000000000"
        "03 01 73 00 01000000 4d00 000000000000"
        "08 01 67 00 01 73 00 00"
        "01000000 7800"
    )


class Bus:
    """The other end of a socket, which says what a test wants."""

    def __init__(self, path, *answers, handshake=(b"DATA\r\n", b"OK 1234\r\n")):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.answers = [*handshake, *answers]
        self.seen = b""
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        connection, _ = self.listener.accept()
        # who has heard enough hangs up
        with connection, contextlib.suppress(OSError):
            for index, answer in enumerate(self.answers):
                self.seen += connection.recv(65536)
                while index == 2 and self.seen.endswith(b"BEGIN\r\n"):
                    self.seen += connection.recv(65536) or b"nothing"
                connection.sendall(answer)
        self.listener.close()


def reply(serial, signature="", *body, kind=dbus.REPLY, **fields):
    named = {getattr(dbus, key): value for key, value in fields.items()}
    return dbus.encode(dbus.Message(kind, {dbus.REPLY_SERIAL: serial, **named}, body, 9), signature)


TARGET = ("d", "/p", "i")


def test_call_and_signal_in_between(tmp_path):
    signal = dbus.encode(dbus.Message(dbus.SIGNAL, {dbus.MEMBER: "Done"}, ("first",), 5), "s")
    bus = Bus(tmp_path / "bus", signal + reply(1, "su", "x", 4))
    connection = dbus.Connection(str(tmp_path / "bus"), direct=True)
    try:
        assert connection.call(TARGET, "M") == ("x", 4)
        assert connection.wait("Done", lambda body: body[0] == "first") == ("first",)
    finally:
        connection.close()
    assert bus.seen.startswith(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")


def test_error_has_a_class_and_words(tmp_path):
    Bus(
        tmp_path / "bus",
        reply(1, "s", "taken", kind=dbus.ERROR, ERROR_NAME="org.freedesktop.systemd1.UnitExists"),
    )
    connection = dbus.Connection(str(tmp_path / "bus"), direct=True)
    try:
        with pytest.raises(Conflict, match="systemd: M: taken"):
            connection.call(TARGET, "M")
    finally:
        connection.close()


def test_user_who_is_not_accepted(tmp_path):
    Bus(tmp_path / "bus", handshake=(b"REJECTED EXTERNAL\r\n",))
    with pytest.raises(PermissionDenied):
        dbus.Connection(str(tmp_path / "bus"), direct=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"x" * 16,
        struct.pack("<cBBBIII", b"l", 2, 0, 1, 1 << 30, 1, 8),
        reply(1, "s", "x")[:16] + b"\xff" * 64,
    ],
)
def test_bytes_that_are_no_message(tmp_path, answer):
    Bus(tmp_path / "bus", answer)
    connection = dbus.Connection(str(tmp_path / "bus"), direct=True)
    try:
        with pytest.raises((Internal, Unavailable)):
            connection.call(TARGET, "M")
    finally:
        connection.close()


def test_silence_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(dbus, "SECONDS", 0.1)
    Bus(tmp_path / "bus", b"", b"")
    connection = dbus.Connection(str(tmp_path / "bus"), direct=True)
    try:
        with pytest.raises(Unavailable):
            connection.call(TARGET, "M")
    finally:
        connection.close()


# Names and limits


@pytest.mark.parametrize(
    ("name", "path"),
    [("system.slice", "/system.slice"), ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"), ("-.slice", "")],
)
def test_slices(name, path):
    assert expand_slice(name, "f") == path


@pytest.mark.parametrize(
    "name", ["", "x", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "../x.slice"]
)
def test_wrong_slices(name):
    with pytest.raises(InvalidArgument, match=r"linux\.cgroupsPath"):
        expand_slice(name, "linux.cgroupsPath")


def test_scopes():
    assert split_path("system.slice:docker:abc", "f") == ("system.slice", "docker", "abc")
    assert scope_name("docker", "abc", "f") == "docker-abc.scope"
    assert scope_name("", "abc", "f") == "abc.scope"
    for prefix, name in (("a", "x.slice"), ("a", "b/c"), ("a", "b" * 300), ("a\n", "b")):
        with pytest.raises(InvalidArgument):
            scope_name(prefix, name, "f")
    for path in ("/a/b", "a:b", "a:b:c:d", "a:b:"):
        with pytest.raises(InvalidArgument, match="slice:prefix:name"):
            split_path(path, "f")


def test_addresses(monkeypatch):
    assert socket_of("unix:path=/run/user/1/bus,guid=12") == "/run/user/1/bus"
    assert socket_of("unix:path=/tmp/a%20b") == "/tmp/a b"
    assert socket_of("unix:abstract=/tmp/x") == "\0/tmp/x"
    assert socket_of("unix:tmpdir=/tmp") == ""
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert addresses(user=False) == [("/run/dbus/system_bus_socket", False), ("/run/systemd/private", True)]
    assert addresses(user=True) == [("/run/user/7/bus", False), ("/run/user/7/systemd/private", True)]
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "tcp:host=x;unix:path=/b")
    assert addresses(user=True)[0] == ("/b", False)


def told(**files):
    return dict(
        properties_of([Setting("", file.replace("__", "."), value, "") for file, value in files.items()])
    )


def test_properties_of_v2():
    found = told(
        memory__max="max",
        memory__low=5,
        pids__max=7,
        cpu__weight=39,
        cpu__max="25000 50000",
        cpuset__cpus="0-1,9",
    )
    assert found == {
        "MemoryMax": ("t", INFINITY),
        "MemoryLow": ("t", 5),
        "TasksMax": ("t", 7),
        "CPUWeight": ("t", 39),
        "CPUQuotaPeriodUSec": ("t", 50000),
        "CPUQuotaPerSecUSec": ("t", 500000),
        "AllowedCPUs": ("ay", [3, 2]),
    }


def test_properties_of_v1():
    found = told(memory__limit_in_bytes=5, cpu__shares=512, cpu__cfs_quota_us=-1, cpuset__cpus="0")
    assert found == {"MemoryLimit": ("t", 5), "CPUShares": ("t", 512), "CPUQuotaPerSecUSec": ("t", INFINITY)}


def test_quota_is_rounded_up_to_what_systemd_keeps():
    assert told(cpu__max="1234 100000")["CPUQuotaPerSecUSec"] == ("t", 20000)


def test_what_systemd_has_no_property_for_is_not_told():
    assert told(**{"io.max": "8:0 rbps=1", "memory.swappiness": 5}) == {}


def test_bits():
    assert bits("0") == [1]
    assert bits("8") == [0, 1]
