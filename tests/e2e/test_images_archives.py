"""save, load and import: dockerd 20.10, podman and skopeo read what Barque writes, and Barque what they write; in bounded memory."""

import gzip
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
import time
import urllib.parse
from pathlib import Path

import pytest
from images_lab import memory_grows_less
from peers import Place, wait_for
from registry_image import IMAGE

from barque.testing import need
from barque.testing.archives import ArchivedImage, docker_archive, oci_layout, tar_of, write_directory
from barque.testing.layers import LayerTar, compress

pytestmark = pytest.mark.root
LARGE = 150 << 20


class Dockerd:
    """A dockerd that runs no containers."""

    def __init__(self, place):
        self.place = place
        base = place.directory
        self.socket = base / "docker.sock"
        self.process = place.start(
            "dockerd", "--data-root", base / "data", "--exec-root", base / "exec", "-p", base / "pid", "-H", f"unix://{self.socket}",
            "--bridge=none", "--iptables=false", "--storage-driver=vfs", log="dockerd.log",
        )  # fmt: skip
        wait_for(lambda: self.run("version").returncode == 0 or self.process.poll() is not None)

    def run(self, *words):
        return self.place.run("docker", "-H", f"unix://{self.socket}", *words)

    def image(self, name):
        return json.loads(self.run("image", "inspect", name).stdout)[0]


@pytest.fixture(scope="module")
def dockerd():
    for tool in ("dockerd", "containerd", "docker"):
        need.tool(tool)
    place = Place("archives")
    try:
        dockerd = Dockerd(place)
        yield dockerd
        dockerd.process.terminate()
        dockerd.process.wait(20)
    finally:
        place.close()


@pytest.fixture(scope="module")
def podman():
    need.tool("podman")
    with tempfile.TemporaryDirectory(prefix="bq-podman-") as base:

        def run(*words):
            places = ("--root", f"{base}/root", "--runroot", f"{base}/run", "--storage-driver", "vfs")
            return subprocess.run(["podman", *places, *words], capture_output=True, text=True, check=False)

        yield run


@pytest.fixture(scope="module")
def two_layers(daemon, tmp_path_factory):
    """An OCI image of gzip layers that the daemon has under two names; with its archive."""
    image = ArchivedImage(
        [
            LayerTar().directory("etc").file("etc/motd", b"hello").content(),
            LayerTar().file("data", b"d" * 50_000).content(),
        ],
        labels={"made-by": "the archive tests"},
    )
    names = ["docker.io/library/archived:1", "docker.io/library/archived:2"]
    path = tmp_path_factory.mktemp("archives") / "image.tar"
    path.write_bytes(tar_of(oci_layout([image.entry(name=name) for name in names], [image])))
    loaded = daemon.docker("load", "-i", str(path))
    assert loaded.returncode == 0, loaded.stderr
    assert sorted(loaded.stdout.splitlines()) == ["Loaded image: archived:1", "Loaded image: archived:2"]
    image.id = "sha256:" + hashlib.sha256(image.config).hexdigest()
    yield image
    daemon.docker("rmi", "-f", image.id)


def save(daemon, path, *names):
    saved = daemon.docker("save", "-o", str(path), *names)
    assert saved.returncode == 0, saved.stderr
    return str(path)


def saved_files(daemon, path, *names):
    """The files in the archive of what is saved."""
    with tarfile.open(save(daemon, path, *names)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}


def described(daemon, name):
    return daemon.json("GET", f"/images/{name}/json")


@pytest.fixture
def emptied(daemon):
    """What the test brings is gone after it."""
    before = {image["Id"] for image in daemon.json("GET", "/images/json")}
    yield
    for image in daemon.json("GET", "/images/json"):
        if image["Id"] not in before:
            daemon.docker("rmi", "-f", image["Id"])


# What others read


def test_dockerd_loads_what_was_saved(daemon, dockerd, two_layers, tmp_path):
    loaded = dockerd.run("load", "-i", save(daemon, tmp_path / "a.tar", "archived", IMAGE))
    assert loaded.returncode == 0, loaded.stderr
    for name in ("archived:1", "archived:2", IMAGE):
        theirs, ours = dockerd.image(name), described(daemon, name)
        assert theirs["Id"] == ours["Id"]
        assert theirs["RootFS"]["Layers"] == ours["RootFS"]["Layers"]
        assert theirs["Config"]["Labels"] == ours["Config"]["Labels"]


