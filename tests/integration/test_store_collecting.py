"""What goes and what stays: leases, garbage collection, prune, the profile's policy, `docker rmi`."""

import contextlib
import os
import random
import threading
import time

import pytest
from store_lab import StoreLab, layer

from barque.spi.errors import Conflict, NotFound, Unavailable
from barque.testing.registry import FaultyRegistry

pytestmark = pytest.mark.root


@pytest.fixture
def registry():
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def make_lab(tmp_path, registry):
    labs = []

    def make(images=""):
        lab = StoreLab(tmp_path, registry, images)
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        for container in lab.engine.container_list():
            lab.engine.container_remove(container.id, force=True)
        lab.close()


@pytest.fixture
def lab(make_lab):
    return make_lab()


def events(lab):
    """(action, actor, name) of all image events so far."""
    stream = lab.engine.events(0, time.time_ns())
    found = []
    while (event := stream.next(0.01)) is not None:
        if event.type == "image":
            found.append((event.action, event.actor_id, event.attributes.get("name")))
    return found


def test_prune_takes_dangling_images_and_what_only_they_need(lab):
    shared, old, new = layer(1), layer(2), layer(3)
    ref = lab.add("app", shared, old)
    first = lab.pull(ref)
    lab.add("app", shared, new)
    second = lab.pull(ref)
    dangling = lab.engine.image_get(first.id)
    assert dangling.names == ()
    assert [d.partition("@")[0] for d in dangling.digests] == [ref.rpartition(":")[0]]
    pruned = lab.engine.image_prune(lambda image: not image.names)
    assert [r.deleted[0] for r in pruned.removed] == [first.id]
    assert pruned.bytes >= 5000
    assert lab.layers() == {shared.diff_id(), new.diff_id()} == set(second.diff_ids)
    assert lab.blobs() == set(lab.core.images.find(second.id).blobs)
    assert events(lab)[-1][0] == "prune"
    assert lab.engine.image_prune(lambda image: not image.names).removed == ()


def test_prune_leaves_images_of_containers_alone(lab):
    used = lab.pull(lab.add("used", layer(1)))
    lab.pull(lab.add("unused", layer(2)))
    container = lab.create(used.names[0])
    assert len(lab.engine.image_prune(lambda _: True).removed) == 1
    assert [i.id for i in lab.engine.image_list()] == [used.id]
    lab.engine.container_remove(container.id, force=False)
    lab.engine.image_prune(lambda _: True)
    assert lab.engine.image_list() == ()
    assert lab.layers() == lab.blobs() == set()


def test_an_image_that_is_removed_by_force_stays_for_its_stopped_container(lab):
    image = lab.pull(lab.add("app", layer(1)))
    container = lab.create(image.names[0])
    with pytest.raises(Conflict, match="must force") as refused:
        lab.engine.image_remove(image.names[0], False)
    assert container.id[:12] in refused.value.message
    with pytest.raises(Conflict, match="must be forced"):
        lab.engine.image_remove(image.id, False)
    removed = lab.engine.image_remove(image.id, True)
    assert removed.deleted == (image.id,)
    with pytest.raises(NotFound):
        lab.engine.image_get(image.id)
    lab.collector.run()
    assert lab.layers() == set(image.diff_ids)
    assert lab.core.images.of_container(image.id).diff_ids == image.diff_ids
    lab.close()
    lab.start()
    assert lab.engine.image_list() == ()
    lab.engine.container_remove(container.id, force=False)
    lab.collector.run()
    assert lab.layers() == lab.blobs() == set()


@pytest.mark.row("R35")
def test_an_image_of_which_a_container_is_being_made_is_not_removed(lab):
    image = lab.pull(lab.add("app", layer(1)))
    with lab.core.images.using(image.names[0]):
        with pytest.raises(Conflict, match="a container is being made of it"):
            lab.engine.image_remove(image.names[0], False)
        assert lab.engine.image_prune(lambda _: True).removed == ()
        assert lab.engine.image_remove(image.names[0], True).deleted == (image.id,)
        assert lab.layers() == set(image.diff_ids)
    lab.collector.run()
    assert lab.layers() == lab.blobs() == set()


def test_rmi_untags_and_deletes_as_docker(lab):
    ref = lab.add("app", layer(1))
    image = lab.pull(ref)
    repository = ref.rpartition(":")[0]
    lab.engine.image_tag(ref, "other/name", "2")
    with pytest.raises(Conflict, match=r"must be forced.*multiple repositories"):
        lab.engine.image_remove(image.id[7:19], False)
    removed = lab.engine.image_remove("other/name:2", False)
    assert (removed.untagged, removed.deleted) == (("other/name:2",), ())
    digest = lab.engine.image_get(ref).digests[0]
    assert lab.engine.image_get(digest).id == image.id
    removed = lab.engine.image_remove(ref, False)
    assert removed.untagged == (ref, digest)
    assert digest.startswith(f"{repository}@sha256:")
    assert removed.deleted[0] == image.id
    assert lab.layers() == lab.blobs() == set()
    assert [e for e in events(lab) if e[0] in ("untag", "delete")][-1] == ("delete", image.id, image.id)


def test_rmi_by_digest_takes_the_digest_only(lab):
    ref = lab.add("app", layer(1))
    digest = lab.pull(ref).digests[0]
    removed = lab.engine.image_remove(digest, False)
    assert (removed.untagged, removed.deleted) == ((digest,), ())
    assert lab.engine.image_get(ref).digests == ()


def test_events_are_dockers(lab):
    ref = lab.add("app", layer(1))
    image = lab.pull(ref)
    lab.engine.image_tag(ref, "other", "2")
    assert events(lab) == [
        ("pull", ref, ref.rpartition(":")[0]),
        ("tag", image.id, "other:2"),
    ]


