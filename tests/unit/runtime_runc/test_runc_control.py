"""Pause, update, statistics, checkpoint against a fake runtime: what is called, what is not, and what is left."""

from __future__ import annotations

import json
import os

import pytest

from barque.spi import errors
from barque.spi.runtime import RuntimeCheckpoint, RuntimeExec, Stdio
from barque_runtime_runc import checkpointing, plugin
from barque_runtime_runc.cgroups import ContainerCgroups


def state(status):
    return {"state": {"stdout": json.dumps({"status": status, "pid": 4242, "bundle": "/b"})}}


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """The container's cgroup: a v2 directory of the test."""
    directory = tmp_path / "cgroup"
    directory.mkdir()
    files = {"cgroup.events": "frozen 1\n", "cgroup.controllers": "cpu memory pids\n", "pids.max": "64\n"}
    for name, text in {**files, "cgroup.procs": "4242\n", "cgroup.freeze": "1\n"}.items():
        (directory / name).write_text(text)
    monkeypatch.setattr(plugin, "find_cgroups", lambda path, init: ContainerCgroups({}, str(directory)))
    return directory


@pytest.fixture
def root(driver, request_of):
    """The root of a driver with container c1."""
    request = request_of()
    driver.runtime_create(request)
    return request.root


def verbs(fake):
    known = {"create", "state", "pause", "resume", "update", "kill", "checkpoint", "restore", "delete"}
    return [next(word for word in call["args"] if word in known) for call in fake.calls()][1:]


@pytest.mark.usefixtures("cgroup")
@pytest.mark.parametrize(
    ("status", "pause", "resume"),
    [("running", ["state", "pause"], ["state"]), ("paused", ["state"], ["state", "resume"])],
)
def test_pause_and_resume_call_what_is_needed(driver, fake, root, status, pause, resume):
    fake.behave(verbs=state(status))
    driver.runtime_pause("c1", root)
    assert verbs(fake) == pause
    driver.runtime_resume("c1", root)
    assert verbs(fake) == pause + resume


@pytest.mark.usefixtures("cgroup")
@pytest.mark.parametrize("status", ["created", "stopped"])
def test_what_does_not_run_cannot_be_paused(driver, fake, root, status):
    fake.behave(verbs=state(status))
    for hook in (driver.runtime_pause, driver.runtime_resume):
        with pytest.raises(errors.Conflict, match=status):
            hook("c1", root)


def test_kill_thaws(driver, root, cgroup):
    driver.runtime_kill("c1", root, 15, False)
    assert (cgroup / "cgroup.freeze").read_text() == "1\n"
    driver.runtime_kill("c1", root, 9, False)
    assert (cgroup / "cgroup.freeze").read_text().startswith("0")


@pytest.mark.usefixtures("cgroup")
def test_paused_container_is_not_deleted_without_force(driver, fake, root, tmp_path):
    os.mkdir(tmp_path / "root/state/c1")
    fake.behave(verbs=state("paused"))
    with pytest.raises(errors.Conflict):
        driver.runtime_delete("c1", root, False)


def test_exec_in_a_paused_container(driver, fake, root):
    for message in ("the container `c1` is paused", "exec failed: cannot exec in a paused container (use …)"):
        fake.behave(error=message)
        with pytest.raises(errors.Conflict):
            driver.runtime_exec(RuntimeExec("c1", root, {"args": ["x"]}, Stdio(0, 1, 2)))


@pytest.mark.usefixtures("cgroup")
def test_update_reads_its_document_from_memory(driver, fake, root):
    fake.behave(verbs=state("running"))
    driver.runtime_update("c1", root, {"pids": {"limit": 5}, "devices": [{"allow": True}]})
    assert verbs(fake) == ["state", "update"]
    args = fake.calls()[-1]["args"]
    assert args[args.index("--resources") + 1].startswith(f"/proc/{os.getpid()}/fd/")
    assert json.loads((fake.directory / "resources").read_text()) == {"pids": {"limit": 5}}


@pytest.mark.usefixtures("cgroup")
def test_update_of_nothing_calls_nothing(driver, fake, root):
    fake.behave(verbs=state("running"))
    driver.runtime_update("c1", root, {"devices": [{"allow": True}], "memory": {}})
    assert verbs(fake) == ["state"]


@pytest.mark.usefixtures("cgroup")
@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ("writing file `memory.max`: Device or resource busy", errors.ResourceExhausted, "memory.max"),
        (
            "unable to set memory limit to 1 (current usage: 2, peak usage: 3)",
            errors.ResourceExhausted,
            "limit",
        ),
        ("writing file `pids.max`: Invalid argument", errors.InvalidArgument, "linux.resources.pids.limit"),
        ("container not running", errors.Conflict, "not running"),
    ],
)
def test_update_that_the_kernel_refuses(driver, fake, root, message, kind, text):
    fake.behave(verbs={**state("running"), "update": {"error": message}})
    with pytest.raises(kind) as raised:
        driver.runtime_update("c1", root, {"pids": {"limit": 5}})
    assert type(raised.value) is kind
    assert text in raised.value.message


