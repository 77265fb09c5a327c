"""What a hostile image or container tries against the native runtime, row by row of the acceptance list."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import native_bundle
import pytest
from native_bundle import COMMAND, REPOSITORY, UNIFIED, import_paths, mount, write_config

from barque.testing import need

pytestmark = pytest.mark.root

INTERPRETER = Path(os.path.realpath(sys.executable))


@pytest.fixture
def interpreter_unchanged():
    before = hashlib.sha256(INTERPRETER.read_bytes()).hexdigest()
    yield
    assert hashlib.sha256(INTERPRETER.read_bytes()).hexdigest() == before


# Every process of the container that is the interpreter could be written to: try it, by the names there are.
ATTACK = """
import os
for name in os.listdir('/proc'):
    if not name.isdigit():
        continue
    try:
        link = os.readlink(f'/proc/{name}/exe')
    except OSError as error:
        print(name, 'readlink', error.strerror)
        continue
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
        try:
            fd = os.open(f'/proc/{name}/exe', flags)
        except OSError as error:
            print(name, link, error.strerror)
        else:
            print(name, link, 'WRITABLE')
            os.write(fd, b'owned')
"""


@pytest.fixture
def shared_interpreter(rootfs):
    """The standard library in the image, so that the interpreter works when the container executes it."""
    directory = Path(os.__file__).parent
    target = rootfs / str(directory)[1:]
    target.parent.mkdir(parents=True)
    shutil.copytree(
        directory,
        target,
        ignore=shutil.ignore_patterns("test", "dist-packages", "config-*", "__pycache__", "*.a"),
    )
    for library in re.findall(
        r"(/\S+) \(0x",
        subprocess.run(["ldd", INTERPRETER], capture_output=True, text=True, check=True).stdout,
    ):
        place = rootfs / library[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    (rootfs / "attack.py").write_text(ATTACK)


@pytest.mark.row("S1")
@pytest.mark.parametrize("how", ["path", "shebang"])
@pytest.mark.parametrize("entry", ["run", "exec"])
def test_interpreter_cannot_be_written_through_self_exe(
    box, rootfs, how, entry, shared_interpreter, interpreter_unchanged
):
    (rootfs / "script").write_text("#!/proc/self/exe /attack.py\n")
    (rootfs / "script").chmod(0o755)
    words = ["/proc/self/exe", "/attack.py"] if how == "path" else ["/script"]
    if entry == "run":
        result = box.run(box.config(*words))
    else:
        box.start("sleep", "1000")
        result = box.call("exec", "box", *words)
    assert result.returncode == 0, result
    assert "WRITABLE" not in result.stdout
    assert "Read-only file system" in result.stdout, result


# CVE-2019-5736 as it was used: keep a descriptor of the interpreter, become another program, and write once nobody
# executes the interpreter any more (until then the kernel says "Text file busy", protected or not).
PATIENT = """
import os
os.dup2(os.open('/proc/self/exe', os.O_RDONLY), 9, inheritable=True)
os.execv('/bin/sh', ['sh', '-c',
    'for i in $(seq 100); do echo owned 2>/dev/null >/proc/self/fd/9 && break; sleep 0.05; done; sleep 1000'])
"""
UNPROTECTED = "from barque_runtime_native.command import protected; protected()"


@pytest.fixture
def own_interpreter(tmp_path, monkeypatch):
    """A copy of the interpreter that the runtime is run by: the host's own is always executed by somebody."""
    copy = tmp_path / "python"
    shutil.copy(INTERPRETER, copy)
    monkeypatch.setattr(native_bundle, "COMMAND", [str(copy), *COMMAND[1:]])
    return copy


def changed(path, seconds):
    """Whether the file is another within that time."""
    before = INTERPRETER.read_bytes()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.read_bytes() != before:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.row("S1")
@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("how", ["path", "shebang"])
@pytest.mark.parametrize("entry", ["run", "exec"])
def test_patient_overwrite_of_the_interpreter(
    box, rootfs, how, entry, protected, shared_interpreter, own_interpreter, monkeypatch
):
    """Without the protection the very same attack works: otherwise this test would prove nothing."""
    if not protected:
        monkeypatch.setattr(native_bundle, "COMMAND", [str(own_interpreter), "-c", UNPROTECTED])
    (rootfs / "attack.py").write_text(PATIENT)
    (rootfs / "bin/seq").symlink_to("busybox")
    (rootfs / "script").write_text("#!/proc/self/exe /attack.py\n")
    (rootfs / "script").chmod(0o755)
    words = ["/proc/self/exe", "/attack.py"] if how == "path" else ["/script"]
    if entry == "run":
        box.start(*words)
    else:
        box.start("sleep", "1000")
        box.detached("exec", "-d", "box", *words)
    # unprotected it succeeds within 0.3 s on an idle machine
    assert changed(own_interpreter, 1.5 if protected else 10) is not protected
    monkeypatch.undo()  # the copy may be no program any more; what is left is deleted by the host's interpreter


