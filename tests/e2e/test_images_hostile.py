"""Images that would like to be more than files: programs in them for the engine to trip over, configs that look like orders, links out."""

import contextlib
import hashlib
import io
import json
import re
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from images_lab import busybox_layer, registry_in, write_profile
from registry_image import add

from barque.testing import need
from barque.testing.canary import Canary
from barque.testing.daemon import Daemon
from barque.testing.layers import LayerTar
from barque.testing.registry import CONFIG, LAYER, MANIFEST

pytestmark = pytest.mark.root
# Helpers that engines have run from the wrong root, or by a name found in the wrong PATH.
TROJANS = (
    "xz", "unxz", "gzip", "gunzip", "unpigz", "pigz", "zstd", "unzstd", "bzip2", "tar", "cp", "mount", "umount", "ldconfig", "getent",
    "sh", "bash", "python3", "id", "runc", "iptables", "nft", "modprobe", "newuidmap", "fuse-overlayfs", "mkfs.ext4", "git",
)  # fmt: skip


def trojan_layer():
    """Busybox under an innocent name, and traps under all others that a helper may have."""
    tar = LayerTar()
    for directory in (
        "bin",
        "dev",
        "etc",
        "lib",
        "lib64",
        "proc",
        "sys",
        "tmp",
        "usr",
        "usr/bin",
        "usr/sbin",
        "sbin",
    ):
        tar.directory(directory)
    tar.file("bin/idle", Path("/bin/busybox").read_bytes(), mode=0o755)
    trap = b"#!/bin/idle ash\n/bin/idle touch /trapped /tmp/trapped\n"
    for place in ("bin", "sbin", "usr/bin", "usr/sbin"):
        for name in TROJANS:
            tar.file(f"{place}/{name}", trap, mode=0o4755)
    # NSS and the dynamic linker's own configuration: what a chroot into the tree would load (CVE-2019-14271)
    tar.file("etc/nsswitch.conf", b"passwd: trojan\ngroup: trojan\nhosts: trojan\n")
    tar.file("etc/ld.so.preload", b"/lib/trojan.so\n")
    tar.file("lib/libnss_trojan.so.2", b"\x7fELF").file("lib/trojan.so", b"\x7fELF")
    tar.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n").file("etc/group", b"root:x:0:\n")
    return tar


def add_image(registry, name, layers, config=None, **fields):
    """An image with this run config, and whatever else `fields` puts beside it."""
    digests = [registry.add_blob(layer) for layer in layers]
    document = json.dumps({
        "architecture": "amd64", "os": "linux", "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": digests}, **fields,
    }).encode()  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": registry.add_blob(document), "size": len(document)},
        "layers": [
            {"mediaType": LAYER, "digest": digest, "size": len(layer)} for digest, layer in zip(digests, layers, strict=True)
        ],
    }  # fmt: skip
    registry.add_manifest(name, "1", manifest)
    return f"{registry.address}/{name}:1"


@contextlib.contextmanager
def running_daemon(lab, workspace):
    base = Path(tempfile.mkdtemp(dir=workspace))
    daemon = Daemon(base, lab, write_profile(base / "p.toml"))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def daemon(lab, workspace):
    with running_daemon(lab, workspace) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def registry(lab):
    with registry_in(lab) as registry:
        yield registry


@pytest.fixture
def canary(tmp_path):
    canary = Canary.plant(tmp_path / "canary")
    yield canary
    canary.check()


@pytest.fixture
def name(daemon):
    yield "hostile"
    daemon.docker("rm", "-f", "hostile")