@pytest.mark.usefixtures("cgroup")
def test_stopped_container_has_no_statistics_limits_or_processes(driver, fake, root):
    fake.behave(verbs=state("running"))
    assert driver.runtime_processes("c1", root) == (4242,)
    assert driver.runtime_stats("c1", root).pids_limit == 64
    fake.behave(verbs=state("stopped"))
    assert driver.runtime_processes("c1", root) == ()
    with pytest.raises(errors.Conflict):
        driver.runtime_stats("c1", root)
    with pytest.raises(errors.Conflict):
        driver.runtime_update("c1", root, {"pids": {"limit": 5}})


@pytest.fixture
def criu(monkeypatch):
    monkeypatch.setattr(checkpointing, "find_program", lambda name: f"/usr/sbin/{name}")


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image").mkdir()
    return str(tmp_path / "image")


@pytest.mark.usefixtures("criu")
def test_checkpoint_ends_the_container_which_is_still_known(driver, fake, root, image):
    fake.behave(verbs={**state("running"), "checkpoint": {"files": {"pages.img": "pages"}}})
    driver.runtime_checkpoint(RuntimeCheckpoint("c1", root, image, tcp_established=True, shell_job=True))
    args = fake.calls()[-1]["args"]
    assert args[args.index("--image-path") + 1] == image
    assert {"--tcp-established", "--shell-job"} <= set(args)
    assert not {"--leave-running", "--file-locks", "--ext-unix-sk"} & set(args)
    assert os.listdir(image) == ["pages.img"]
    assert sorted(os.listdir(f"{root}/work/c1")) == ["cgroups", "ended", "pid"]
    found = driver.runtime_state("c1", root)
    assert (found.status, found.pid, found.bundle) == ("stopped", 0, "/b")
    driver.runtime_kill("c1", root, 9, True)
    driver.runtime_delete("c1", root, False)
    with pytest.raises(errors.NotFound):
        driver.runtime_state("c1", root)


@pytest.mark.usefixtures("criu")
def test_checkpoint_that_fails_leaves_an_empty_directory_and_tells_why(driver, fake, root, image):
    log = "(00.1) pid 1\n(00.2) Error (criu/sockets.c:1): connected TCP socket\n"
    failing = {"error": "criu failed: type NOTIFY", "files": {"pages.img": "pages", "dump.log": log}}
    fake.behave(verbs={**state("running"), "checkpoint": failing})
    with pytest.raises(errors.FailedPrecondition, match=r"Error .criu/sockets.c:1.: connected TCP socket"):
        driver.runtime_checkpoint(RuntimeCheckpoint("c1", root, image, leave_running=True))
    assert os.listdir(image) == []
    assert sorted(os.listdir(f"{root}/work/c1")) == ["cgroups", "pid"]


@pytest.mark.usefixtures("criu")
def test_runtime_without_checkpoints_is_told(driver, fake, root, image, request_of):
    message = "unknown command checkpoint"
    fake.behave(verbs={**state("running"), "checkpoint": {"error": message}, "restore": {"error": message}})
    with pytest.raises(errors.FailedPrecondition, match="unknown command"):
        driver.runtime_checkpoint(RuntimeCheckpoint("c1", root, image))
    with pytest.raises(errors.FailedPrecondition, match="unknown command"):
        driver.runtime_restore(request_of(id="c2"), image)
    assert os.listdir(f"{root}/work") == ["c1"]


def test_criu_is_asked_for(driver, fake, root, image, request_of, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    fake.behave(verbs=state("running"))
    with pytest.raises(errors.FailedPrecondition, match="CRIU") as raised:
        driver.runtime_checkpoint(RuntimeCheckpoint("c1", root, image))
    assert "apt install criu" in raised.value.hint
    with pytest.raises(errors.FailedPrecondition, match="CRIU"):
        driver.runtime_restore(request_of(id="c2"), image)


@pytest.mark.usefixtures("criu")
def test_restore_is_a_create_from_an_image(driver, fake, root, image, request_of):
    fake.behave(pid=77)
    request = request_of(id="c2")
    assert driver.runtime_restore(request, image).pid == 77
    args = fake.calls()[-1]["args"]
    assert args.index("restore") < args.index("--detach")
    assert (args[args.index("--image-path") + 1], args[args.index("--bundle") + 1]) == (image, request.bundle)
    assert sorted(os.listdir(f"{root}/work/c2")) == ["cgroups", "pid"]


@pytest.mark.usefixtures("criu")
def test_checkpoint_needs_a_container_that_runs(driver, fake, root, image):
    fake.behave(verbs=state("stopped"))
    with pytest.raises(errors.Conflict):
        driver.runtime_checkpoint(RuntimeCheckpoint("c1", root, image))
    with pytest.raises(errors.NotFound):
        driver.runtime_checkpoint(RuntimeCheckpoint("c9", root, image))
