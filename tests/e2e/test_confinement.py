"""What a container may not do, through the whole engine (rows S1, S3, S12, S13, S17, S33, S34)."""

import hashlib
import os
import re
import stat
import sys
import time
from pathlib import Path

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

INTERPRETER = Path(os.path.realpath(sys.executable))


@pytest.fixture
def sleeper(daemon):
    id = daemon.docker("run", "-d", IMAGE, "sleep", "1000").stdout.strip()
    yield id
    daemon.docker("rm", "-f", id)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.row("S1")
@pytest.mark.parametrize("how", ["entrypoint", "shebang", "exec"])
def test_our_interpreter_cannot_be_reached_through_proc_self_exe(daemon, sleeper, tmp_path, how):
    before = digest(INTERPRETER)
    # whatever /proc/self/exe of the starting process is, writing to it must fail
    script = tmp_path / "attack"
    script.write_text("#!/proc/self/exe\nopen('/proc/self/exe', 'r+b').write(b'owned')\n")
    script.chmod(0o755)
    volume = ("-v", f"{tmp_path}:/attack")
    if how == "entrypoint":
        result = daemon.docker(
            "run", "--rm", *volume, IMAGE, "/proc/self/exe", "-c", "open('/proc/self/exe','r+b').write(b'x')"
        )
    elif how == "shebang":
        result = daemon.docker("run", "--rm", *volume, IMAGE, "/attack/attack")
    else:
        result = daemon.docker(
            "exec", sleeper, "/proc/self/exe", "-c", "open('/proc/self/exe','r+b').write(b'x')"
        )
    assert result.returncode != 0
    assert digest(INTERPRETER) == before


@pytest.mark.row("S1")
def test_the_shims_executable_is_not_writable_even_for_root(daemon, sleeper):
    pid = daemon.json("GET", f"/containers/{sleeper}/json")["State"]["Pid"]
    shim = parent_of(pid)
    deadline = time.monotonic() + 5
    while (
        b"barque-shim" not in Path(f"/proc/{shim}/cmdline").read_bytes()
    ):  # the worker that started it may still end
        assert time.monotonic() < deadline
        shim = parent_of(pid)
    # while it runs the kernel refuses writes anyway ("Text file busy"): what counts is the mount it was executed from
    fd = os.open(f"/proc/{shim}/exe", os.O_RDONLY)
    try:
        assert os.fstatvfs(fd).f_flag & os.ST_RDONLY
        assert os.readlink(f"/proc/{shim}/exe") != str(INTERPRETER)
    finally:
        os.close(fd)


def parent_of(pid):
    return int(re.search(r"^PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE).group(1))


@pytest.mark.row("S3")
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_the_working_directory_cannot_be_a_leaked_descriptor(daemon, sleeper, verb):
    for number in (*range(32), 64, 255, 1023):
        where = f"/proc/self/fd/{number}"
        command = ("run", "--rm", "-w", where, IMAGE) if verb == "run" else ("exec", "-w", where, sleeper)
        result = daemon.docker(*command, "sh", "-c", "pwd; ls ../../../../../../etc/os-release")
        assert result.returncode != 0, f"{where}: {result.stdout}"
        assert "os-release" not in result.stdout


@pytest.mark.row("S3")
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_program_has_descriptors_0_to_2_only(daemon, sleeper, verb):
    command = ("run", "--rm", IMAGE) if verb == "run" else ("exec", sleeper)
    result = daemon.docker(*command, "ls", "/proc/self/fd")
    assert result.stdout.split() == ["0", "1", "2", "3"], "3 is ls's own"


@pytest.mark.row("S12")
@pytest.mark.row("S13")
def test_run_and_exec_have_the_same_confinement(daemon, sleeper):
    look = ("grep", "-E", "^(Cap|Seccomp|NoNewPrivs)", "/proc/self/status")
    init = daemon.docker("run", "--rm", IMAGE, *look).stdout
    assert daemon.docker("exec", sleeper, *look).stdout == init
    assert "CapInh:\t0000000000000000" in init
    assert "CapAmb:\t0000000000000000" in init
    assert "CapEff:\t00000000a80425fb" in init
    assert "Seccomp:\t2" in init


@pytest.mark.row("S13")
@pytest.mark.parametrize(
    "attack",
    [
        "unshare -m true",
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /sys",
        "mkdir /sys/fs/cgroup/memory/x",
        "echo 1 > /sys/fs/cgroup/memory/notify_on_release",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "mknod /tmp/vda b 254 0 && dd if=/tmp/vda of=/dev/null bs=1 count=1",
        "chroot /proc/1/root/.. true && umount /proc",
        "hostname other",
    ],
)
def test_a_default_container_is_denied(daemon, attack):
    result = daemon.docker("run", "--rm", IMAGE, "sh", "-c", attack)
    assert result.returncode != 0
    assert re.search("denied|not permitted|Read-only|can't", result.stderr), result.stderr


@pytest.mark.row("S17")
def test_masked_files_are_empty_and_directories_too(daemon):
    script = "for f in kcore keys timer_list interrupts; do cat /proc/$f 2>/dev/null | wc -c; done; ls /sys/firmware | wc -l"
    output = daemon.docker("run", "--rm", IMAGE, "sh", "-c", script).stdout.split()
    assert output == ["0"] * 5


@pytest.mark.row("S33")
def test_shim_sockets_are_private_and_none_is_abstract(daemon, sleeper):
    sockets = list((daemon.base / "root" / "containers").glob("*/shim.sock"))
    assert sockets
    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listening = daemon.lab.run("ss", "-xlH").stdout.decode()
    assert "barque" not in "".join(line for line in listening.splitlines() if " @" in line)


@pytest.mark.row("S32")
@pytest.mark.row("S34")
def test_an_unprivileged_user_gets_nowhere(daemon):
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    for path in (daemon.base / "root", daemon.base / "run" / "containers", daemon.base / "run" / "runtime"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.row("S10")
@pytest.mark.parametrize(
    ("user", "expected"), [("1000", "1000"), ("bob", "1000"), ("7:8", "7"), ("4294967294", "4294967294")]
)
def test_user_ids_are_exact(daemon, user, expected):
    assert daemon.docker("run", "--rm", "-u", user, IMAGE, "id", "-u").stdout.strip() == expected


@pytest.mark.row("S10")
@pytest.mark.parametrize("user", ["4294967296", "-1", "nobody-here"])
def test_user_ids_that_are_none_are_errors(daemon, user):
    result = daemon.docker("run", "--rm", f"--user={user}", IMAGE, "id", "-u")
    assert result.returncode == 125
    assert result.stdout == ""
