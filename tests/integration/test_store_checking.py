"""`check` and `check --repair` (row R24), the account of the disk, and what a damaged store still can do."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import threading
from dataclasses import replace

import pytest
from store_lab import StoreLab, flip, layer

from barque.spi.errors import InvalidArgument, NotFound
from barque.testing.registry import FaultyRegistry

pytestmark = pytest.mark.root


@pytest.fixture
def lab(tmp_path):
    with FaultyRegistry() as registry:
        lab = StoreLab(tmp_path, registry)
        yield lab
        for container in lab.engine.container_list():
            lab.engine.container_remove(container.id, force=True)
        lab.close()


@pytest.fixture
def image(lab):
    return lab.pull(lab.add("app", layer(1), layer(2)))


def check(lab, repair=False):
    return [
        (f.kind, f.subject, f.repaired)
        for f in lab.engine.content_check(repair=repair, progress=lambda _: None)
    ]


def test_a_store_in_order_has_no_findings(lab, image):
    lab.create(image.names[0])
    said = []
    assert lab.engine.content_check(repair=True, progress=lambda p: said.append(p.status)) == ()
    assert said.count("Verifying blob") == 4
    assert said.count("Verifying layer") == 2


@pytest.mark.row("R24")
@pytest.mark.parametrize("which", [0, 1, 2, 3], ids=["config", "manifest", "layer", "other layer"])
def test_a_flipped_byte_in_a_blob_is_found_taken_away_and_pulled_again(lab, image, which):
    digest = lab.core.images.find(image.id).blobs[which]
    flip(lab.blob(digest))
    assert check(lab) == [("blob", digest, False)]
    with pytest.raises(InvalidArgument, match=digest):
        list(lab.core.content.chunks(digest))
    assert check(lab, repair=True) == [("blob", digest, True)]
    marked = lab.engine.image_get(image.names[0])
    assert digest in marked.damaged
    assert check(lab) == [("blob", digest, False)], "it is missing now"
    lab.pull(image.names[0])
    assert lab.engine.image_get(image.id).damaged == ""
    assert check(lab) == []


@pytest.mark.row("R24")
def test_a_flipped_byte_in_a_layer_is_found_and_unpacked_again(lab, image):
    victim = lab.layer_file(image.diff_ids[0], "etc/file-1")
    good = victim.read_bytes()
    flip(victim)
    found = lab.engine.content_check(repair=False, progress=lambda _: None)
    assert [(f.kind, f.subject, f.images) for f in found] == [("layer", image.diff_ids[0], (image.id,))]
    assert "etc/file-1" in found[0].problem
    lab.create(image.names[0])
    assert check(lab, repair=True) == [("layer", image.diff_ids[0], True)]
    assert victim.read_bytes() == good
    assert check(lab) == []


@pytest.mark.row("R24")
@pytest.mark.parametrize("made", ["before", "after"])
def test_a_layer_is_not_taken_from_below_a_container_that_runs(lab, image, made):
    """Also not when its image came while the check was at work, and has the layer in common with what is checked."""
    diff_id = image.diff_ids[0]
    path = lab.layer_file(diff_id, "etc/file-1")
    flip(path)
    damaged = path.read_bytes()

    def run():
        later = lab.pull(lab.add("later", layer(1), layer(77)))
        assert diff_id in later.diff_ids
        record = lab.engine._containers.find(lab.create(later.id).id)
        record.stored = replace(record.stored, state=replace(record.stored.state, status="running"))
        return record

    records = [run()] if made == "before" else []

    def told(line):
        if line.status == "Verifying layer" and not records:
            records.append(run())

    found = lab.engine.content_check(repair=True, progress=told)
    record = records[0]
    assert path.read_bytes() == damaged
    assert [(one.subject, one.repaired) for one in found if one.kind == "layer"] == [(diff_id, False)]
    assert record.id[:12] in "".join(one.action for one in found if one.kind == "layer")
    record.stored = replace(record.stored, state=replace(record.stored.state, status="exited"))
    assert ("layer", diff_id, True) in check(lab, repair=True)
    assert path.read_bytes() != damaged


@pytest.mark.row("R24")
@pytest.mark.parametrize("loss", ["damaged", "missing"])
def test_an_image_that_lies_about_a_layer_does_not_hide_its_damage(lab, loss):
    """Its record, of a daemon that believed what images say, has a blob for the layer that is something else."""
    other = lab.core.images.find(lab.pull(lab.add("other", layer(66))).id)
    liar = lab.core.images.find(lab.pull(lab.add("liar", layer(1), layer(2))).id)
    wrong = replace(liar.layers[0], digest=other.layers[0].digest)
    lab.core.images.replace(liar, layers=(wrong, liar.layers[1]))
    diff_id = lab.pull(lab.add("honest", layer(1))).diff_ids[0]
    victim = lab.layer_file(diff_id, "etc/file-1")
    good = victim.read_bytes()
    flip(victim) if loss == "damaged" else shutil.rmtree(victim.parents[2])
    assert ("layer", diff_id, True) in check(lab, repair=True)
    assert victim.read_bytes() == good


@pytest.mark.row("R24", "R27")
def test_a_missing_layer_is_unpacked_again(lab, image):
    shutil.rmtree(lab.root / "storage/overlay/layers" / image.diff_ids[1][7:])
    assert check(lab) == [("layer", image.diff_ids[1], False)]
    assert check(lab, repair=True) == [("layer", image.diff_ids[1], True)]
    assert lab.layer_file(image.diff_ids[1], "etc/file-2").exists()


@pytest.mark.row("R24", "R27")
def test_layer_and_blob_lost_marks_the_image_until_the_next_pull(lab, image):
    stored = lab.core.images.find(image.id)
    lab.blob(stored.layers[0].digest).unlink()
    shutil.rmtree(lab.root / "storage/overlay/layers" / image.diff_ids[0][7:])
    assert {f[:2] for f in check(lab, repair=True)} == {
        ("blob", stored.layers[0].digest),
        ("layer", image.diff_ids[0]),
    }
    assert image.diff_ids[0] in lab.engine.image_get(image.id).damaged
    lab.pull(image.names[0])
    assert check(lab) == []


@pytest.mark.row("R24")
def test_what_nothing_needs_is_found_and_removed(lab, image):
    data = b"nobody's"
    digest = lab.registry.add_blob(data)
    lab.core.content.put(digest, data)
    assert check(lab) == [("blob", digest, False)]
    assert check(lab, repair=True) == [("blob", digest, True)]
    assert check(lab) == []


@pytest.mark.row("R24", "R25")
def test_an_unreadable_record_of_an_image_is_rebuilt(lab, image):
    broken = {"names": lab.core.images.find(image.id).names, "size": "no number"}
    lab.core.database.put("images", image.id, json.dumps(broken))
    lab.close()
    lab.start()
    assert lab.engine.image_list() == ()
    lab.collector.run()
    assert lab.layers() == set(image.diff_ids), "with an unreadable record nothing is freed"
    assert check(lab) == [("image", image.id, False)]
    assert check(lab, repair=True) == [("image", image.id, True)]
    rebuilt = lab.engine.image_get(image.names[0])
    assert (rebuilt.id, rebuilt.diff_ids, rebuilt.size) == (image.id, image.diff_ids, image.size)
    assert check(lab) == []


@pytest.mark.row("R24")
def test_containers_without_snapshot_or_image_are_told(lab, image):
    first, second = lab.create(image.names[0]), lab.create(image.names[0])
    lab.core.drivers.storage().remove(first.id)
    assert check(lab, repair=True) == [("container", first.id, False)]
    lab.engine.container_remove(first.id, force=False)
    lab.close()
    with contextlib.closing(sqlite3.connect(lab.root / "barque.db")) as database, database:
        database.execute("DELETE FROM images")
    lab.start()
    found = lab.engine.content_check(repair=False, progress=lambda _: None)
    assert ("container", second.id) in {(f.kind, f.subject) for f in found}


@pytest.mark.row("R27")
def test_an_image_whose_content_is_gone_is_listed_and_removed(lab, image):
    for digest in lab.blobs():
        lab.blob(digest).unlink()
    lab.close()
    lab.start()
    assert "pull" not in lab.engine.image_list()[0].damaged
    assert image.id in lab.engine.image_list()[0].damaged
    with pytest.raises(NotFound, match=image.id):
        lab.create(image.names[0])
    assert lab.engine.image_remove(image.id, True).deleted[0] == image.id
    assert lab.layers() == set()


def test_check_while_pulls_and_prunes_go_on(lab):
    references = [lab.add(f"app{n}", layer("shared"), layer(n)) for n in range(3)]
    stop, problems = threading.Event(), []

    def pulls():
        try:
            while not stop.is_set():
                for reference in references:
                    lab.pull(reference)
                lab.engine.image_prune(lambda _: True)
        except Exception as error:  # noqa: BLE001 - told at the end of the test
            problems.append(error)

    thread = threading.Thread(target=pulls)
    thread.start()
    found = [
        f for n in range(8) for f in lab.engine.content_check(repair=bool(n % 2), progress=lambda _: None)
    ]
    stop.set()
    thread.join()
    assert problems == []
    assert [f for f in found if f.problem != "nothing needs it"] == []


def test_a_driver_with_directories_of_its_own_names_is_asked(lab, image, monkeypatch):
    container = lab.create(image.names[0])
    accountant = lab.engine._accountant
    measure = accountant._measure

    def renamed():
        groups = {}
        for name, group in measure().items():
            head = "/".join(name.split("/")[:2])
            kept = groups.setdefault(head if name.startswith("storage/") else name, type(group)())
            kept.files, kept.other = kept.files + group.files, kept.other + group.other
        return groups

    monkeypatch.setattr(accountant, "_measure", renamed)
    usage = lab.engine.disk_usage()
    layers = {item.what: item.bytes for item in usage.items if item.kind == "layer"}
    assert layers == dict(zip(image.diff_ids, image.layer_sizes, strict=True))
    assert [i.owner for i in usage.items if i.kind == "container"] == [container.id]
    assert usage.total == du(lab.root)


def du(path):
    return int(subprocess.run(["du", "-s", "--block-size=1", path], capture_output=True, check=True, text=True).stdout.split()[0])  # fmt: skip


def test_every_byte_has_an_owner(lab, image):
    other = lab.pull(lab.add("other", layer(1), layer(3)))
    container = lab.create(image.names[0])
    upper = lab.root / "storage/overlay/snapshots" / container.id / "upper"
    (upper / "written").write_bytes(bytes(100_000))
    os.link(upper / "written", upper / "again")
    (lab.root / "containers" / container.id / "log" / "log.json").write_bytes(b"x" * 5000)
    (lab.root / "stray").write_bytes(b"x" * 9000)
    data = layer(9).content()
    partial = lab.root / "content/ingest" / lab.registry.add_blob(data)[7:]
    partial.write_bytes(data)
    usage = lab.engine.disk_usage()
    assert usage.total == sum(item.bytes for item in usage.items) == du(lab.root)

    def of(kind, owner=None):
        return [i for i in usage.items if i.kind == kind and owner in (None, i.owner)]

    assert [(i.what, i.bytes) for i in of("container", container.id)] == [("writable layer", 102_400)]
    assert [i.bytes for i in of("log", container.id)] == [4096 + 8192]
    assert [i.bytes for i in of("partial")] == [-(-len(data) // 4096) * 4096]
    assert [i.bytes for i in usage.items if i.what == "stray"] == [12288]
    shared = layer(1).diff_id()
    assert {i.what: i.shared for i in of("layer")} == {
        d: 2 if d == shared else 1 for d in {*image.diff_ids, *other.diff_ids}
    }
    assert {i.what for i in of("layer") if i.reclaimable} == {other.diff_ids[1]}
    assert len(of("blob")) == 3 + 4
    assert of("database")
    sizes = {d: size for one in (image, other) for d, size in zip(one.diff_ids, one.layer_sizes, strict=True)}
    assert usage.layers_bytes == sum(sizes.values())
    assert {i.kind for i in usage.items} <= {"layer", "blob", "partial", "container", "log", "cache", "database", "other"}  # fmt: skip