def test_podman_loads_what_was_saved(daemon, podman, two_layers, tmp_path):
    loaded = podman("load", "-q", "-i", save(daemon, tmp_path / "a.tar", "archived:1"))
    assert loaded.returncode == 0, loaded.stderr
    shown = json.loads(podman("image", "inspect", two_layers.id).stdout)[0]
    assert shown["Digest"] == two_layers.digest
    assert [name for name in shown["RepoTags"] if name.endswith("archived:1")]


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_skopeo_reads_what_was_saved(daemon, two_layers, tmp_path, form):
    path = save(daemon, tmp_path / "a.tar", "archived:1")
    copied = subprocess.run(
        [need.tool("skopeo"), "copy", "-q", f"{form}:{path}", f"dir:{tmp_path}/copy"],
        capture_output=True,
        check=False,
    )
    assert copied.returncode == 0, copied.stderr
    manifest = (tmp_path / "copy/manifest.json").read_bytes()
    assert json.loads(manifest)["config"]["digest"] == two_layers.id
    if form == "oci-archive":
        assert manifest == two_layers.manifest


# What others write


def test_archives_of_dockerd(daemon, dockerd, two_layers, emptied, tmp_path):
    """Several images, one with two names, one without any; then compressed."""
    source = tmp_path / "source.tar"
    other = ArchivedImage([LayerTar().file("other", b"o").content()])
    source.write_bytes(tar_of(docker_archive({"from-docker:1,from-docker:2": two_layers, "": other})))
    told = dockerd.run("load", "-i", source)
    assert told.returncode == 0, told.stderr
    other_id = "sha256:" + hashlib.sha256(other.config).hexdigest()
    assert dockerd.run("save", "-o", tmp_path / "a.tar", "from-docker", other_id).returncode == 0
    expected = sorted(
        ["Loaded image: from-docker:1", "Loaded image: from-docker:2", f"Loaded image ID: {other_id}"]
    )
    plain = (tmp_path / "a.tar").read_bytes()
    for data in (plain, gzip.compress(plain, 1), compress(plain, "zstd")):
        (tmp_path / "b.tar").write_bytes(data)
        loaded = daemon.docker("load", "-i", str(tmp_path / "b.tar"))
        # The image is here as archived:1 already, and is told with the names it has.
        assert set(expected) <= set(loaded.stdout.splitlines()), loaded.stderr
    assert described(daemon, "from-docker:2")["Id"] == two_layers.id
    daemon.docker("rmi", "from-docker:1", "from-docker:2")


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_archives_of_podman(daemon, podman, emptied, tmp_path, form):
    image = ArchivedImage([LayerTar().file("podman", form.encode()).content()])
    source = tmp_path / "source.tar"
    source.write_bytes(tar_of(docker_archive({"podman.test/app:1": image})))
    assert podman("load", "-q", "-i", str(source)).returncode == 0
    saved = podman("save", "-q", "--format", form, "-o", str(tmp_path / "a.tar"), "podman.test/app:1")
    assert saved.returncode == 0, saved.stderr
    loaded = daemon.docker("load", "-i", str(tmp_path / "a.tar"))
    assert loaded.stdout == "Loaded image: podman.test/app:1\n", loaded.stderr
    assert described(daemon, "podman.test/app:1")["RootFS"]["Layers"] == [
        "sha256:" + hashlib.sha256(image.layers[0]).hexdigest()
    ]


def test_layout_of_a_directory_is_pulled(daemon, emptied, tmp_path):
    image = ArchivedImage([LayerTar().file("layout", b"l").content()])
    path = write_directory(oci_layout([image.entry("registry.test/app:1")], [image]), tmp_path / "layout")
    reference = f"oci:{path}:registry.test/app:1"
    status, told = daemon.request(
        "POST", f"/images/create?fromImage={urllib.parse.quote(reference, safe='')}"
    )
    assert status == 200
    assert b"error" not in told, told
    assert (
        described(daemon, "registry.test/app:1")["Id"] == "sha256:" + hashlib.sha256(image.config).hexdigest()
    )


# Names


