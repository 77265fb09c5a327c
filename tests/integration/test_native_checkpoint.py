"""checkpoint and restore of barque-runtime, where CRIU works; and what is said where it does not."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from native_bundle import COMMAND, import_paths, make_rootfs, mount, write_config

from barque.testing import need

pytestmark = pytest.mark.root
COUNT = "i=0; while :; do i=$((i+1)); echo $i > /counter/n; sleep 0.05; done"


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def criu():
    """The program; skipped in its own words where it cannot work on this kernel."""
    program = need.tool("criu")
    found = subprocess.run([program, "check"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"criu check: {(found.stderr + found.stdout).splitlines()[0]}")
    return program


@pytest.fixture
def counting(box, tmp_path):
    """A running container that counts into a directory of the host's, bound into it."""
    (tmp_path / "counter").mkdir()
    config = box.config("sh", "-c", COUNT)
    config["mounts"].append(mount("/counter", "bind", str(tmp_path / "counter"), "bind", "rw"))
    box.start(config=config)
    assert count(tmp_path, above=3)
    return config


def count(directory, above, seconds=10.0):
    """The counter, once it is above a number; 0 when that never happens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text = (directory / "counter/n").read_text().strip() if (directory / "counter/n").exists() else ""
        if text and int(text) > above:
            return int(text)
        time.sleep(0.05)
    return 0


def restore(box, images, *words):
    """`restore --detach`."""
    pid_file = box.directory / "restored"
    box.detached(
        "restore",
        "-d",
        "-b",
        str(box.bundle),
        "--image-path",
        str(images),
        "--pid-file",
        str(pid_file),
        *words,
        "box",
    )
    return int(pid_file.read_text())


def test_checkpoint_and_restore(box, criu, counting, tmp_path):
    images = tmp_path / "images"
    result = box.call("checkpoint", "--image-path", str(images), "--work-path", str(tmp_path / "work"), "box")
    assert result.returncode == 0, result.stderr + (tmp_path / "work/dump.log").read_text()[-3000:]
    assert box.call("state", "box").returncode == 1, "as runc does, it deletes what it has checkpointed"
    counted = count(tmp_path, above=0)
    pid = restore(box, images, "--work-path", str(tmp_path / "work"))
    state = box.state()
    assert (state["status"], state["pid"]) == ("running", pid)
    assert count(tmp_path, above=counted + 3), "it does not go on counting"
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "CapEff:\t00000000a80425fb" in status
    assert f"{box.cgroup}/box" in Path(f"/proc/{pid}/cgroup").read_text()
    inside = box.call("exec", "box", "sh", "-c", "hostname; cat /proc/1/comm; wc -c < /proc/kcore")
    assert inside.stdout.split() == ["box", "sh", "0"], inside


def test_leave_running_and_pre_dump(box, criu, counting, tmp_path):
    first, second = tmp_path / "images/first", tmp_path / "images/second"
    assert box.call("checkpoint", "--pre-dump", "--image-path", str(first), "box").returncode == 0
    assert box.state()["status"] == "running"
    words = ("--parent-path", "../first", "--image-path", str(second), "--leave-running")
    result = box.call("checkpoint", *words, "box")
    assert result.returncode == 0, result.stderr
    assert box.state()["status"] == "running"
    assert count(tmp_path, above=count(tmp_path, above=0) + 3)
    assert box.call("delete", "-f", "box").returncode == 0
    restore(box, second)
    assert count(tmp_path, above=3)


def test_restore_waits_and_deletes(box, criu, tmp_path):
    """Without --detach: the exit status is the program's, and its output goes to whoever restores it."""
    box.start(
        config=box.config("sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo restored; exit 5")
    )
    images = tmp_path / "images"
    assert box.call("checkpoint", "--image-path", str(images), "box").returncode == 0
    (box.rootfs / "tmp/go").touch()
    try:
        words = ("restore", "-b", str(box.bundle), "--image-path", str(images), "box")
        with (tmp_path / "out").open("wb") as out:  # a file, as before: criu restores the position in it
            status = subprocess.run(
                [*COMMAND, "--root", str(box.root), *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                timeout=60, check=False, env={**os.environ, "PYTHONPATH": import_paths()},
            ).returncode  # fmt: skip
    finally:
        (box.rootfs / "tmp/go").unlink()
    told = (tmp_path / "out").read_text()
    assert (status, told) == (5, "restored\n")
    assert box.call("state", "box").returncode == 1


def test_without_criu_the_container_goes_on(box, counting, tmp_path):
    images = tmp_path / "images"
    result = box.call("--criu", "/nonexistent/criu", "checkpoint", "--image-path", str(images), "box")
    assert result.returncode == 1
    assert "criu failed: /nonexistent/criu: program not found (install the package criu)" in result.stderr
    assert box.state()["status"] == "running"
    assert list(images.iterdir()) == []


def test_a_criu_that_cannot_work_here_is_quoted(box, counting, tmp_path):
    """A criu that fails as the real one does on a kernel too new for it."""
    criu = tmp_path / "criu"
    criu.write_text(
        "#!/bin/sh\necho 'Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds' >&2\nexit 1\n"
    )
    criu.chmod(0o755)
    result = box.call("--criu", str(criu), "checkpoint", "--image-path", str(tmp_path / "images"), "box")
    assert result.returncode == 1
    assert "criu failed: vdso: Unexpected rt vDSO area bounds" in result.stderr
    assert box.state()["status"] == "running"


def test_what_criu_is_told(box, counting, tmp_path):
    """Its command line: every mount from outside, the masks, and the standard streams are named as external."""
    words = tmp_path / "words"
    criu = tmp_path / "criu"
    criu.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {words}\n')
    criu.chmod(0o755)
    options = ("--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks", "--leave-running")
    more = ("--manage-cgroups-mode", "full", "--empty-ns", "network", "--auto-dedup")
    images = tmp_path / "images"
    result = box.call("--criu", str(criu), "checkpoint", "--image-path", str(images), *options, *more, "box")
    assert result.returncode == 0, result.stderr
    told = words.read_text().split("\n")
    assert told[:3] == ["dump", "--images-dir", str(images)]
    assert {*options, "--auto-dedup", "--manage-cgroups=full"} <= set(told)
    assert told[told.index("--empty-ns") + 1] == "net"
    assert told[told.index("--tree") + 1] == str(box.state()["pid"])
    assert {"mnt[/counter]:/counter", "mnt[/proc/keys]:/proc/keys"} <= set(told)
    assert not [word for word in told if word.startswith(("mnt[/dev/shm]", "mnt[/proc]", "mnt[/]"))]
    description = json.loads((images / "barque.json").read_text())
    assert description["mounts"]["/counter"] == "bind"
    assert description["mounts"]["/proc/keys"] == "device"
    # standard input is the host's /dev/null, the others are files of the host's
    found = [os.readlink(f"/proc/{box.state()['pid']}/fd/{number}") for number in range(3)]
    assert [each[:5] for each in description["streams"]] == ["file["] * 3, (description, found)


def test_refusals(box, counting, tmp_path):
    for words, said in (
        (("--lazy-pages",), "--lazy-pages is not supported"),
        (("--page-server", "h:1"), "--page-server is not supported"),
        (("--status-fd", "3"), "--status-fd is not supported"),
        (("--manage-cgroups-mode", "x"), "Invalid manage cgroups mode"),
        (("--empty-ns", "mount"), "only network is"),
        (("--parent-path", "/tmp"), "--parent-path must be relative"),
        (("--parent-path", "../nosuch"), "no such directory"),
    ):
        result = box.call("checkpoint", *words, "--image-path", str(tmp_path / "images"), "box")
        assert result.returncode == 1
        assert said in result.stderr
    assert box.state()["status"] == "running"


def test_a_terminal_cannot_be_checkpointed(box, tmp_path):
    config = box.config("sleep", "1000")
    write_config(box.bundle, config)
    box.start(config=config)
    state = box.root / "box/state.json"
    document = json.loads(state.read_text())
    document["config"]["process"]["terminal"] = True
    state.write_text(json.dumps(document))
    result = box.call("checkpoint", "--image-path", str(tmp_path / "images"), "box")
    assert "process.terminal: a container with a terminal cannot be checkpointed" in result.stderr


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"mounts": {"/x": "evil"}, "streams": ["", "", ""]}', '{"mounts": {}, "streams": [1, 2, 3]}'],
)
def test_restore_from_what_is_no_checkpoint_leaves_nothing(box, tmp_path, text):
    images = tmp_path / "images"
    images.mkdir()
    (images / "barque.json").write_text(text)
    write_config(box.bundle, box.config("true"))
    result = box.call(
        "--criu", "/bin/true", "restore", "-b", str(box.bundle), "--image-path", str(images), "box"
    )
    assert result.returncode == 1
    assert "checkpoint" in result.stderr
    assert box.call("state", "box").returncode == 1
    assert not list(Path("/sys/fs/cgroup").glob(f"*{box.cgroup}/box"))


