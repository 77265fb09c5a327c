"""What a container may not do, through the whole engine (rows S1, S3, S5, S12, S13, S17, S33, S34)."""

import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from registry_image import IMAGE, add, docker_archive

pytestmark = pytest.mark.root

INTERPRETER = Path(os.path.realpath(sys.executable))


@pytest.fixture
def sleeper(daemon):
    id = daemon.docker("run", "-d", IMAGE, "sleep", "1000").stdout.strip()
    yield id
    daemon.docker("rm", "-f", id)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Whatever process of the container is the host's interpreter: open it for writing by every name that it has.
ATTACK = """
import os
for name in [each for each in os.listdir('/proc') if each.isdigit()] + ['self']:
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
        try:
            fd = os.open(f'/proc/{name}/exe', flags)
        except OSError as error:
            print(name, error.strerror)
        else:
            print(name, 'WRITABLE', os.write(fd, b'owned'))
"""


@pytest.fixture
def interpreter_inside(tmp_path):
    """Volumes with which the interpreter of the host works in the image, and the attack: what a hostile image would bring."""
    script = tmp_path / "attack.py"
    script.write_text(ATTACK)
    shebang = tmp_path / "attack"
    shebang.write_text("#!/proc/self/exe /attack/attack.py\n")
    shebang.chmod(0o755)
    libraries = re.findall(
        r"(/\S+) \(0x",
        subprocess.run(["ldd", INTERPRETER], capture_output=True, text=True, check=True).stdout,
    )
    places = [*libraries, str(Path(os.__file__).parent)]
    volumes = [word for place in places for word in ("-v", f"{os.path.realpath(place)}:{place}:ro")]
    return [*volumes, "-v", f"{tmp_path}:/attack:ro"]


@pytest.mark.row("S1")
@pytest.mark.parametrize("how", ["path", "shebang"])
@pytest.mark.parametrize("entry", ["run", "exec"])
def test_our_interpreter_cannot_be_written_through_proc_self_exe(daemon, interpreter_inside, entry, how):
    """The attack runs, as the interpreter: and is told that what it is executed from is read-only."""
    before = digest(INTERPRETER)
    words = ["/proc/self/exe", "/attack/attack.py"] if how == "path" else ["/attack/attack"]
    if entry == "run":
        result = daemon.docker("run", "--rm", *interpreter_inside, IMAGE, *words)
    else:
        id = daemon.docker("run", "-d", *interpreter_inside, IMAGE, "sleep", "1000").stdout.strip()
        try:
            result = daemon.docker("exec", id, *words)
        finally:
            daemon.docker("rm", "-f", id)
    assert result.returncode == 0, result
    assert "WRITABLE" not in result.stdout
    assert "self Read-only file system" in result.stdout, result
    assert digest(INTERPRETER) == before


LINKS = ["proc", "sys", "dev", "etc", "dev/null", "dev/console", "dev/pts", "dev/shm", "dev/ptmx", "etc/hosts", "etc/hostname",
         "etc/resolv.conf", "etc/mtab", "etc/passwd", "etc/group"]  # fmt: skip


@pytest.mark.row("S5")
@pytest.mark.parametrize("name", LINKS)
def test_image_with_a_link_in_place_of_what_a_start_makes(daemon, tmp_path, name):
    """To a canary of the host's: nothing is made in it, changed or seen, however the start ends."""
    canary = tmp_path / "canary"
    canary.mkdir()
    for each in ("null", "hosts", "hostname", "resolv.conf", "passwd", "group", "secret"):
        (canary / each).write_text("untouched")
    before = {path.name: path.stat() for path in canary.iterdir()}
    image = f"hostile-{name.replace('/', '-')}:1"
    archive = tmp_path / "image.tar"
    target = canary / name.rpartition("/")[2] if "/" in name else canary
    archive.write_bytes(docker_archive(hostile_layer(name, "../" * 20 + str(target)[1:]), image))
    loaded = daemon.docker("load", "-i", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    for terminal in ([], ["-t"]):
        result = daemon.docker(
            "run", "--rm", *terminal, image, "sh", "-c", f"cat {target} {target}/secret /etc/passwd"
        )
        assert "untouched" not in result.stdout
        after = {path.name: path.stat() for path in canary.iterdir()}
        assert {
            key: (info.st_mode, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
            for key, info in after.items()
        } == {
            key: (info.st_mode, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
            for key, info in before.items()
        }
    daemon.docker("rmi", "-f", image)


def hostile_layer(name, target):
    """Static busybox, and one link."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add(tar, "bin", kind=tarfile.DIRTYPE, mode=0o755)
        add(tar, "bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
        for applet in ("sh", "cat", "sleep"):
            add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox")
        if "/" in name:
            add(tar, name.partition("/")[0], kind=tarfile.DIRTYPE, mode=0o755)
        add(tar, name, kind=tarfile.SYMTYPE, link=target)
    return layer.getvalue()


@pytest.mark.row("S1")
def test_the_shims_executable_is_not_writable_even_for_root(daemon, sleeper):
    pid = daemon.json("GET", f"/containers/{sleeper}/json")["State"]["Pid"]
    shim = parent_of(pid)
    deadline = time.monotonic() + 5
    while b"barque-shim" not in command_line(shim):  # the worker that started it may still be about to end
        assert time.monotonic() < deadline
        shim = parent_of(pid)
    # while it runs the kernel refuses writes anyway ("Text file busy"): what counts is the mount it was executed from
    fd = os.open(f"/proc/{shim}/exe", os.O_RDONLY)
    try:
        assert os.fstatvfs(fd).f_flag & os.ST_RDONLY
        assert os.readlink(f"/proc/{shim}/exe") != str(INTERPRETER)
    finally:
        os.close(fd)


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


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