SCRIPT = REPOSITORY / "plugins/runtime_native/scripts/barque-runtime"


@pytest.fixture
def installed(tmp_path, own_interpreter, monkeypatch):
    """The command as it is installed, a script with what it calls first; what it leaves for later calls is the test's own."""
    binary, left, package = tmp_path / "installed", tmp_path / "left", tmp_path / "package"
    binary.mkdir()
    shutil.copytree(
        REPOSITORY / "plugins/runtime_native/barque_runtime_native", package / "barque_runtime_native"
    )
    for source in (SCRIPT, package / "barque_runtime_native/interpreter/quick_start.py"):
        target = binary / source.name if source == SCRIPT else source
        target.write_text(source.read_text().replace("/run/barque-runtime/.start", str(left)))
    paths = [str(package), str(REPOSITORY / "core")]
    (binary / "barque-runtime-first").write_text(
        f"#!{own_interpreter}\nimport sys\nsys.path[:0] = {paths}\n"
        "from barque_runtime_native.command import main\nmain()\n"
    )
    for path in binary.iterdir():
        path.chmod(0o755)
    monkeypatch.setattr(native_bundle, "COMMAND", [str(binary / "barque-runtime")])
    return left


@pytest.mark.row("S1")
@pytest.mark.parametrize("call", ["first", "quick"])
@pytest.mark.parametrize("how", ["path", "shebang"])
@pytest.mark.parametrize("entry", ["run", "exec"])
def test_patient_overwrite_through_the_installed_command(
    box, rootfs, how, entry, call, shared_interpreter, own_interpreter, installed, monkeypatch
):
    """Of the host's interpreter, whichever way the command came to it: by its own start, or by the quick one."""
    (rootfs / "attack.py").write_text(PATIENT)
    (rootfs / "bin/seq").symlink_to("busybox")
    (rootfs / "script").write_text("#!/proc/self/exe /attack.py\n")
    (rootfs / "script").chmod(0o755)
    words = ["/proc/self/exe", "/attack.py"] if how == "path" else ["/script"]
    if call == "quick":
        assert box.call("--version").returncode == 0
        assert [path for path in installed.iterdir() if os.access(path, os.X_OK)]
    if entry == "run":
        box.start(*words)
    else:
        box.start("sleep", "1000")
        if call == "first":
            shutil.rmtree(installed)
        box.detached("exec", "-d", "box", *words)
    assert not changed(own_interpreter, 1.5)
    monkeypatch.undo()


@pytest.mark.row("S1")
@pytest.mark.parametrize("protected", [True, False])
def test_tracer_finds_only_the_read_only_clone_of_a_joining_process(
    box, protected, monkeypatch, own_interpreter
):
    """With CAP_SYS_PTRACE a container can look at a process that joins it. Opening for truncation tells the two apart:
    the clone says "Read-only file system", a writable file that is executed says "Text file busy"."""
    config = box.config(
        "sh", "-c",
        # a result counts only when the process executed the same file before and after: else its execve came between
        "while :; do for p in /proc/[0-9]*; do l=$(readlink $p/exe); case $l in */busybox|'') ;; "
        "*) e=$( (: > $p/exe) 2>&1); [ \"$l\" = \"$(readlink $p/exe)\" ] && echo \"$l $e\" >>/tmp/tries;; esac; done; done",
    )  # fmt: skip
    for names in config["process"]["capabilities"].values():
        names.append("CAP_SYS_PTRACE")
    config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    box.start(config=config)
    if not protected:
        monkeypatch.setattr(native_bundle, "COMMAND", [str(own_interpreter), "-c", UNPROTECTED])
    tries = ""
    for _ in range(60):
        assert box.call("exec", "box", "true").returncode == 0
        tries = box.call("exec", "box", "sh", "-c", "cat /tmp/tries 2>/dev/null; true").stdout
        if "Read-only file system" in tries or "Text file busy" in tries:
            break
    assert ("Read-only file system" in tries) is protected, tries
    assert ("Text file busy" in tries) is not protected, tries


