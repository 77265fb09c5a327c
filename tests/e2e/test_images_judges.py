"""One image with every oddity a layer may have, on a journey: skopeo and umoci, which know nothing of Barque, judge what arrives.

Of umoci 0.4.7: it knows no zstd, so it is given the same tars, all as gzip; it makes one tree layer by layer, without overlayfs.
"""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from images_lab import busybox_layer, write_profile

from barque.testing import need
from barque.testing.daemon import Daemon
from barque.testing.layers import MEDIA_TYPES, LayerTar, compress

pytestmark = pytest.mark.root
FIRST, SECOND = "127.0.0.1:5000", "127.0.0.1:5001"
OCI = "application/vnd.oci.image"
# What a runtime mounts there is its own.
MOUNTED = (b"dev", b"proc", b"sys", b"etc/hosts", b"etc/hostname", b"etc/resolv.conf")
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep, revision 2


def oddities(root):
    """A tree with whatever a file system can hold, packed by GNU tar."""
    tree = Path(root, "odd")
    tree.mkdir()
    files = {
        "setuid": 0o4755, "setgid": 0o2711, "nothing": 0o000, "sticky": 0o1644, "write-only": 0o222, "all": 0o7777,
    }  # fmt: skip
    for number, (name, mode) in enumerate(files.items()):
        (tree / name).write_bytes(name.encode() * 100)
        os.chown(tree / name, 1000 + number, 70_000 + number)
        (tree / name).chmod(mode)
    (tree / "empty").touch()
    os.chown(tree / "empty", 4_000_000_000, 4_000_000_001)  # more than the octal field of a tar header holds
    for name, mode in (("setgid-dir", 0o2775), ("sticky-dir", 0o1777), ("closed-dir", 0o000)):
        (tree / name).mkdir()
        (tree / name / "inside").write_text(name)
        (tree / name).chmod(mode)
    for name, key, value in (
        ("capable", "security.capability", CAPABILITY),
        ("attributes", "user.text", b"value"),
        ("attributes", "user.bytes", bytes(range(256))),
        ("attributes", "user.empty", b""),
    ):
        (tree / name).touch()
        os.setxattr(tree / name, key, value)
    os.setxattr(tree / "setgid-dir", "user.directory", b"x")
    (tree / "one").write_text("linked")
    for name in ("two", "setgid-dir/three"):
        os.link(tree / "one", tree / name)
    os.link(tree / "setuid", tree / "setuid-again")
    for name, target in (
        ("relative", "setgid-dir/three"), ("absolute", "/bin/busybox"), ("dangling", "no/such"),
        ("long-link", "x" * 300), ("up", "../../.."), ("loop", "loop"),
    ):  # fmt: skip
        (tree / name).symlink_to(target)
    os.link(tree / "relative", tree / "relative-again", follow_symlinks=False)
    os.mkfifo(tree / "fifo", 0o640)
    os.mknod(tree / "character", stat.S_IFCHR | 0o620, os.makedev(5, 1))
    os.mknod(tree / "block", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    deep = tree / ("d" * 100) / ("e" * 100) / ("f" * 100)
    deep.mkdir(parents=True)
    (deep / ("g" * 255)).write_text("deep")
    for name in (
        b"\xff\xfe not utf-8",
        "n\u00e4me \u2713".encode(),
        b"new\nline",
        b" leading",
        b"-dash",
        b"back\\slash",
    ):
        Path(os.fsdecode(bytes(tree) + b"/" + name)).write_bytes(name)
    with (tree / "sparse").open("wb") as file:
        for offset in (0, 3 << 20, (9 << 20) - 5):
            file.seek(offset)
            file.write(b"data!")
    with (tree / "hole").open("wb") as file:
        file.truncate(5 << 20)
    for name, moment in (
        ("one", 1_234_567_890_123_456_789),
        ("two", 1),
        ("fifo", 999_999_999),
        ("sparse", 7_000_000_000_000_000_000),
    ):
        os.utime(tree / name, ns=(moment, moment))
    os.utime(tree / "dangling", ns=(5, 1_111_111_111_000_000_007), follow_symlinks=False)
    os.utime(tree / "sticky-dir", ns=(5, 1_000_000_000_500_000_000))
    os.utime(tree, ns=(5, 1_600_000_000_000_000_001))
    command = [
        "tar",
        "--sparse",
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-cf",
        "-",
        "odd",
    ]
    return subprocess.run(command, cwd=root, capture_output=True, check=True).stdout


def layers(directory):
    """(tar, compression), bottom first."""
    below = LayerTar().directory("./", mode=0o751, uid=3, gid=4, mtime=1_500_000_000)
    for place in ("gone", "kept", "opaque", "opaque/inner", "becomes-file", "twice"):
        below.directory(place, mode=0o750, uid=7, mtime=1_400_000_000)
    for name in (
        "gone/a",
        "kept/a",
        "kept/b",
        "opaque/a",
        "opaque/inner/a",
        "becomes-file/a",
        "becomes-dir",
        "twice/a",
        "relinked",
    ):
        below.file(name, name.encode(), mtime=1_300_000_000)
    above = LayerTar().directory("./", mode=0o751, uid=3, gid=4, mtime=1_500_000_001)
    above.whiteout("gone").directory("kept", mode=0o701, gid=9, mtime=1_400_000_001).whiteout("kept/a")
    above.directory("opaque", mode=0o711, mtime=1_400_000_002).opaque("opaque").file(
        "opaque/b", b"b", mtime=1_300_000_001
    )
    above.whiteout("becomes-file").file("becomes-file", b"a file now", mode=0o604)
    above.whiteout("becomes-dir").directory("becomes-dir", mtime=1_400_000_003).file("becomes-dir/x", b"x")
    above.directory("twice", mtime=1_400_000_004).whiteout("twice/a").file("relinked", b"anew", mode=0o4755)
    above.hardlink("relinked-too", "relinked")
    top = LayerTar().directory("./", mode=0o751, uid=3, gid=4, mtime=1_500_000_002)
    top.directory("gone", mtime=1_400_000_005, xattrs={"user.again": b"1"}).file("gone/new", b"new")
    top.directory("twice", mtime=1_400_000_006).file("twice/a", b"second life", mtime=1_300_000_002)
    top.directory("opaque", mode=0o711, mtime=1_400_000_007).directory("opaque/inner", mtime=1_400_000_008)
    top.whiteout("relinked-too").symlink("relinked-too", "relinked")
    return [
        (busybox_layer().content(), "gzip"), (below.content(), "plain"), (oddities(directory), "zstd"),
        (above.content(), "gzip"), (top.content(), "zstd"),
    ]  # fmt: skip


class Layout:
    """An OCI layout with one image; digests of its manifest and config."""

    def __init__(self, directory, tars):
        self.directory = directory
        (directory / "blobs/sha256").mkdir(parents=True)
        config = {
            "architecture": "amd64", "os": "linux", "created": "2020-01-02T03:04:05.123456789Z", "author": "t\u00ebst <&>",
            "config": {"Cmd": ["sleep", "1000"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest() for tar, _ in tars]},
            "history": [{"created_by": f"layer {number}"} for number in range(len(tars))],
            "an.unknown.field": {"kept": True},
        }  # fmt: skip
        described = self._put(json.dumps(config, indent=3).encode(), f"{OCI}.config.v1+json")
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": described,
            "layers": [self._put(compress(tar, kind), MEDIA_TYPES[kind]) for tar, kind in tars],
            "annotations": {"org.example": "kept"},
        }
        entry = self._put(json.dumps(manifest, indent=2).encode(), f"{OCI}.manifest.v1+json")
        self.config, self.manifest = described["digest"], entry["digest"]
        entry["annotations"] = {"org.opencontainers.image.ref.name": "image"}
        (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def _put(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    for tool in ("umoci", "skopeo", "docker-registry", "tar"):
        need.tool(tool)
    path = tmp_path_factory.mktemp("judges")
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", path], check=False)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def tars(place):
    return layers(place)


@pytest.fixture(scope="module")
def layout(place, tars):
    return Layout(place / "layout", tars)


@pytest.fixture(scope="module")
def verdict(place, tars):
    """The tree as umoci unpacks it."""
    same = Layout(place / "gzip", [(tar, "gzip") for tar, _ in tars])
    bundle = place / "bundle"
    subprocess.run(
        ["umoci", "unpack", "--image", f"{same.directory}:image", bundle], capture_output=True, check=True
    )
    found = observed(bundle / "rootfs")
    # Go's archive/tar takes a pax record without a value for its deletion; to GNU tar, and Barque, the attribute has no value.
    found[b"odd/attributes"]["xattrs"]["user.empty"] = b""
    return found


@pytest.fixture(scope="module")
def second(lab, workspace):
    """Another registry of Docker's."""
    config = workspace / "second.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {workspace}/second}}}}\n"
        f"http: {{addr: {SECOND}}}\n"
    )
    with (workspace / "second.log").open("wb") as log:
        process = lab.start("docker-registry", "serve", str(config), stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while b"LISTEN" not in lab.run("ss", "-Htln", "sport", "= :5001").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield SECOND
    process.terminate()
    process.wait()


@pytest.fixture(scope="module", params=["overlay", "dir"])
def daemon(request, lab, workspace, registry, layout):
    skopeo(lab, f"oci:{layout.directory}:image", f"docker://{registry}/judge:1", "--dest-tls-verify=false")
    base = Path(tempfile.mkdtemp(dir=workspace))
    daemon = Daemon(base, lab, write_profile(base / "p.toml", request.param))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def image(daemon):
    """The image, pulled."""
    name = f"{FIRST}/judge:1"
    succeeds(daemon, "pull", "-q", name)
    yield name
    for one in set(daemon.docker("images", "-aq").stdout.split()):
        daemon.docker("rmi", "-f", one)


def skopeo(lab, source, target, *options):
    copied = lab.run(
        "skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", *options, source, target
    )
    assert copied.returncode == 0, copied.stderr.decode()


def raw(lab, name):
    """Digest of the manifest and of the config that a registry has under a name."""
    shown = lab.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}")
    assert shown.returncode == 0, shown.stderr.decode()
    return f"sha256:{hashlib.sha256(shown.stdout).hexdigest()}", json.loads(shown.stdout)["config"]["digest"]


def copied(directory):
    """The same of what skopeo wrote as `dir:`."""
    data = (directory / "manifest.json").read_bytes()
    return f"sha256:{hashlib.sha256(data).hexdigest()}", json.loads(data)["config"]["digest"]


def succeeds(daemon, *arguments):
    result = daemon.docker(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


# Digests


def test_digests_are_the_same_everywhere(lab, daemon, layout, second, image, tmp_path):
    same = (layout.manifest, layout.config)
    assert raw(lab, image) == same
    shown = daemon.json("GET", f"/images/{image}/json")
    assert shown["Id"] == layout.config
    assert shown["RepoDigests"] == [f"{FIRST}/judge@{layout.manifest}"]

    succeeds(daemon, "tag", image, f"{second}/pushed:1")
    assert layout.manifest in succeeds(daemon, "push", f"{second}/pushed:1")
    assert raw(lab, f"{second}/pushed:1") == same

    archive = tmp_path / "saved.tar"
    succeeds(daemon, "save", "-o", str(archive), f"{second}/pushed:1")
    succeeds(daemon, "rmi", "-f", shown["Id"])
    assert succeeds(daemon, "images", "-aq") == ""
    succeeds(daemon, "load", "-i", str(archive))
    assert daemon.json("GET", f"/images/{second}/pushed:1/json")["Id"] == layout.config
    succeeds(daemon, "tag", f"{second}/pushed:1", f"{second}/loaded:1")
    succeeds(daemon, "push", f"{second}/loaded:1")
    assert raw(lab, f"{second}/loaded:1") == same

    skopeo(lab, f"docker://{second}/loaded:1", f"dir:{tmp_path}/from-registry", "--src-tls-verify=false")
    assert copied(tmp_path / "from-registry") == same
    skopeo(lab, f"oci-archive:{archive}", f"dir:{tmp_path}/from-layout")
    assert copied(tmp_path / "from-layout") == same
    skopeo(lab, f"docker-archive:{archive}", f"dir:{tmp_path}/from-docker-archive")
    assert copied(tmp_path / "from-docker-archive")[1] == layout.config
    succeeds(daemon, "pull", "-q", f"{second}/pushed@{layout.manifest}")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archive_of_skopeo_is_loaded(daemon, layout, verdict, place, image, tmp_path, kind):
    """The other way round: skopeo packs, Barque loads. (It cannot put zstd into an archive of Docker's.)"""
    succeeds(daemon, "rmi", image)
    source = layout.directory if kind == "oci-archive" else place / "gzip"
    command = ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{source}:image"]
    subprocess.run([*command, f"{kind}:{tmp_path}/archive.tar:judge:2"], check=True, capture_output=True)
    assert "Loaded image" in succeeds(daemon, "load", "-i", f"{tmp_path}/archive.tar")
    (loaded,) = daemon.json("GET", "/images/json?all=1")
    assert loaded["RepoTags"] == ["judge:2"]
    if kind == "oci-archive":
        assert loaded["Id"] == layout.config
    container = succeeds(daemon, "run", "-d", loaded["Id"], "sleep", "1000").strip()
    try:
        pid = daemon.json("GET", f"/containers/{container}/json")["State"]["Pid"]
        equal_trees(observed(f"/proc/{pid}/root"), verdict)
    finally:
        daemon.docker("rm", "-f", container)


# Trees


def observed(root):
    """Path -> all that stat(2), listxattr(2) and readlink(2) say, content as a digest, and which names are one file."""
    root = os.fsencode(root)
    found, inodes = {}, {}
    for directory, folders, files in os.walk(root):
        relative = os.path.relpath(directory, root)
        if relative in MOUNTED:
            folders.clear()
            continue
        for name in (
            b".",
            *files,
            *(folder for folder in folders if os.path.islink(os.path.join(directory, folder))),
        ):
            path = os.path.normpath(os.path.join(relative, name))
            if path not in MOUNTED:
                status = os.lstat(os.path.join(root, path))
                inodes.setdefault(status.st_ino, set()).add(path)
                found[path] = _facts(os.path.join(root, path), status)
    for names in inodes.values():
        for name in names:
            if not stat.S_ISDIR(found[name]["mode"]):
                found[name]["same file"] = sorted(names)
    return found


def _facts(path, status):
    attributes = os.listxattr(path, follow_symlinks=False)
    facts = {
        "mode": status.st_mode,
        "owner": (status.st_uid, status.st_gid),
        "mtime": status.st_mtime_ns,
        "xattrs": {name: os.getxattr(path, name, follow_symlinks=False) for name in attributes},
    }
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            facts |= {"size": status.st_size, "content": hashlib.file_digest(file, "sha256").hexdigest()}
    elif stat.S_ISLNK(status.st_mode):
        facts["target"] = os.readlink(path)
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        facts["device"] = status.st_rdev
    return facts


def equal_trees(found, expected):
    assert found[b"."].pop("mtime")  # of the container's own layer, which is new
    expected = expected | {b".": {fact: value for fact, value in expected[b"."].items() if fact != "mtime"}}
    lines = []
    for path in sorted(found.keys() | expected.keys()):
        ours, theirs = found.get(path, {}), expected.get(path, {})
        lines += [
            f"{path!r}: {fact}: {ours.get(fact)!r}, umoci {theirs.get(fact)!r}"
            for fact in sorted(ours.keys() | theirs.keys())
            if ours.get(fact) != theirs.get(fact)
        ]
    assert not lines, "\n".join(lines)


def test_the_judge_sees_the_oddities(verdict):
    """What is compared below is there at all."""
    assert len(verdict) > 60
    assert verdict[b"odd/capable"]["xattrs"] == {"security.capability": CAPABILITY}
    assert verdict[b"odd/one"]["same file"] == [b"odd/one", b"odd/setgid-dir/three", b"odd/two"]
    assert b"odd/\xff\xfe not utf-8" in verdict
    assert any(len(path) > 500 for path in verdict)
    assert b"opaque/a" not in verdict
    assert b"kept/a" not in verdict
    assert verdict[b"odd/one"]["mtime"] % 1000


@pytest.mark.parametrize("way", ["pulled", "loaded", "exported"])
def test_tree_is_what_umoci_unpacks(daemon, image, verdict, tmp_path, way):
    if way == "loaded":
        succeeds(daemon, "save", "-o", str(tmp_path / "saved.tar"), image)
        succeeds(daemon, "rmi", "-f", image)
        succeeds(daemon, "load", "-i", str(tmp_path / "saved.tar"))
    container = succeeds(daemon, "run", "-d", image).strip()
    try:
        if way == "exported":
            tree = tmp_path / "tree"
            tree.mkdir()
            succeeds(daemon, "export", "-o", str(tmp_path / "exported.tar"), container)
            options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]
            subprocess.run(
                ["tar", *options, tmp_path / "exported.tar", "-C", tree], check=True, capture_output=True
            )
        else:
            pid = daemon.json("GET", f"/containers/{container}/json")["State"]["Pid"]
            tree = f"/proc/{pid}/root"
        found = observed(tree)
        if way == "exported":
            found[b"."] = dict(verdict[b"."])  # an archive of Docker's has no entry for the root itself
        equal_trees(found, verdict)
    finally:
        daemon.docker("rm", "-f", container)