@pytest.mark.row("R20")
def test_a_tag_moves_in_one_step(lab, monkeypatch):
    first, second = lab.pull(lab.add("a", layer(1))), lab.pull(lab.add("b", layer(2)))
    before = lab.engine.image_list()

    real = lab.core.database.transaction

    @contextlib.contextmanager
    def failing():
        with real() as change:
            yield _FailsSecond(change)

    monkeypatch.setattr(lab.core.database, "transaction", failing)
    with pytest.raises(Unavailable):
        lab.engine.image_tag(first.id, second.names[0].rpartition(":")[0], "1")
    monkeypatch.undo()
    assert lab.engine.image_list() == before
    lab.close()
    lab.start()
    assert lab.engine.image_list() == before


class _FailsSecond:
    """A transaction whose second write fails."""

    def __init__(self, change):
        self._change, self._count = change, 0

    def put(self, *arguments):
        self._count += 1
        if self._count == 2:
            raise Unavailable("disk I/O error")
        self._change.put(*arguments)


def test_the_oldest_unused_images_go_when_there_is_too_much(make_lab):
    lab = make_lab('max_size = "70KB"')
    lab.collector._grace_ns = 0
    images = [lab.pull(lab.add(f"app{n}", layer(n, 10_000))) for n in range(4)]
    container = lab.create(images[0].names[0])
    lab.create(images[2].names[0], "gone")
    lab.engine.container_remove("gone", force=False)
    pruned = lab.collector.run()
    assert [r.deleted[0] for r in pruned.removed] == [images[1].id, images[3].id], (
        "those used longest ago, in order"
    )
    assert {image.id for image in lab.engine.image_list()} == {images[0].id, images[2].id}
    lab.engine.container_remove(container.id, force=False)


def test_the_policy_works_behind_pulls(make_lab):
    lab = make_lab('max_size = "50KB"')
    lab.collector._grace_ns = 0
    lab.collector.start()
    first = lab.pull(lab.add("first", layer(1, 20_000)))
    second = lab.pull(lab.add("second", layer(2, 20_000)))
    deadline = time.monotonic() + 10
    while [i.id for i in lab.engine.image_list()] != [second.id]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert ("delete", first.id, first.id) in events(lab)


def test_images_that_were_not_used_for_long_go(make_lab):
    lab = make_lab('max_age = "1h"')
    old, young, used = (lab.pull(lab.add(name, layer(name))) for name in ("old", "young", "used"))
    hours = 3600 * 10**9
    for image in (old, used):
        lab.core.images.replace(lab.core.images.find(image.id), pulled_ns=time.time_ns() - 2 * hours)
    lab.core.images.touch(used.id)
    pruned = lab.collector.run()
    assert [r.deleted[0] for r in pruned.removed] == [old.id]
    assert {i.id for i in lab.engine.image_list()} == {young.id, used.id}


def test_when_an_image_was_used_survives_the_daemon(lab):
    image = lab.pull(lab.add("app", layer(1)))
    assert image.used_ns == 0
    container = lab.create(image.names[0])
    used = lab.engine.image_get(image.id).used_ns
    assert used >= container.created_ns - 10**9
    lab.close()
    lab.start()
    assert lab.engine.image_get(image.id).used_ns == used


def test_old_partial_downloads_go(make_lab):
    lab = make_lab('partial_max_age = "1h"')
    data = layer(1).content()
    digest = lab.registry.add_blob(data)
    partial = lab.root / "content/ingest" / digest[7:]
    partial.write_bytes(data[:1000])
    lab.collector.run()
    assert [p.digest for p in lab.core.content.partials()] == [digest]
    os.utime(partial, (time.time() - 7200,) * 2)
    assert lab.collector.run().bytes == 1000
    assert lab.core.content.partials() == ()


@pytest.mark.row("R35")
def test_nothing_in_use_is_ever_removed(lab):
    """200 rounds of garbage collection and prune against pulls and creates: each pull leaves a whole image, each container its layers."""
    shared = layer("shared")
    references = [lab.add(f"app{n}", shared, layer(n)) for n in range(4)]
    stop, problems, rounds = threading.Event(), [], [0, 0]

    def sweep():
        try:
            for n in range(200):
                lab.collector.run() if n % 2 else lab.engine.image_prune(lambda _: True)
                rounds[0] += 1
                time.sleep(0.02)
        except Exception as error:  # noqa: BLE001 - told at the end of the test
            problems.append(error)
        finally:
            stop.set()

    def work(number):
        choose = random.Random(number)
        while not stop.is_set():
            reference = choose.choice(references)
            try:
                lab.pull(reference)
                container = lab.create(reference)
            except NotFound as error:
                if "No such image" not in error.message:  # pruned between pull and create: as with Docker
                    problems.append(error)
                continue
            except Exception as error:  # noqa: BLE001 - told at the end of the test
                problems.append(error)
                continue
            try:
                image = lab.core.images.of_container(container.image_id)
                assert set(image.diff_ids) <= lab.layers()
                assert {image.id, image.manifest_digest} <= lab.blobs()
                assert all(lab.layer_file(d, "etc").is_dir() for d in image.diff_ids)
                rounds[1] += 1
            except Exception as error:  # noqa: BLE001 - told at the end of the test
                problems.append(error)
            lab.engine.container_remove(container.id, force=False)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    sweep()
    for thread in threads:
        thread.join()
    assert problems == []
    assert rounds[0] == 200
    assert rounds[1] > 5
    lab.engine.image_prune(lambda _: True)
    assert lab.layers() == lab.blobs() == set()