def trace(box, tmp_path, *words, which="%file,openat2,setns,execve"):
    """The system calls of the runtime that name files, by process."""
    log = tmp_path / "trace"
    subprocess.run(
        [need.tool("strace"), "-f", "-s", "300", "-e", f"trace={which}", "-o", log, *COMMAND, "--root", str(box.root), *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    calls = {}
    for line in log.read_text().splitlines():
        pid, _, call = line.partition(" ")
        calls.setdefault(pid, []).append(call.strip())
    return calls


def after(calls, entry):
    """What each process that entered the container did between that and its program."""
    found = []
    for lines in calls.values():
        inside = next((i for i, line in enumerate(lines) if re.match(entry, line)), None)
        if inside is None and not any(re.match(r"execve\(.*python", line) for line in lines):
            inside = -1  # born inside
        if inside is not None:
            rest = lines[inside + 1 :]
            end = next((i for i, line in enumerate(rest) if line.startswith('execve("/bin')), len(rest))
            found.append(rest[:end])
    assert found
    return [line for lines in found for line in lines]


ALLOWED = re.compile(
    r'(openat\(AT_FDCWD, "/etc/passwd", O_RDONLY\|O_NOCTTY\|O_NONBLOCK\|O_CLOEXEC\)'
    r'|openat\(AT_FDCWD, "/", O_RDONLY\|O_CLOEXEC\|O_PATH\|O_DIRECTORY\)'
    r'|chdir\("/"\)|chdir\("/closed"\)|getcwd\(|mount\("", "\.", .*MS_REC\|MS_SLAVE|umount2\("\.", MNT_DETACH\)|chdir\("/tmp"\)'
    r'|mount_setattr\(\d+, "", AT_EMPTY_PATH'
    # the device that gives out terminals: checked to be one before it is used (S8)
    r'|openat2\(\d+, "dev/pts/ptmx", .*RESOLVE_NO_MAGICLINKS\|RESOLVE_IN_ROOT'
    r'|(newfstatat|faccessat2)\(AT_FDCWD, "/(usr/local/bin|bin)/(sh|nothing)"|newfstatat\(\d+, "", |\+\+\+ |--- |<\.\.\. )'
)


@pytest.fixture
def canaries(rootfs):
    """Files that a careless runtime would load from the image."""
    library = Path(os.__file__).parent
    for name in (
        "os.py",
        "encodings/__init__.py",
        "traceback.py",
        "linecache.py",
        "json/__init__.py",
        "json/decoder.py",
    ):
        path = rootfs / str(library / name)[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("open('/dev/canary', 'w')\n")
    (rootfs / "etc/nsswitch.conf").write_text("passwd: canary\n")
    (rootfs / "etc/ld.so.preload").write_text("/canary.so\n")
    (rootfs / "lib/x86_64-linux-gnu").mkdir(parents=True)
    for name in ("libnss_canary.so.2", "libseccomp.so.2", "libc.so.6"):
        (rootfs / "lib/x86_64-linux-gnu" / name).write_text("canary")


@pytest.mark.row("S2")
@pytest.mark.parametrize("program", ["sh", "nothing", "terminal", "user", "cwd", "namespaces"])
def test_run_opens_nothing_of_the_image(box, rootfs, tmp_path, canaries, program):
    config = box.config(*(["nothing"] if program == "nothing" else ["sh", "-c", "true"]))
    config["process"]["terminal"] = program == "terminal"
    if program == "user":
        config["process"].update(user={"uid": 1000, "gid": 5, "additionalGids": [7]}, noNewPrivileges=True)
        config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    elif program == "cwd":  # an error on the last steps
        (rootfs / "closed").mkdir(0o700)
        config["process"].update(user={"uid": 1000, "gid": 5}, cwd="/closed")
    elif program == "namespaces":
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        config["linux"].update(uidMappings=mapping, gidMappings=mapping, sysctl={})
        config["linux"]["namespaces"] += [{"type": kind} for kind in ("user", "cgroup", "time")]
        for path in (rootfs, *rootfs.rglob("*")):
            os.chown(path, 100000, 100000, follow_symlinks=False)
        tmp_path.chmod(0o755)
    write_config(box.bundle, config)
    calls = trace(box, tmp_path, "run", "-b", str(box.bundle), "box")
    strange = [line for line in after(calls, "pivot_root") if not ALLOWED.match(line)]
    assert strange == []


@pytest.mark.row("S2")
@pytest.mark.parametrize("program", ["sh", "nothing", "terminal", "user"])
def test_exec_opens_nothing_of_the_image(box, tmp_path, canaries, program):
    box.start("sleep", "1000")
    options = {"terminal": ["-t"], "user": ["-u", "1000:5", "-g", "7", "--no-new-privs"]}.get(program, [])
    calls = trace(
        box, tmp_path, "exec", *options, "box", "nothing" if program == "nothing" else "sh", "-c", "true"
    )
    strange = [line for line in after(calls, r"setns\(\d+, .*CLONE_NEWNS") if not ALLOWED.match(line)]
    assert strange == []


@pytest.mark.row("S3")
@pytest.mark.parametrize("entry", ["run", "exec"])
def test_no_descriptor_of_the_host_as_working_directory(box, entry, rootfs):
    (rootfs / "link").symlink_to("/proc/self/fd/7")
    if entry == "exec":
        box.start("sleep", "1000")
    for cwd in [
        *(f"/proc/self/fd/{number}" for number in range(24)),
        "/proc/self/fd/9/../../..",
        "/proc/1/fd/5",
        "/proc/self/cwd/../..",
        "/link",
    ]:
        if entry == "run":
            config = box.config("sh", "-c", "ls -id . /")
            config["process"]["cwd"] = cwd
            result = box.run(config)
        else:
            result = box.call("exec", "--cwd", cwd, "box", "sh", "-c", "ls -id . /")
        if result.returncode == 0:
            here, top = (line.split()[0] for line in result.stdout.splitlines())
            assert here == top, cwd
        else:
            assert "process.cwd" in result.stderr, result


@pytest.mark.row("S4")
def test_hostile_init_cannot_look_into_a_joining_process(box):
    """Pid 1 tries to open the descriptors and the memory of whoever appears."""
    config = box.config(
        "sh", "-c",
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; "
        "for f in $p/fd/* $p/mem $p/environ; do (: < $f) 2>/dev/null && readlink $f >> /tmp/got; done; done; done",
    )  # fmt: skip
    config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    box.start(config=config)
    for _ in range(20):
        assert box.call("exec", "-u", "1000:1000", "box", "true").returncode == 0
    got = box.call("exec", "box", "sh", "-c", "cat /tmp/got 2>/dev/null; true").stdout
    assert str(box.directory) not in got
    assert "cgroup" not in got
    assert "python" not in got


@pytest.mark.row("S8")
def test_console_comes_from_the_master_not_from_a_name(box, rootfs):
    """/dev/pts is a directory of the image with a file for every number: nothing of it is opened."""
    config = box.config("sh", "-c", "tty; ls -l /dev/console")
    config["process"]["terminal"] = True
    config["mounts"] = [each for each in config["mounts"] if each["destination"] != "/dev/pts"]
    result = box.run(config)
    assert result.returncode == 1
    assert "devpts" in result.stderr


@pytest.mark.row("S9")
def test_writes_to_proc_go_to_the_kernels_own(box, rootfs):
    """The image brings its own /proc/sys and /proc/self, and no proc is mounted."""
    for path in ("proc/sys/net/ipv4", "proc/self/attr", "proc/thread-self/attr"):
        (rootfs / path).mkdir(parents=True)
    for path in (
        "proc/sys/net/ipv4/ip_unprivileged_port_start",
        "proc/self/oom_score_adj",
        "proc/self/attr/exec",
    ):
        (rootfs / path).write_text("image")
    config = box.config("sleep", "1000")
    config["mounts"] = [each for each in config["mounts"] if each["destination"] != "/proc"]
    config["process"]["oomScoreAdj"] = 500
    pid = box.start(config=config)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
    ports = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ports.stdout == "0\n"
    for path in (
        "proc/sys/net/ipv4/ip_unprivileged_port_start",
        "proc/self/oom_score_adj",
        "proc/self/attr/exec",
    ):
        assert (rootfs / path).read_text() == "image"


@pytest.mark.row("S11")
@pytest.mark.parametrize("kind", ["fifo", "huge", "link", "directory"])
def test_strange_passwd_takes_no_time(box, rootfs, kind):
    path = rootfs / "etc/passwd"
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "huge":
        path.write_bytes(b"x" * 1000)
        os.truncate(path, 1 << 40)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    begin = time.monotonic()
    assert box.sh("echo $HOME") == "/\n"
    assert time.monotonic() - begin < 10


@pytest.mark.row("S14")
def test_host_cgroups_cannot_be_seen_or_written(box):
    top = "/sys/fs/cgroup" if UNIFIED else "/sys/fs/cgroup/memory"
    limit, tasks = ("memory.max", "cgroup.procs") if UNIFIED else ("memory.limit_in_bytes", "tasks")
    out = box.sh(
        f"ls {top} | grep -c barque; (echo 1 > {top}/{limit}) 2>&1; (echo 0 > {top}/{tasks}) 2>&1; true"
    )
    assert out.splitlines()[0] == "0"
    assert out.count("Read-only") == 2