def succeeds(daemon, *arguments, **options):
    result = daemon.docker(*arguments, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


# S20: programs of the image are for its containers alone


@contextlib.contextmanager
def traced(daemon, log):
    """Every program that the daemon, its launcher and whatever they start executes, in `log`."""
    children = subprocess.run(
        ["pgrep", "-P", str(daemon.process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    pids = [word for pid in (str(daemon.process.pid), *children) for word in ("-p", pid)]
    command = [
        need.tool("strace"),
        "-f",
        "-qq",
        "-s",
        "200",
        "-e",
        "trace=execve,execveat",
        "-o",
        str(log),
        *pids,
    ]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    status = Path(f"/proc/{daemon.process.pid}/status")
    try:
        while f"TracerPid:\t{tracer.pid}\n" not in status.read_text():
            assert tracer.poll() is None, tracer.stderr.read()
            time.sleep(0.01)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=10)


@pytest.mark.row("S20")
def test_programs_of_the_image_are_never_run_by_the_engine(lab, workspace, registry, tmp_path):
    image = add_image(registry, "trojan", [trojan_layer().content()], {"Cmd": ["/bin/idle", "sleep", "1000"]})
    with running_daemon(lab, workspace) as daemon, traced(daemon, tmp_path / "trace"):
        succeeds(daemon, "pull", "-q", image)
        (tmp_path / "file").write_text("data")
        succeeds(daemon, "create", "--name", "still", image)
        succeeds(daemon, "run", "-d", "--name", "runs", image)
        for container in ("still", "runs"):
            succeeds(daemon, "cp", str(tmp_path / "file"), f"{container}:/etc/file")
            succeeds(daemon, "cp", f"{container}:/etc", str(tmp_path / container))
            assert (tmp_path / container / "file").read_text() == "data"
            assert "A /etc/file" in succeeds(daemon, "diff", container)
            succeeds(daemon, "commit", container, f"{container}:1")
            succeeds(daemon, "export", "-o", str(tmp_path / f"{container}.tar"), container)
            succeeds(daemon, "import", str(tmp_path / f"{container}.tar"), f"{container}:2")
        succeeds(daemon, "save", "-o", str(tmp_path / "saved.tar"), image, "still:1")
        succeeds(daemon, "rmi", "still:1", "still:2", "runs:2")
        succeeds(daemon, "load", "-i", str(tmp_path / "saved.tar"))
        with tarfile.open(tmp_path / "runs.tar") as archive:
            assert not [member for member in archive.getnames() if "trapped" in member]
        upper = list((daemon.base / "root/storage/overlay/snapshots").rglob("trapped"))
    assert upper == []
    assert not Path("/trapped").exists()
    assert not Path("/tmp/trapped").exists()
    executed = re.findall(r'exec(?:ve|veat)\((?:[^"]*)"([^"]*)"', (tmp_path / "trace").read_text())
    assert any("python" in program for program in executed)
    # By their own names or by whatever leads into the data root: the host's own helpers have absolute paths outside of it.
    assert not [program for program in executed if str(daemon.base) in program or "/" not in program]
    inside = [program for program in executed if not Path(program).exists() and program != "/bin/idle"]
    assert inside == []
    assert not {Path(program).name for program in executed} & (
        set(TROJANS) - {"nft", "iptables", "modprobe", "mount", "sh", "tar"}
    )


# S26: nothing in a config is an order


HOSTILE = {
    "Cmd": ["/bin/busybox", "sleep", "1000"],
    "Env": ["PATH=/bin", "LD_PRELOAD=/lib/evil.so", "BARQUE_FAILPOINT=create.directory:kill", "A\nB=c"],
    "Labels": {
        "org.barque.hook": "/bin/touch", "run": "docker run --privileged", "io.containerd.runc.v2.hooks": "[]",
        "oci.hook.prestart": "touch", "com.docker.compose.project": "x", "install": "rm -rf /", "io.kubernetes.cri-o.Devices": "/dev/sda",
    },
    "OnBuild": ["RUN touch /canary", "VOLUME /:/host"],
    "ArgsEscaped": True,
    "StopSignal": "SIGKILL; touch /canary",
    "Hostname": "evil", "Domainname": "evil", "MacAddress": "de:ad:be:ef:00:00", "NetworkDisabled": True,
    "AttachStdin": True, "Tty": True, "OpenStdin": True, "Image": "other:1", "Memory": 4096, "CpuShares": 1,
    "Privileged": True, "Binds": ["/:/host"], "CapAdd": ["ALL"], "PidMode": "host", "UsernsMode": "host",
    "HostConfig": {"Privileged": True, "Binds": ["/:/host"], "PidMode": "host", "CapAdd": ["ALL"]},
    "hooks": {"prestart": [{"path": "/bin/touch", "args": ["touch", "/canary"]}]},
    "mounts": [{"source": "/", "destination": "/host", "type": "bind"}],
}  # fmt: skip


@pytest.mark.row("S26")
def test_image_config_gives_no_orders(daemon, registry, name):
    fields = {
        "history": [{"created_by": "/bin/sh -c #(nop) VOLUME [/:/host]", "comment": "`touch /canary`"}],
        "container_config": {"Privileged": True}, "docker_version": "99", "hooks": HOSTILE["hooks"], "mounts": HOSTILE["mounts"],
        "os.features": ["win32k"], "process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}},
    }  # fmt: skip
    image = add_image(
        registry, "orders", [busybox_layer().content()], {**HOSTILE, "StopSignal": "SIGTERM"}, **fields
    )
    succeeds(daemon, "pull", "-q", image)
    assert "canary" in succeeds(daemon, "history", "--no-trunc", image)
    succeeds(daemon, "run", "-d", "--name", name, image)
    shown = daemon.json("GET", f"/containers/{name}/json")
    host = shown["HostConfig"]
    assert (host["Privileged"], host["Binds"], host["CapAdd"], host["PidMode"]) == (False, None, None, "")
    assert host["Memory"] == 0
    assert shown["Mounts"] == []
    assert shown["Config"]["Labels"].items() >= {"run": "docker run --privileged"}.items()
    assert shown["Config"]["Hostname"] != "evil"
    assert shown["Config"]["Tty"] is False
    mounts = succeeds(daemon, "exec", name, "cat", "/proc/1/mounts")
    assert " /host " not in mounts
    status = succeeds(daemon, "exec", name, "cat", "/proc/1/status")
    assert re.search(r"CapEff:\s+00000000a80425fb", status), status
    assert "1" in succeeds(daemon, "exec", name, "ls", "/proc")
    assert succeeds(daemon, "exec", name, "ls", "/sys/class/net").split() == ["eth0", "lo"]


@pytest.mark.row("S26")
@pytest.mark.parametrize(
    "config",
    [
        {"Cmd": "not a list"}, {"Cmd": [1]}, {"Env": {"a": "b"}}, {"Labels": ["a"]}, {"Volumes": ["/x"]}, {"User": 5},
        {"ExposedPorts": {"80/tcp; touch /x": {}}}, {"Healthcheck": "touch"}, {"StopSignal": "touch"}, {"WorkingDir": ["/"]},
        {"Entrypoint": {"a": 1}}, {"Env": ["A=\x00B"]}, {"Cmd": ["\x00"]}, {"WorkingDir": "\x00"}, {"User": "\x00"}, "config", [], 5,
    ],
)  # fmt: skip
def test_malformed_image_config_is_no_trouble(daemon, registry, name, config):
    """Refused or ignored, in words: never a 500 with a defect of ours."""
    image = add_image(registry, "malformed", [busybox_layer().content()], config)
    for command in (
        ("pull", "-q", image), ("image", "inspect", image), ("history", image), ("images",),
        ("run", "--name", name, image, "/bin/busybox", "true"), ("ps", "-a"), ("inspect", name), ("rm", "-f", name), ("rmi", "-f", image),
    ):  # fmt: skip
        text = daemon.docker(*command).stderr
        assert not re.search(r"defect|Traceback|(Key|Type|Attribute|Value)Error|unexpected EOF", text), (
            f"{command}: {text}"
        )
    assert daemon.answers()


def archive(names, config_name=None, layer_name="layer.tar", layer=None, extra=lambda _tar: None):
    """An archive as `docker save` writes it, with these names."""
    data = (layer or LayerTar().file("x", b"x")).content()
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest()]},
    }).encode()  # fmt: skip
    real = hashlib.sha256(config).hexdigest() + ".json"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        add(tar, real, config)
        add(tar, "layer.tar", data)
        entry = {"Config": config_name or real, "RepoTags": names, "Layers": [layer_name]}
        add(tar, "manifest.json", json.dumps([entry]).encode())
        extra(tar)
    return out.getvalue()