def test_a_failing_restore_leaves_nothing(box, counting, tmp_path):
    """criu names its reason in its log; the runtime removes state and cgroups."""
    images = tmp_path / "images"
    fake = tmp_path / "criu"
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    assert box.call("--criu", str(fake), "checkpoint", "--image-path", str(images), "box").returncode == 0
    fake.write_text(
        '#!/bin/sh\n[ "$1" = check ] && exit 0\n'
        "echo '(00.1) Error (criu/x.c:1): no such thing' > restore.log\ngrep -h counter /proc/self/mountinfo\nexit 1\n"
    )
    work = tmp_path / "work"
    words = ("restore", "-b", str(box.bundle), "--image-path", str(images), "--work-path", str(work), "box")
    result = box.call("--criu", str(fake), *words)
    assert result.returncode == 1
    assert f"criu failed: no such thing (log file: {work}/restore.log)" in result.stderr
    assert box.call("state", "box").returncode == 1
    assert not list(Path("/sys/fs/cgroup").glob(f"*{box.cgroup}/box"))
    assert str(box.rootfs) not in Path("/proc/self/mounts").read_text()


def test_hooks_that_restore_would_not_run_are_named(box, tmp_path):
    config = box.config("true")
    config["hooks"] = {"prestart": [{"path": "/bin/true"}]}
    write_config(box.bundle, config)
    (tmp_path / "checkpoint").mkdir()
    result = subprocess.run(
        [*COMMAND, "--root", str(box.root), "--criu", "/bin/true", "restore", "-b", str(box.bundle), "box"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    assert "hooks.prestart is not run by restore" in result.stderr
