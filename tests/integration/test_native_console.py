"""The container's terminal: a pty of its own devpts and of nothing else, whatever is below /dev/pts (CVE-2025-52565)."""

from __future__ import annotations

import os
import re
import time

import pytest
from native_bundle import CAPABILITIES, make_rootfs, mount, write_config
from test_native_hostile import trace

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


FAKES = {
    "file": "echo image > /dev/pts/ptmx",
    "nothing": "true",
    "link": "ln -s /dev/null /dev/pts/ptmx",
    "magic link": "ln -s /proc/self/fd/0 /dev/pts/ptmx",
    "fifo": "mkfifo /dev/pts/ptmx",
    "multiplexer elsewhere": "mknod /dev/pts/ptmx c 5 2; mkdir /dev/pts/pts",
    "null": "mknod /dev/pts/ptmx c 1 3",
}


@pytest.mark.row("S8")
@pytest.mark.parametrize("fake", FAKES)
def test_exec_takes_no_terminal_from_what_the_container_made_of_dev_pts(box, fake):
    """Pid 1 may mount, and mounts a directory of its own over /dev/pts."""
    script = f"mount -t tmpfs x /dev/pts; {FAKES[fake]}; echo image > /dev/pts/0; echo done > /tmp/done; sleep 1000"
    config = box.config("sh", "-c", script)
    config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    capabilities = [*CAPABILITIES, "CAP_SYS_ADMIN"]
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    del config["linux"]["seccomp"]
    config["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    pid = box.start(config=config)
    for _ in range(100):
        if os.path.exists(f"/proc/{pid}/root/tmp/done"):
            break
        time.sleep(0.05)
    result = box.call("exec", "--tty", "box", "true")
    assert result.returncode == 255, result
    assert "devpts" in result.stderr or "process.terminal" in result.stderr, result.stderr
    assert box.call("exec", "box", "cat", "/dev/pts/0").stdout == "image\n"


@pytest.mark.row("S8")
@pytest.mark.parametrize("entry", ["run", "exec"])
def test_no_name_of_a_terminal_is_ever_opened(box, tmp_path, entry):
    """The other end comes by TIOCGPTPEER: a name that is swapped in between has no say in it."""
    config = box.config("sh", "-c", "sleep 0.1")
    config["process"]["terminal"] = entry == "run"
    if entry == "run":
        write_config(box.bundle, config)
        calls = trace(
            box, tmp_path, "run", "-b", str(box.bundle), "box", which="%file,openat2,ioctl,open_tree,mount"
        )
    else:
        box.start("sleep", "1000")
        calls = trace(
            box, tmp_path, "exec", "--tty", "box", "true", which="%file,openat2,ioctl,open_tree,mount"
        )
    lines = [line for lines in calls.values() for line in lines]
    assert any("TIOCGPTPEER" in line for line in lines), lines
    assert not [line for line in lines if re.search(r"pts/\d", line.split("=")[0])]


@pytest.mark.row("S8")
def test_console_is_the_slave_of_the_containers_devpts(box):
    config = box.config(
        "sh",
        "-c",
        "tty; stat -c '%u %a %t %d' $(tty); stat -c '%t %d' /dev/console /dev/pts/ptmx; readlink /proc/self/fd/1",
    )
    config["process"].update(terminal=True, user={"uid": 1000, "gid": 1000})
    config["linux"]["maskedPaths"] = []
    result = box.run(config)
    assert result.returncode == 0, result
    tty, slave, console, multiplexer, stdout = result.stdout.replace("\r", "").splitlines()
    owner, mode, major, device = slave.split()
    assert (tty, stdout) == ("/dev/pts/0", "/dev/pts/0")
    assert (owner, mode, major) == ("1000", "620", "88")
    assert console == f"88 {device}"
    assert multiplexer == f"5 {device}"
    assert device != str(os.stat("/dev/pts").st_dev)


@pytest.mark.row("S8")
@pytest.mark.parametrize("kind", ["file", "link"])
def test_run_takes_no_terminal_from_the_images_dev_pts(box, rootfs, kind):
    """The image brings /dev/pts, and no devpts is mounted."""
    config = box.config("true")
    config["process"]["terminal"] = True
    config["mounts"] = [each for each in config["mounts"] if each["destination"] not in ("/dev/pts", "/dev")]
    pts = rootfs / "dev/pts"
    pts.mkdir()
    try:
        if kind == "file":
            (pts / "ptmx").write_text("image")
        else:
            (pts / "ptmx").symlink_to("/proc/self/fd/0")
        result = box.run(config)
        assert result.returncode == 1
        assert "devpts" in result.stderr or "process.terminal" in result.stderr
    finally:
        for path in pts.iterdir():
            path.unlink()
        pts.rmdir()