@pytest.mark.row("S26")
@pytest.mark.parametrize(
    "odd",
    [
        "../../etc:x", "/etc/passwd:x", "a b:c", "-x:1", "evil;touch /x:1", "UPPER:1", "name:tag:tag", "name@sha256:" + "0" * 64, ":", "",
        "\x1b[31m:1", "a/../b:1", "docker.io:1:2", "x" * 300 + ":1", "name:" + "t" * 200, 5, None, ["a:b"],
        "sha256:" + "0" * 64, "deb:bash@bookworm",
    ],
)  # fmt: skip
def test_odd_name_in_an_archive_becomes_no_tag(daemon, tmp_path, odd):
    (tmp_path / "good.tar").write_bytes(archive(["good:1"], layer=LayerTar().file("good", b"good")))
    succeeds(daemon, "load", "-i", str(tmp_path / "good.tar"))
    before = daemon.json("GET", "/images/good:1/json")
    (tmp_path / "odd.tar").write_bytes(archive([odd]))
    result = daemon.docker("load", "-i", str(tmp_path / "odd.tar"))
    assert not re.search(r"defect|Traceback|(Key|Type|Attribute|Value)Error|unexpected EOF", result.stderr), (
        result.stderr
    )
    assert "\x1b" not in result.stderr + result.stdout
    assert daemon.json("GET", "/images/good:1/json") == before
    for image in daemon.json("GET", "/images/json?all=1"):
        for tag in image["RepoTags"]:
            assert re.fullmatch(r"[a-z0-9][a-z0-9./_-]*(:[0-9]+/[a-z0-9./_-]+)?:\w[\w.-]{0,127}", tag), tag
            assert ".." not in tag
        if "good:1" not in image["RepoTags"]:
            succeeds(daemon, "rmi", "-f", image["Id"])
    succeeds(daemon, "rmi", "good:1")


