"""Pulls: side by side, shared, interrupted, on a disk that is full (rows R11, R18, R20, R33)."""

import gzip
import json
import os
import random
import subprocess
import threading
import time

import pytest
from store_lab import StoreLab, flip, layer

from barque.spi.errors import BarqueError, InvalidArgument, ResourceExhausted, Unavailable
from barque.testing import need
from barque.testing.registry import Fault, FaultyRegistry

pytestmark = pytest.mark.root


@pytest.fixture
def registry():
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def make_lab(tmp_path, registry):
    labs = []

    def make(images="", base=tmp_path):
        labs.append(StoreLab(base, registry, images))
        return labs[-1]

    yield make
    for lab in labs:
        for container in lab.engine.container_list():
            lab.engine.container_remove(container.id, force=True)
        lab.close()


@pytest.fixture
def lab(make_lab):
    return make_lab()


class Pull(threading.Thread):
    """A pull on a thread of its own; `image` or `error` at the end, what was `said` by short digest."""

    def __init__(self, lab, reference):
        super().__init__()
        self.lab, self.reference = lab, reference
        self.cancelled = threading.Event()
        self.said, self.image, self.error = {}, None, None
        self.start()

    def run(self):
        def progress(line):
            self.said.setdefault(line.id, []).append(line.status)

        try:
            self.image = self.lab.pull(self.reference, progress, self.cancelled.is_set)
        except BarqueError as error:
            self.error = error

    def until(self, digest, status):
        deadline = time.monotonic() + 20
        while status not in self.said.get(digest[7:19], ()):
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)


def blob_requests(registry, digest):
    return len(registry.asked(f"/blobs/{digest}"))


@pytest.mark.row("R33")
def test_equal_pulls_fetch_each_blob_once(lab, registry):
    layers = [layer(n, 300_000) for n in range(3)]
    reference = lab.add("app", *layers)
    registry.inject(Fault("drip", path=layers[0].diff_id(), times=1, after=300_000, pause=0.0001))
    pulls = [Pull(lab, reference) for _ in range(3)]
    for pull in pulls:
        pull.join()
    assert [pull.error for pull in pulls] == [None] * 3
    assert [blob_requests(registry, one.diff_id()) for one in layers] == [1, 1, 1]


@pytest.mark.row("R33")
def test_cancelling_one_of_two_equal_pulls_spares_the_other(lab, registry):
    data = layer(1, 900_000)
    reference = lab.add("app", data)
    registry.inject(Fault("stall", path=data.diff_id(), times=1, after=600_000))
    first = Pull(lab, reference)
    first.until(data.diff_id(), "Downloading")
    second = Pull(lab, reference)
    second.until(data.diff_id(), "Waiting")
    first.cancelled.set()
    first.join(10)
    second.join(20)
    assert isinstance(first.error, Unavailable)
    assert second.error is None
    ranges = [seen.headers.get("range", "") for seen in registry.asked(f"/blobs/{data.diff_id()}")]
    assert len(ranges) == 2
    assert ranges[1].startswith("bytes="), "the second goes on where the first was"


def test_layers_are_unpacked_while_others_download(lab, registry):
    quick, slow = layer("quick"), layer("slow", 900_000)
    reference = lab.add("app", slow, quick)
    registry.inject(Fault("stall", path=slow.diff_id(), times=1, after=300_000))
    pull = Pull(lab, reference)
    pull.until(quick.diff_id(), "Pull complete")
    assert "Download complete" not in pull.said[slow.diff_id()[7:19]]
    pull.cancelled.set()
    pull.join(10)
    retry = Pull(lab, reference)
    retry.join(20)
    assert retry.error is None
    assert "Already exists" in retry.said[quick.diff_id()[7:19]]


def test_parallel_downloads_is_obeyed(make_lab, registry):
    lab = make_lab("parallel_downloads = 1")
    layers = [layer(n, 600_000) for n in range(4)]
    reference = lab.add("app", *layers)
    for one in layers:
        registry.inject(Fault("stall", path=one.diff_id(), times=1, after=100_000))
    pull = Pull(lab, reference)
    time.sleep(0.7)
    begun = [one for one in layers if blob_requests(registry, one.diff_id())]
    assert len(begun) == 1
    registry.heal()
    pull.cancelled.set()
    pull.join(10)


@pytest.mark.row("R24")
def test_a_blob_that_the_disk_has_damaged_is_fetched_again(lab, registry):
    one = layer(1)
    reference = lab.add("app", one)
    image = lab.pull(reference)
    with lab.core.images.leased(image.diff_ids), lab.core.images.leased([one.diff_id()]):
        lab.engine.image_remove(reference, True)
        lab.core.drivers.storage().remove_layer(one.diff_id())
        assert lab.core.content.has(one.diff_id())
        flip(lab.blob(one.diff_id()))
        lab.pull(reference)
    assert blob_requests(registry, one.diff_id()) == 2
    assert lab.engine.content_check(repair=False, progress=lambda _: None) == ()


@pytest.mark.row("R28")
def test_a_layer_that_is_not_what_the_config_says_is_refused_and_not_fetched_twice(lab, registry):
    one = layer(1)
    other = layer(2).content()
    digest = registry.add_blob(other)
    descriptor = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": digest,
        "size": len(other),
    }
    lab.add("app", one)
    manifest, _ = registry.manifests["app", "1"]
    registry.add_manifest("app", "2", json.loads(manifest) | {"layers": [descriptor]})
    reference = f"{registry.address}/app:2"
    with pytest.raises(InvalidArgument, match="wrong diff id"):
        lab.pull(reference)
    assert blob_requests(registry, digest) == 1
    assert lab.layers() == set()
    assert lab.engine.image_list() == ()


