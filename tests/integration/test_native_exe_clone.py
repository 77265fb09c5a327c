"""The interpreter of an ordinary user, whose own file it is, cannot be overwritten from a container (CVE-2019-5736)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from native_bundle import import_paths

pytestmark = [pytest.mark.root, pytest.mark.row("S1")]

# Executes itself once more through the clone; then what a container's process would do: keep /proc/self/exe, and
# write to it once nobody executes it any more.
PROGRAM = """
import os, sys
if sys.argv[1] == "protected":
    from barque_runtime_native.interpreter.exe_clone import read_only_clone
    os.execve(read_only_clone(), [sys.executable, __file__, "again"], os.environ)
fd = os.open("/proc/self/exe", os.O_PATH)
os.set_inheritable(fd, True)
os.execv("/bin/sh", ["sh", "-c", f"echo ready; read go; echo x >> /proc/self/fd/{fd}"])
"""


@pytest.fixture
def place():
    """An interpreter that belongs to user 65534, below a directory that he can reach."""
    path = Path(tempfile.mkdtemp(prefix="barque-exe-"))
    path.chmod(0o755)
    shutil.copy(os.path.realpath(sys.executable), path / "python")
    (path / "program.py").write_text(PROGRAM)
    for each in path.iterdir():
        os.chown(each, 65534, 65534)
    yield path
    shutil.rmtree(path)


def attack(place, how, *before):
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *before]
    with subprocess.Popen(
        [*command, place / "python", place / "program.py", how], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": import_paths()},
    ) as process:  # fmt: skip
        out, errors = process.communicate("go\n", timeout=60)
    assert out == "ready\n", errors
    return errors


@pytest.mark.parametrize("before", [(), ("unshare", "-U", "-r"), ("unshare", "-U", "-r", "-m")])
def test_interpreter_is_unchanged(place, before):
    digest = hashlib.sha256((place / "python").read_bytes()).digest()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert "Read-only file system" in attack(place, "protected", *before)
    assert hashlib.sha256((place / "python").read_bytes()).digest() == digest
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_without_the_clone_it_would_not_be(place):
    """The attack works: else the test above would prove nothing."""
    digest = hashlib.sha256((place / "python").read_bytes()).digest()
    assert attack(place, "open") == ""
    assert hashlib.sha256((place / "python").read_bytes()).digest() != digest


def test_user_who_may_make_no_user_namespace_is_told(place):
    """In a user namespace whose limit is 0."""
    script = (
        'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --no-new-privs "$@"'
    )
    result = subprocess.run(
        ["unshare", "-U", "-r", "sh", "-c", script, "sh", place / "python", "-c",
         "from barque_runtime_native.interpreter.exe_clone import clone_in_child; clone_in_child()"],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": import_paths()},
    )  # fmt: skip
    assert result.returncode == 1
    assert "cannot be cloned read-only: user namespaces" in result.stderr
    assert "max_user_namespaces" in result.stderr