@pytest.mark.row("S26", "S18")
@pytest.mark.parametrize(
    "where",
    ["/etc/shadow", "../../../../../../etc/shadow", "link", "link/shadow", "hard", "fifo", "directory"],
)
@pytest.mark.parametrize("part", ["config", "layer"])
def test_archive_reads_nothing_of_the_host(daemon, tmp_path, where, part):
    def extra(tar):
        add(tar, "link", kind=tarfile.SYMTYPE, link="/etc" if "/" in where else "/etc/shadow")
        add(tar, "hard", kind=tarfile.LNKTYPE, link="/etc/shadow")
        add(tar, "fifo", kind=tarfile.FIFOTYPE)
        add(tar, "directory", kind=tarfile.DIRTYPE)

    data = archive(
        ["reads:1"], extra=extra, **({"config_name": where} if part == "config" else {"layer_name": where})
    )
    (tmp_path / "archive.tar").write_bytes(data)
    result = daemon.docker("load", "-i", str(tmp_path / "archive.tar"), timeout=20)
    assert result.returncode == 1, result.stdout
    assert "root:" not in result.stderr
    assert not re.search(r"defect|Traceback", result.stderr), result.stderr
    assert daemon.docker("image", "inspect", "reads:1").returncode == 1


# S27: paths of the config are paths in the container


@pytest.mark.row("S27")
@pytest.mark.parametrize(
    "working", ["/link/sub", "/up/sub", "/relative/sub", "/chain/sub", "/link/../link/sub/deeper"]
)
def test_working_directory_through_links_stays_inside(daemon, registry, canary, name, working):
    tar = busybox_layer()
    tar.symlink("link", str(canary.root)).symlink("up", "../../../../../.." + str(canary.root))
    tar.symlink("relative", str(canary.root)[1:]).symlink("chain", "link")
    image = add_image(registry, "working", [tar.content()], {"WorkingDir": working, "Env": ["PATH=/bin"]})
    succeeds(daemon, "pull", "-q", image)
    result = daemon.docker("run", "--name", name, image, "sh", "-c", "echo written > file; busybox pwd -P")
    if result.returncode == 0:
        assert result.stdout.startswith("/")
    canary.check()
    assert not list(canary.root.rglob("sub"))


@pytest.mark.row("S27")
@pytest.mark.parametrize(
    "volume", ["/link", "/link/etc", "/up", "/../../etc", "/chain", "relative", "/proc/1/root", "/"]
)
def test_volume_through_links_stays_inside(daemon, registry, canary, name, volume):
    tar = busybox_layer()
    tar.symlink("link", str(canary.root)).symlink("up", "../../../../../.." + str(canary.root)).symlink(
        "chain", "up"
    )
    tar.directory("data").file("data/file", b"of the image")
    image = add_image(
        registry, "volume", [tar.content()], {"Volumes": {volume: {}, "/data": {}}, "Env": ["PATH=/bin"]}
    )
    succeeds(daemon, "pull", "-q", image)
    script = f"echo written > {volume}/written; echo written > {volume}/passwd; ls -l {volume}/ /data/file"
    result = daemon.docker("run", "--name", name, image, "sh", "-c", script)
    assert "nobody writes here" not in result.stdout
    canary.check()
    if result.returncode == 0:
        assert "/data/file" in result.stdout


@pytest.mark.row("S27", "S19")
def test_cp_follows_links_inside_only(daemon, registry, canary, name, tmp_path):
    tar = busybox_layer().symlink("link", str(canary.root)).symlink("passwd", f"{canary.root}/etc/passwd")
    image = add_image(registry, "links", [tar.content()], {"Env": ["PATH=/bin"]})
    succeeds(daemon, "pull", "-q", image)
    succeeds(daemon, "create", "--name", name, image, "true")
    (tmp_path / "mine").write_text("mine")
    for target in ("/link/etc/passwd", "/passwd", "/link/new", "/link"):
        daemon.docker("cp", str(tmp_path / "mine"), f"{name}:{target}")
        canary.check()
    for source in ("/link/etc/passwd", "/passwd", "/link/."):
        result = subprocess.run(
            daemon.docker_command("cp", "-L", f"{name}:{source}", "-"), capture_output=True, check=False
        )
        assert b"nobody writes here" not in result.stdout