def test_names_that_are_saved(daemon, two_layers, tmp_path):
    """A repository stands for all its tags, a name for itself, an id for none; each image once."""
    for asked, expected in [
        (["archived"], [["archived:1", "archived:2"]]),
        (["archived:2"], [["archived:2"]]),
        ([two_layers.id], [None]),
        ([two_layers.id, "archived:1"], [["archived:1"]]),
    ]:
        files = saved_files(daemon, tmp_path / "a.tar", *asked)
        assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing-of-that-name", "No such image: nothing-of-that-name"),
        ("archived:3", "reference does not exist"),
        ("No Name", "invalid reference format"),
    ],
)
def test_what_cannot_be_saved(daemon, two_layers, tmp_path, name, message):
    saved = daemon.docker("save", "-o", str(tmp_path / "a.tar"), "archived:1", name)
    assert saved.returncode == 1
    assert message in saved.stderr


def test_two_saves_are_equal(daemon, two_layers, tmp_path):
    first, second = (save(daemon, tmp_path / name, "archived", IMAGE) for name in ("a.tar", "b.tar"))
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_image_that_is_here_keeps_what_was_pulled(daemon, two_layers, emptied, tmp_path):
    """The same image from a docker-archive, whose layers are not compressed: new names, no new manifest."""
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(docker_archive({"archived:again": two_layers})))
    assert daemon.docker("load", "-i", str(path)).returncode == 0
    files = saved_files(daemon, tmp_path / "b.tar", "archived:again")
    assert f"blobs/sha256/{two_layers.digest[7:]}" in files
    daemon.docker("rmi", "archived:again")


def test_name_moves_to_the_image_that_is_loaded(daemon, emptied, tmp_path):
    ids = []
    for content in (b"old", b"new"):
        image = ArchivedImage([LayerTar().file("a", content).content()])
        (tmp_path / "a.tar").write_bytes(tar_of(docker_archive({"moving:1": image})))
        told = daemon.docker("load", "-i", str(tmp_path / "a.tar")).stdout
        ids.append(described(daemon, "moving:1")["Id"])
    assert f"The image moving:1 already exists, renaming the old one with ID {ids[0]} to empty string" in told
    assert ids[0] != ids[1]
    assert described(daemon, ids[0])["RepoTags"] == []


@pytest.mark.row("S26")
def test_no_archive_gives_a_name_with_a_scheme(daemon, emptied, tmp_path):
    image = ArchivedImage([LayerTar().file("a", b"not of Debian").content()])
    (tmp_path / "a.tar").write_bytes(tar_of(docker_archive({"deb:bash": image})))
    assert daemon.docker("load", "-i", str(tmp_path / "a.tar")).returncode == 0
    assert daemon.request("GET", "/images/deb:bash/json")[0] == 404
    assert described(daemon, "docker.io/library/deb:bash")["Id"]


@pytest.mark.row("S22", "S23")
@pytest.mark.parametrize("damage", ["layer", "config", "tag", "no archive"])
def test_load_of_a_bad_archive_leaves_nothing(daemon, tmp_path, damage):
    images = daemon.docker("images", "-aq").stdout
    image = ArchivedImage([LayerTar().file("a", damage.encode()).content()])
    files = docker_archive({"A B" if damage == "tag" else "bad:1": image})
    (layer,) = (name for name in files if name.endswith("layer.tar"))
    if damage == "layer":
        files[layer] = files[layer].replace(damage.encode(), damage.encode().upper())
    if damage == "config":
        files = {name: data.replace(b"sha256:", b"sha512:") for name, data in files.items()}
    (tmp_path / "a.tar").write_bytes(tar_of(files) if damage != "no archive" else os.urandom(10_000))
    loaded = daemon.docker("load", "-i", str(tmp_path / "a.tar"))
    assert loaded.returncode == 1
    assert loaded.stderr
    assert "/proc/" not in loaded.stderr
    assert daemon.docker("images", "-aq").stdout == images


@pytest.mark.row("R24")
def test_flipped_byte_is_told_by_digest_before_anything_is_written(daemon, emptied, tmp_path):
    image = ArchivedImage([LayerTar().file("a", b"to be flipped").content()])
    (tmp_path / "a.tar").write_bytes(
        tar_of(oci_layout([image.entry(name="docker.io/library/flipped:1")], [image]))
    )
    assert daemon.docker("load", "-i", str(tmp_path / "a.tar")).returncode == 0
    digest = json.loads(image.manifest)["layers"][0]["digest"]
    blob = daemon.base / "root/content/blobs/sha256" / digest[7:]
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    status, answer = daemon.request("GET", "/images/flipped:1/get")
    assert status >= 400
    assert f"content {digest} is damaged" in json.loads(answer)["message"]


# Import