@pytest.mark.row("R11")
def test_pulls_end_when_the_engine_stops(lab, registry):
    data = layer(1, 900_000)
    reference = lab.add("app", data)
    registry.inject(Fault("stall", path=data.diff_id(), after=600_000))
    pull = Pull(lab, reference)
    pull.until(data.diff_id(), "Downloading")
    began = time.monotonic()
    lab.close()
    pull.join(10)
    assert time.monotonic() - began < 5
    assert isinstance(pull.error, Unavailable)
    registry.heal()
    lab.start()
    lab.collector.start()
    assert lab.pull(reference).diff_ids == (data.diff_id(),)


# -- on a small disk ----------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A mounted ext4 of 60 MB."""
    image, mount = tmp_path / "image", tmp_path / "disk"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(60_000_000)
    subprocess.run([need.tool("mkfs.ext4"), "-q", "-m", "0", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], check=False).returncode:
        need.unavailable("needs loop devices")
    yield mount
    for _attempt in range(100):
        if subprocess.run(["umount", mount], check=False, capture_output=True).returncode == 0:
            break
        time.sleep(0.05)
    else:
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.fixture
def small(disk, make_lab):
    return make_lab(base=disk)


def used(disk):
    os.sync()
    status = os.statvfs(disk)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def back_to(disk, before):
    deadline = time.monotonic() + 10
    while used(disk) - before > 1_000_000:
        assert time.monotonic() < deadline, f"{used(disk) - before} bytes are not back"
        time.sleep(0.05)


@pytest.mark.row("R18")
def test_a_pull_that_fills_the_disk_gives_all_back(small, disk):
    small.pull(small.add("kept", layer("kept")))
    before = used(disk)
    big = small.add("big", *(layer(n, 12_000_000) for n in range(4)))
    with pytest.raises(ResourceExhausted, match="No space left"):
        small.pull(big)
    back_to(disk, before)
    assert [i.names[0] for i in small.engine.image_list()] == [f"{small.registry.address}/kept:1"]
    assert small.core.content.partials() == ()
    assert small.pull(small.add("fits", layer("fits", 10_000_000)))


def fill(disk):
    """Take every free block."""
    path = disk / "ballast"
    with path.open("wb") as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    os.write(file.fileno(), random.randbytes(size))
            except OSError:
                continue
    return path


def tag_for_ever(lab, name):
    for number in range(3000):
        lab.engine.image_tag(name, "x" * 200, f"{number:0100}")


@pytest.mark.row("R20")
def test_on_a_full_disk_commits_fail_without_half_objects_and_work_again(small, disk):
    image = small.pull(small.add("app", layer(1)))
    small.create(image.names[0], "kept")
    small.engine.image_tag(image.names[0], "extra", "1")
    ballast = fill(disk)
    # the log of the database has some room of its own: use that up, too
    with pytest.raises(ResourceExhausted):
        tag_for_ever(small, image.names[0])
    names = small.engine.image_get(image.id).names
    with pytest.raises(ResourceExhausted):
        small.create(image.names[0], "half")
    assert [c.name for c in small.engine.container_list()] == ["kept"]
    small.engine.image_remove("extra:1", False)  # what makes room works
    small.engine.container_remove("kept", force=False)
    ballast.unlink()
    small.engine.image_tag(image.names[0], "later", "1")
    container = small.create(image.names[0], "half")
    small.close()
    small.start()
    assert {c.id for c in small.engine.container_list()} == {container.id}
    assert small.engine.image_get(image.id).names == (*(n for n in names if n != "extra:1"), "later:1")


PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"


def lying(lab, tar, *blobs):
    """An image whose config names the layer `tar` once for each blob, and whose manifest names the `blobs`."""
    reference = lab.add("liar", *[tar] * len(blobs))
    manifest = json.loads(lab.registry.manifests["liar", "1"][0])
    for described, blob in zip(manifest["layers"], blobs, strict=True):
        kind = f"{PLAIN_LAYER}+gzip" if blob[:2] == b"\x1f\x8b" else PLAIN_LAYER
        described |= {"mediaType": kind, "digest": lab.registry.add_blob(blob), "size": len(blob)}
        lab.registry.contents.held.add(("liar", described["digest"]))
    lab.registry.add_manifest("liar", "1", manifest)
    return reference


@pytest.mark.row("S23")
@pytest.mark.parametrize("brought", [False, True])
def test_a_blob_that_is_not_the_layer_it_is_said_to_be(lab, brought):
    """The layer is here and is not unpacked again, so nothing else would tell: the blob would be pushed and saved as that layer."""
    tar, evil = layer(1).content(), layer(66).content()
    honest = lab.pull(lab.add("honest", tar))
    if brought:
        lab.pull(lab.add("other", evil))  # so that its blob is here as well
    with pytest.raises(InvalidArgument, match="wrong diff id"):
        lab.pull(lying(lab, tar, evil))
    assert lab.engine.image_get(honest.id) == honest
    again = lying(lab, tar, gzip.compress(tar))
    assert lab.pull(again).id == honest.id, "the same layer, compressed"


@pytest.mark.row("S23")
@pytest.mark.parametrize("order", [1, -1])
def test_one_diff_id_for_two_blobs(lab, order):
    tar, evil = layer(1).content(), layer(66).content()
    with pytest.raises(InvalidArgument, match="wrong diff id"):
        lab.pull(lying(lab, tar, *(gzip.compress(tar), evil)[::order]))
    assert lab.engine.image_list() == ()
