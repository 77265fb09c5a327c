"""`--systemd-cgroup`: with the host's systemd where it is process 1, and with a stand-in on a private bus elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from native_bundle import COMMAND, import_paths, make_rootfs, write_config
from native_cgroups import ROOT, UNIFIED, CgroupBox
from native_systemd import REAL, Systemd

from barque.spi.errors import FailedPrecondition, NotFound
from barque.testing import need
from barque_runtime_native.cgroup import systemd as cgroup_systemd
from barque_runtime_native.cgroup.dbus import Connection

pytestmark = pytest.mark.root
MIB = 1 << 20
NAME = f"barque-test-{os.getpid()}"
SCOPE = f"t-{NAME}.scope"
only_stand_in = pytest.mark.skipif(REAL, reason="needs the stand-in: this host has systemd")
only_real = pytest.mark.skipif(not REAL, reason="needs systemd as process 1")


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("systemd"))


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """The stand-in, or None where the real one is used."""
    if REAL:
        yield None
        return
    directory = tmp_path / "bus"
    directory.mkdir()
    stand_in = Systemd(directory, f"/{NAME}")
    for key, value in stand_in.environment().items():
        monkeypatch.setenv(key, value)
    yield stand_in
    stand_in.close()


@pytest.fixture
def box(tmp_path, rootfs, systemd):
    box = CgroupBox(tmp_path, rootfs)
    box.cgroup = "" if REAL else f"/{NAME}"
    yield box
    box.call("delete", "-f", "box")
    for top in (ROOT, *ROOT.iterdir()):
        for below in ("system.slice", ""):
            directory = top / NAME / below
            if directory.is_dir():
                directory.rmdir()


def config(box, *args):
    found = box.config(*(args or ("sleep", "1000")))
    found["linux"]["cgroupsPath"] = f"system.slice:t:{NAME}"
    found["linux"]["resources"] = {
        "memory": {"limit": 64 * MIB},
        "pids": {"limit": 50},
        "cpu": {"shares": 512, "quota": 25000, "period": 50000},
    }
    return found


def start(box, found):
    write_config(box.bundle, found)
    box.detached(
        "--systemd-cgroup",
        "run",
        "-d",
        "-b",
        str(box.bundle),
        "--pid-file",
        str(box.directory / "pid"),
        "box",
    )
    return int((box.directory / "pid").read_text())


def read(box, controller, file):
    return box.file(controller, file, f"system.slice/{SCOPE}").read_text().strip()


def test_life_in_a_scope(box, systemd):
    pid = start(box, config(box))
    assert f"system.slice/{SCOPE}" in Path(f"/proc/{pid}/cgroup").read_text()
    assert read(box, "freezer", "cgroup.procs") == str(pid), "the placeholder is gone"
    assert read(box, "memory", "memory.max" if UNIFIED else "memory.limit_in_bytes") == str(64 * MIB)
    assert box.call("exec", "box", "true").returncode == 0
    assert box.call("pause", "box").returncode == 0
    assert box.call("resume", "box").returncode == 0
    assert box.call("update", "--pids-limit", "9", "--memory", "48m", "box").returncode == 0
    assert read(box, "pids", "pids.max") == "9"
    assert box.call("delete", "-f", "box").returncode == 0
    assert not box.file("freezer", "", f"system.slice/{SCOPE}").exists()


@only_stand_in
def test_what_systemd_is_told(box, systemd):
    start(box, config(box))
    ((unit, mode, properties, aux),) = systemd.asked("StartTransientUnit")
    found = dict(properties)
    assert (unit, mode, aux) == (SCOPE, "replace", [])
    assert found["Slice"] == "system.slice"
    assert found["Delegate"] == 1
    assert found["DefaultDependencies"] == 0
    assert found["TasksMax"] == 50
    assert found["MemoryMax" if UNIFIED else "MemoryLimit"] == 64 * MIB
    assert found["CPUQuotaPerSecUSec"] == 500_000
    assert found["CPUQuotaPeriodUSec"] == 50_000
    assert box.call("update", "--pids-limit", "9", "box").returncode == 0
    assert systemd.asked("SetUnitProperties") == [(SCOPE, 1, [("TasksMax", 9)])]
    assert box.call("delete", "-f", "box").returncode == 0
    assert systemd.asked("StopUnit") == [(SCOPE, "replace")]
    assert systemd.asked("ResetFailedUnit") == [(SCOPE,)]
    assert systemd.units == set()


@only_stand_in
def test_scope_that_has_failed_before_is_cleared_away(box, systemd):
    systemd.units.add(SCOPE)
    start(box, config(box))
    assert len(systemd.asked("StartTransientUnit")) == 2


@only_stand_in
def test_job_that_fails(box, systemd):
    systemd.results["start"] = "failed"
    write_config(box.bundle, config(box))
    result = box.call("--systemd-cgroup", "create", "-b", str(box.bundle), "box")
    assert result.returncode == 1
    assert f"systemd could not start {SCOPE}: failed" in result.stderr
    assert box.call("state", "box").returncode == 1


def test_creation_that_fails_leaves_no_scope(box, systemd):
    found = config(box)
    found["root"]["path"] = "/nonexistent"
    write_config(box.bundle, found)
    assert box.call("--systemd-cgroup", "create", "-b", str(box.bundle), "box").returncode == 1
    if systemd:
        assert systemd.units == set()
    assert not box.file("freezer", "", f"system.slice/{SCOPE}").exists()


@only_stand_in
def test_stop_of_a_scope_that_is_gone(systemd):
    cgroup_systemd.stop({"unit": "nobody.scope", "user": False})
    assert systemd.asked("ResetFailedUnit") == []


def test_error_of_a_method_keeps_its_words(systemd):
    bus = cgroup_systemd.connect(user=False)
    try:
        with pytest.raises(NotFound, match=r"StopUnit: Unit nobody-at-all\.scope not loaded"):
            bus.call(cgroup_systemd.MANAGER, "StopUnit", "ss", "nobody-at-all.scope", "replace")
    finally:
        bus.close()


def test_bus_itself_answers(systemd):
    """Through real dbus-daemon: names, numbers and lists come back as they are."""
    bus = cgroup_systemd.connect(user=False)
    try:
        if not bus.direct:
            (names,) = bus.call(("org.freedesktop.DBus", "/", "org.freedesktop.DBus"), "ListNames")
            assert cgroup_systemd.SYSTEMD in names
    finally:
        bus.close()


@only_stand_in
def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    with pytest.raises(FailedPrecondition, match="--systemd-cgroup: cannot reach systemd"):
        cgroup_systemd.connect(user=False)


@pytest.mark.parametrize(
    "path",
    ["/barque/box", "a:b", "a:b:c:d", "x/y:b:c", "system.slice:b:c.slice", "nothing:b:c", "a--b.slice:b:c"],
)
def test_wrong_path_names_the_field(box, path):
    found = config(box)
    found["linux"]["cgroupsPath"] = path
    write_config(box.bundle, found)
    result = box.call("--systemd-cgroup", "create", "-b", str(box.bundle), "box")
    assert result.returncode == 1
    assert "linux.cgroupsPath" in result.stderr


@only_real
def test_limits_survive_a_reload_of_systemd(box):
    start(box, config(box))
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
    assert read(box, "pids", "pids.max") == "50"
    assert read(box, "memory", "memory.max" if UNIFIED else "memory.limit_in_bytes") == str(64 * MIB)


@only_real
def test_direct_connection(box):
    bus = Connection(cgroup_systemd.PRIVATE, direct=True)
    try:
        bus.call(cgroup_systemd.MANAGER, "Subscribe")
    finally:
        bus.close()


USER = 1
MANAGER = f"barque-test-user-{os.getpid()}"


@pytest.fixture
def manager():
    """The systemd of an ordinary user, without a login; the directory of its run-time files."""
    need.tool("setpriv")
    runtime = Path(tempfile.mkdtemp(prefix="barque-user-run-"))
    os.chown(runtime, USER, USER)
    subprocess.run(
        ["systemd-run", f"--unit={MANAGER}", f"--uid={USER}", "-p", "Delegate=yes", "-E", f"XDG_RUNTIME_DIR={runtime}",
         "/lib/systemd/systemd", "--user"],
        check=True, timeout=120,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (runtime / "systemd/private").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield runtime
    subprocess.run(["systemctl", "stop", MANAGER], check=True, timeout=120)
    shutil.rmtree(runtime, ignore_errors=True)


@only_real
@pytest.mark.parametrize("inside", [True, False])
def test_scope_of_a_user(manager, inside):
    """He has to be below what is delegated to him: the kernel lets him move no process from elsewhere."""
    directory = Path(tempfile.mkdtemp(prefix="barque-user-systemd-"))
    directory.chmod(0o755)
    (directory / "bundle").mkdir()
    make_rootfs(directory / "bundle/rootfs")
    for path in (directory, *directory.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    top = ROOT / f"system.slice/{MANAGER}.service"
    enter = f"echo $$ >{top}/init.scope/cgroup.procs; " if inside else ""

    def call(*words):
        with (directory / "out").open("w+") as out:
            status = subprocess.run(
                ["sh", "-c", f'{enter}exec setpriv --reuid {USER} --regid {USER} --clear-groups "$@"', "sh", *COMMAND,
                 "--root", str(directory / "state"), *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=120, check=False, cwd=directory / "bundle",
                env={"PATH": "/usr/sbin:/usr/bin:/bin", "PYTHONPATH": import_paths(), "XDG_RUNTIME_DIR": str(manager)},
            ).returncode  # fmt: skip
            out.seek(0)
            return status, out.read()

    try:
        assert call("spec", "--rootless")[0] == 0
        found = json.loads((directory / "bundle/config.json").read_text())
        found["process"].update(terminal=False, args=["sleep", "1000"])
        found["linux"].update(cgroupsPath=f"user.slice:t:{NAME}", resources={"pids": {"limit": 20}})
        (directory / "bundle/config.json").write_text(json.dumps(found))
        status, said = call("--systemd-cgroup", "run", "-d", "box")
        if not inside:
            assert status == 1
            assert "systemd-run --user --scope" in said
            return
        assert status == 0, said
        assert (top / f"user.slice/{SCOPE}/pids.max").read_text() == "20\n"
        assert call("delete", "-f", "box") == (0, "")
        assert not (top / f"user.slice/{SCOPE}").exists()
    finally:
        call("delete", "-f", "box")
        shutil.rmtree(directory)