@pytest.mark.parametrize("pack", ["cat", "gzip", "bzip2", "xz", "zstd"])
def test_import(daemon, emptied, tmp_path, pack):
    tar = LayerTar().directory("etc").file("etc/motd", pack.encode()).content()
    packed = subprocess.run(
        [need.tool(pack), "-c"] if pack != "cat" else ["cat"], input=tar, capture_output=True, check=True
    ).stdout
    (tmp_path / "files").write_bytes(packed)
    changes = ("--change", 'CMD ["sh"]', "--change", "ENV A=1 B='x y'", "--message", "as it was")
    imported = daemon.docker("import", *changes, str(tmp_path / "files"), "imported:1")
    assert imported.returncode == 0, imported.stderr
    image = described(daemon, "imported:1")
    assert image["Id"] == imported.stdout.strip()
    assert image["RootFS"]["Layers"] == ["sha256:" + hashlib.sha256(tar).hexdigest()]
    assert (image["Config"]["Cmd"], image["Config"]["Env"], image["Comment"]) == (
        ["sh"],
        ["A=1", "B=x y"],
        "as it was",
    )
    files = saved_files(daemon, tmp_path / "a.tar", "imported:1")
    (layer,) = json.loads(files["manifest.json"])[0]["Layers"]
    kept = files[layer]
    assert kept == packed if pack in ("cat", "gzip", "zstd") else gzip.decompress(kept) == tar


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"no tar" * 1000, (), "invalid tar"),
        (gzip.compress(b"x" * 100_000)[:-20], (), "unexpected end"),
        (b"\xfd7zXZ\x00" + b"x" * 1000, (), "damaged compressed data"),
        (b"", ("--change", "RUN rm -rf /"), "run is not a valid change command"),
        (b"", ("--change", "EXPOSE nowhere"), "Invalid containerPort: nowhere"),
    ],
    ids=["no tar", "cut", "no xz", "command", "port"],
)
def test_import_that_is_refused_leaves_nothing(daemon, tmp_path, data, options, message):
    blobs = daemon.base / "root/content/blobs/sha256"
    before = set(os.listdir(blobs))
    (tmp_path / "files").write_bytes(data)
    imported = daemon.docker("import", *options, str(tmp_path / "files"), "imported:2")
    assert imported.returncode == 1
    assert message in imported.stderr
    wait_for(lambda: set(os.listdir(blobs)) <= before)


def test_events(daemon, emptied, tmp_path):
    since = int(time.time())
    tar = LayerTar().file("a", b"events").content()
    (tmp_path / "files").write_bytes(tar)
    id = daemon.docker("import", str(tmp_path / "files"), "events:1").stdout.strip()
    path = save(daemon, tmp_path / "a.tar", "events:1")
    assert daemon.docker("load", "-i", path).returncode == 0
    _, told = daemon.request("GET", f"/events?since={since}&until={int(time.time()) + 1}")
    events = [json.loads(line) for line in told.splitlines()]
    assert [event["Action"] for event in events if event["Actor"]["ID"] == id] == [
        "import", "tag", "save", "load"
    ]  # fmt: skip


# Memory


@pytest.mark.row("S22")
def test_memory_stays_bounded(daemon, emptied, tmp_path):
    """A layer of 150 MB comes compressed, is unpacked, saved and read by another tool: the daemon needs less than 50 MB for it."""
    layer, config = tmp_path / "layer.tar", tmp_path / "config.json"
    with tarfile.open(layer, "w") as tar, open("/dev/zero", "rb") as zeros:
        member = tarfile.TarInfo("large")
        member.size = LARGE
        tar.addfile(member, zeros)
    with layer.open("rb") as file:
        diff_id = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    config.write_text(
        json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        )
    )
    manifest = [{"Config": "config.json", "RepoTags": ["large:1"], "Layers": ["layer.tar"]}]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with (tmp_path / "large.tgz").open("wb") as out:
        files = ("layer.tar", "config.json", "manifest.json")
        subprocess.run(["tar", "-C", tmp_path, "-I", "gzip -1", "-c", *files], stdout=out, check=True)
    layer.unlink()
    with memory_grows_less(daemon, 50 << 20):
        loaded = daemon.docker("load", "-q", "-i", str(tmp_path / "large.tgz"))
        assert loaded.stdout == "Loaded image: large:1\n", loaded.stderr
        with subprocess.Popen(daemon.docker_command("save", "large:1"), stdout=subprocess.PIPE) as saving:
            assert sum(map(len, iter(lambda: saving.stdout.read(1 << 20), b""))) > LARGE
