"""The shim's small parts by themselves."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.shim import interpreter, mounts, packets
from barque.shim.client import ShimClient
from barque.shim.container import Drivers, _with_netns
from barque.shim.container_log import ContainerLog
from barque.shim.crash_log import report_defect
from barque.shim.detach import DetachKeys
from barque.shim.exit_file import Exit, read_exit_file, remove_exit_file, sync_exit_file, write_exit_file
from barque.shim.launching import DriverRef
from barque.shim.loop import Loop
from barque.shim.memory_cgroup import MemoryCgroup
from barque.shim.protocol import MAX_PACKET, ClientAttach, ShimConfig, ShimSettings
from barque.shim.server import listen_at
from barque.spi.common import Mount
from barque.spi.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable

# detach keys


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_keys_that_are_not_the_sequence_all_pass(chunks):
    keys = DetachKeys("ctrl-p,ctrl-q")
    typed = b"".join(chunks).replace(b"\x10", b"p")
    passed = b""
    for chunk in chunks:
        out, leaves = keys.scan(chunk.replace(b"\x10", b"p"))
        assert not leaves
        passed += out
    assert passed == typed


@given(st.binary(max_size=20), st.integers(0, 20))
def test_the_sequence_is_found_wherever_reads_divide_it(before, cut):
    before = before.replace(b"\x10", b"").replace(b"\x11", b"")
    typed = before + b"\x10\x11"
    keys = DetachKeys("")
    first, left_early = keys.scan(typed[:cut])
    if left_early:
        assert first == before
        return
    second, leaves = keys.scan(typed[cut:])
    assert leaves
    assert first + second == before


def test_the_beginning_of_the_sequence_is_given_back_when_it_goes_on_otherwise():
    keys = DetachKeys("a,b")
    assert keys.scan(b"xa") == (b"x", False)
    assert keys.scan(b"c") == (b"ac", False)
    assert keys.scan(b"aab") == (b"a", True)


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-1", "ab", "a,,b", "ü", "alt-a"])
def test_keys_nobody_can_type_are_refused(keys):
    with pytest.raises(InvalidArgument, match="invalid detach keys"):
        DetachKeys(keys)


# exit file


def test_the_exit_file_is_whole_or_not_there(tmp_path):
    assert read_exit_file(str(tmp_path)) is None
    directory = os.open(tmp_path, os.O_RDONLY)
    write_exit_file(directory, Exit(3, 42, True))
    assert read_exit_file(str(tmp_path)) == {"code": 3, "time_ns": 42, "oom": True}
    assert os.listdir(tmp_path) == ["exit.json"]
    remove_exit_file(directory)
    remove_exit_file(directory)
    assert os.listdir(tmp_path) == []
    os.close(directory)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"code": "x", "time_ns": 1, "oom": false}', b"\xff"]
)
def test_a_damaged_exit_file_is_none(tmp_path, content):
    (tmp_path / "exit.json").write_bytes(content)
    assert read_exit_file(str(tmp_path)) is None


def test_the_exit_file_is_synced_with_its_directory_and_may_be_gone(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    directory = os.open(tmp_path, os.O_RDONLY)
    sync_exit_file(directory)
    assert synced == []
    write_exit_file(directory, Exit(3, 42, True))
    assert synced == []
    sync_exit_file(directory)
    assert synced == [str(tmp_path / "exit.json"), str(tmp_path)]
    os.close(directory)


def test_an_exit_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text('{"code": 0, "time_ns": 1, "oom": false}')
    (tmp_path / "exit.json").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        read_exit_file(str(tmp_path))


# packets


@pytest.fixture
def pair():
    ends = packets.pair()
    yield ends
    for end in ends:
        end.close()


def test_a_packet_carries_descriptors_that_are_closed_on_exec(pair, tmp_path):
    (tmp_path / "f").write_text("content")
    with open(tmp_path / "f") as file:
        packets.send(pair[0], {"op": "x"}, [file.fileno()])
    message, fds = packets.receive(pair[1])
    assert message == {"op": "x"}
    assert os.read(fds[0], 100) == b"content"
    assert not os.get_inheritable(fds[0])
    packets.close_all(fds)


def test_the_end_of_a_connection_is_none(pair):
    pair[0].close()
    assert packets.receive(pair[1]) is None


@pytest.mark.parametrize("data", [b"\xff", b"[]", b"nul", b"1", b"[" * 50_000])
def test_what_is_no_object_is_refused_and_its_descriptors_are_closed(pair, data):
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(pair[0], [data], [0])
    with pytest.raises(InvalidArgument):
        packets.receive(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_packet_that_is_too_long_is_refused_by_both_ends(pair):
    with pytest.raises(InvalidArgument):
        packets.send(pair[0], {"x": "y" * MAX_PACKET})
    pair[0].send(b" " * (MAX_PACKET + 1))
    with pytest.raises(InvalidArgument):
        packets.receive(pair[1])


def test_payloads_are_bounded(monkeypatch):
    fd = packets.write_payload({"a": ["b"] * 1000})
    assert packets.read_payload(fd) == {"a": ["b"] * 1000}
    monkeypatch.setattr(packets, "MAX_PAYLOAD", 100)
    with pytest.raises(InvalidArgument, match="payload"):
        packets.read_payload(fd)
    os.close(fd)


def test_errors_of_the_host_are_told_as_what_they_are():
    full = packets.error_reply(OSError(errno.ENOSPC, "No space left on device"))
    assert full["error"]["class"] == "ResourceExhausted"
    assert packets.error_reply(KeyError("x"))["error"]["message"] == "KeyError: 'x'"
    assert len(json.dumps(packets.error_reply(ValueError("z" * 100_000)))) < MAX_PACKET


# configuration


def config(**fields) -> ShimConfig:
    required = dict.fromkeys(
        ("id", "state", "bundle", "rootfs", "runtime", "runtime_root", "log", "log_directory"), "x"
    )
    return ShimConfig(**{**required, "mounts": (), "spec": {}, **fields})


def test_a_configuration_survives_the_wire_and_a_newer_daemon():
    whole = config(
        mounts=(Mount("overlay", "overlay", ("a=b",), "t"),),
        clients=(ClientAttach(True, True, False, "ctrl-a", "eA=="),),
        console_size=(1, 2),
        group_add=("g",),
        spec={"process": {"args": ["x"]}},
    )
    document = {**json.loads(packets.encode(whole.to_json())), "future": 1}
    assert ShimConfig.from_json(document) == whole


def test_settings_are_what_the_shim_needs():
    settings = ShimSettings(
        **config(mounts=(Mount("tmpfs", "tmpfs"),), clients=(ClientAttach(True, True, True),)).settings()
    )
    assert settings.private_mounts
    assert ClientAttach(**settings.clients[0]) == ClientAttach(True, True, True)
    assert not ShimSettings(**config().settings()).private_mounts


def test_the_place_of_the_network_namespace_is_filled():
    spec = {
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "@netns@"}], "x": 1},
        "y": 2,
    }
    filled = _with_netns(spec, 7)
    assert filled["linux"]["namespaces"][1] == {"type": "network", "path": "/proc/self/fd/7"}
    assert spec["linux"]["namespaces"][1]["path"] == "@netns@"
    with pytest.raises(InvalidArgument):
        _with_netns(spec, None)
    assert _with_netns({"linux": {}}, None) == {"linux": {}}


def test_an_unknown_driver_is_a_precondition_that_failed():
    with pytest.raises(FailedPrecondition, match="no log driver named 'x'"):
        Drivers({}, {}).log("x")


def test_a_driver_reference_needs_no_configuration():
    assert DriverRef("log", "n", "m", "a").config == {}


# mounts


def test_mount_options_become_flags_and_data():
    call = mounts._plan(Mount("tmpfs", "tmpfs", ("ro", "nosuid", "size=5m", "rw", "mode=700")))
    assert (call.kind, call.flags, call.data) == ("tmpfs", 0x1 | 0x2, ("size=5m", "mode=700"))
    assert mounts._plan(Mount("bind", "/a")).flags == 0x1000
    assert mounts._plan(Mount("none", "/a", ("rbind", "ro"))).kind == ""


def test_errors_of_mount_have_the_class_a_user_can_act_on():
    cases = {
        errno.EPERM: "PermissionDenied",
        errno.ENOSPC: "ResourceExhausted",
        errno.ENODEV: "FailedPrecondition",
    }
    for number, name in cases.items():
        error = mounts._refused("mount x", OSError(number, os.strerror(number)))
        assert type(error).__name__ == name
        assert str(error).startswith(f"mount x: {os.strerror(number)}")


# logs


def test_a_failing_log_is_reported_at_once_then_every_ten_seconds_and_in_the_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("barque.shim.container_log.monotonic", lambda: now[0])

    class Full:
        def write(self, stream, data, time_ns):
            raise OSError(errno.ENOSPC, "full")

        def close(self):
            pass

    told = []
    log = ContainerLog(Full, lambda message, lost: told.append(lost))
    for _ in range(5):
        log.write(1, b"12345")
    assert told == [5]
    now[0] += 10
    log.write(2, b"1")
    assert told == [5, 21]
    log.write(2, b"22")
    log.close()
    log.close()
    assert told == [5, 21, 2]


def test_the_crash_log_does_not_grow_without_end(tmp_path):
    directory = os.open(tmp_path, os.O_RDONLY)
    for _ in range(100):
        report_defect(directory, ValueError("x" * 10_000))
    assert 60_000 < (tmp_path / "shim.log").stat().st_size < 140_000
    os.close(directory)


# memory


def test_kills_are_read_from_either_version_and_kept_when_the_cgroup_is_gone(tmp_path):
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n")
    cgroup = MemoryCgroup(os.fsencode(events))
    assert cgroup.kills() == 2
    events.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert cgroup.kills() == 5
    events.unlink()
    assert cgroup.kills() == 5
    assert MemoryCgroup(b"").kills() == 0


# loop


@pytest.fixture
def loop():
    reported = []
    loop = Loop(reported.append)
    loop.reported = reported
    yield loop
    loop.close()


def run_rounds(loop, rounds):
    answers = iter([False] * rounds + [True])
    loop.run(lambda: next(answers))


def test_a_handler_forgotten_in_the_same_round_is_not_called(loop):
    called = []
    pairs = [socket.socketpair() for _ in range(2)]
    for number, (reader, writer) in enumerate(pairs):
        writer.send(b"x")

        def handler(_, number=number):
            called.append(number)
            for other, _ in pairs:
                loop.forget(other.fileno())

        loop.watch(reader.fileno(), 1, handler)
    run_rounds(loop, 1)
    assert len(called) == 1
    for sockets in pairs:
        for end in sockets:
            end.close()


def test_a_defect_costs_its_descriptor_and_is_reported(loop):
    reader, writer = socket.socketpair()
    writer.send(b"x")

    def broken(_):
        raise ValueError("defect")

    loop.watch(reader.fileno(), 1, broken)
    loop.later(0.01, lambda: None)
    run_rounds(loop, 2)
    assert [str(error) for error in loop.reported] == ["defect"]
    reader.close()
    writer.close()


def test_timers_come_in_their_order(loop):
    order = []
    for seconds in (0.02, 0.0, 0.01):
        loop.later(seconds, lambda seconds=seconds: order.append(seconds))
    loop.run(lambda: len(order) == 3)
    assert order == [0.0, 0.01, 0.02]


# the client's side


def listener(directory) -> socket.socket:
    fd = os.open(directory, os.O_RDONLY)
    listening = listen_at(fd)
    os.close(fd)
    listening.setblocking(True)
    return listening


def test_nobody_listens(tmp_path):
    with pytest.raises(NotFound):
        ShimClient.connect(str(tmp_path / "missing"))
    with pytest.raises(NotFound):
        ShimClient.connect(str(tmp_path))
    listener(tmp_path).close()
    with pytest.raises(NotFound):  # a stale socket
        ShimClient.connect(str(tmp_path))
    listener(tmp_path).close()  # is replaced


def test_a_long_path_does_not_matter(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    listening = listener(deep)
    ShimClient.connect(str(deep)).close()
    listening.close()


def test_a_shim_that_does_not_answer_or_goes_is_unavailable(tmp_path):
    listening = listener(tmp_path)
    with (
        ShimClient.connect(str(tmp_path), timeout=0.1) as client,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        client.hello()
    listening.close()


def test_errors_in_replies_are_raised(tmp_path):
    listening = listener(tmp_path)

    def serve():
        fd, _ = listening._accept()
        with socket.socket(fileno=fd) as connection:
            connection.recv(1000)
            packets.send(connection, packets.error_reply(ResourceExhausted("none left", hint="wait")))

    thread = threading.Thread(target=serve)
    thread.start()
    with (
        ShimClient.connect(str(tmp_path)) as client,
        pytest.raises(ResourceExhausted, match="none left") as caught,
    ):
        client.hello()
    assert caught.value.hint == "wait"
    thread.join()
    listening.close()


# the interpreter


@pytest.mark.row("S1")
def test_a_sealed_copy_cannot_be_written_and_runs(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(interpreter.kernel, "open_tree", refuse)
    path = interpreter.interpreter_path()
    fd = interpreter.open_sealed(path)
    with pytest.raises(OSError, match="not permitted"):
        os.write(fd, b"x")
    with pytest.raises(OSError, match=r"not permitted|busy"):
        os.truncate(f"/proc/self/fd/{fd}", 0)
    pid = os.posix_spawn(
        f"/proc/self/fd/{fd}", [path, "-I", "-S", "-E", "-c", "import json; raise SystemExit(7)"], {}
    )
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(fd)
