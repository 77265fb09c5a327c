"""Export, import, diff and commit by the docker CLI and ours."""

import io
import subprocess
import tarfile

import pytest
from our_cli import OURS
from registry_image import IMAGE

pytestmark = pytest.mark.root


@pytest.fixture
def changed(daemon, tmp_path):
    """A running container with changes, and things mounted in it."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/secret").write_text("of the host")
    script = (
        "echo new > /new; rm /etc/not-executable; chmod 700 /www; mkdir -p /made/below; echo t > /scratch/t; "
        "ln /new /made/linked; chown 5:6 /made; echo ready; exec sleep 100000"
    )
    done = daemon.docker(
        "run", "-d", "--network", "none", "-v", f"{tmp_path}/volume:/volume", "--tmpfs", "/scratch", IMAGE, "sh", "-c", script
    )  # fmt: skip
    id = done.stdout.strip()
    assert (
        daemon.docker("exec", id, "sh", "-c", "until [ $(stat -c %u /made) = 5 ]; do :; done").returncode == 0
    )
    yield id
    daemon.docker("rm", "-f", id)


def ours(daemon, *words):
    return subprocess.run([*OURS, "-H", daemon.host, *words], capture_output=True, check=False)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_an_export_is_the_root_without_what_is_mounted(daemon, changed, tmp_path, running):
    if not running:
        daemon.docker("stop", "-t", "0", changed)
    assert daemon.docker("export", "-o", f"{tmp_path}/e.tar", changed).returncode == 0
    done = ours(daemon, "export", changed)
    assert done.stdout == (tmp_path / "e.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        entries = {entry.name: entry for entry in tar}
        assert tar.extractfile("new").read() == b"new\n"
    assert entries["bin/sh"].linkname == "busybox"
    assert (entries["made"].uid, entries["made"].gid) == (5, 6)
    assert {"new", "made/linked"} == {"new", entries["new"].linkname or entries["made/linked"].linkname} | {
        "made/linked"
    }
    assert entries["volume"].isdir()
    assert not [name for name in entries if name.startswith(("volume/", "scratch/", "proc/", "sys/", "dev/"))]
    assert "etc/not-executable" not in entries


def test_an_export_imported_runs(daemon, changed, tmp_path):
    exported = ours(daemon, "export", "-o", f"{tmp_path}/e.tar", changed)
    assert (exported.returncode, exported.stderr) == (0, b"")
    imported = daemon.docker("import", "-c", 'CMD ["cat","/new"]', f"{tmp_path}/e.tar", "exported:1")
    assert imported.returncode == 0, imported.stderr
    try:
        assert daemon.docker("run", "--rm", "--network", "none", "exported:1").stdout == "new\n"
        listed = daemon.docker(
            "run", "--rm", "--network", "none", "exported:1", "stat", "-c", "%u:%g %a", "/made", "/www"
        )
        assert listed.stdout == "5:6 755\n0:0 700\n"
    finally:
        daemon.docker("rmi", "exported:1")


def test_diff_tells_what_changed(daemon, changed):
    by_docker = daemon.docker("diff", changed).stdout
    assert ours(daemon, "diff", changed).stdout.decode() == by_docker
    lines = by_docker.splitlines()
    for wanted in (
        "A /new",
        "D /etc/not-executable",
        "C /etc",
        "C /www",
        "A /made",
        "A /made/below",
        "A /made/linked",
    ):
        assert wanted in lines
    assert not [line for line in lines if line[2:].startswith(("/scratch/", "/volume/", "/proc/"))]
    made = daemon.docker("create", IMAGE).stdout.strip()
    try:
        assert daemon.request("GET", f"/containers/{made}/changes") == (200, b"null\n")
    finally:
        daemon.docker("rm", made)


@pytest.mark.parametrize("client", ["docker", "barque"])
def test_a_commit_runs_with_what_it_was_told(daemon, changed, client):
    words = (
        "commit",
        "-m",
        "why",
        "-a",
        "who",
        "-c",
        'CMD ["sh","-c","cat /new; echo $COLOUR"]',
        "-c",
        "ENV COLOUR=blue",
    )
    if client == "docker":
        done = daemon.docker(*words, changed, "committed:1")
        id = done.stdout.strip()
    else:
        done = ours(daemon, *words, changed, "committed:1")
        id = done.stdout.decode().strip()
    assert done.returncode == 0, done.stderr
    try:
        assert id.startswith("sha256:")
        assert daemon.docker("run", "--rm", "--network", "none", "committed:1").stdout == "new\nblue\n"
        image = daemon.json("GET", "/images/committed:1/json")
        assert (image["Id"], image["Comment"], image["Author"]) == (id, "why", "who")
    finally:
        daemon.docker("rmi", "committed:1")
