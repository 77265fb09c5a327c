"""`docker rmi`: dockerd's rules, on values alone; and the rows they are read from."""

import json

import pytest

from barque.engine.images.removal import plan_removal
from barque.engine.images.rows import StoredImage, StoredLayer, decode, encode, repository_of
from barque.spi.common import Platform
from barque.spi.errors import Conflict

ID, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
DIGEST = "sha256:" + "d" * 64
APP, APP2, ELSE = "docker.io/library/app:1", "docker.io/library/app:2", "ghcr.io/x/else:1"
APP_DIGEST = f"docker.io/library/app@{DIGEST}"
RUNNING, STOPPED = ("r" * 64, ID, True), ("s" * 64, ID, False)


def image(*references):
    return StoredImage(
        id=ID,
        names=tuple(r for r in references if "@" not in r),
        digests=tuple(r for r in references if "@" in r),
        manifest_digest=DIGEST,
        manifest_type="m",
        layers=(StoredLayer(OTHER, OTHER, 5),),
        platform=Platform(),
        size=5,
        pulled_ns=1,
    )


@pytest.mark.parametrize(
    ("references", "reference", "dropped", "delete"),
    [
        ([APP], APP, (APP,), True),
        ([APP, APP_DIGEST], APP, (APP, APP_DIGEST), True),
        ([APP, APP2, APP_DIGEST], APP, (APP,), False),
        ([APP, ELSE, APP_DIGEST], APP, (APP, APP_DIGEST), False),
        ([APP, ELSE, APP_DIGEST], ELSE, (ELSE,), False),
        ([APP, APP_DIGEST], APP_DIGEST, (APP_DIGEST,), False),
        ([APP_DIGEST], APP_DIGEST, (APP_DIGEST,), True),
        ([APP, APP_DIGEST], "", (APP, APP_DIGEST), True),
        ([], "", (), True),
    ],
)
def test_references_and_the_image(references, reference, dropped, delete):
    plan = plan_removal(image(*references), "ref", reference, [], force=False)
    assert (plan.dropped, plan.delete, plan.retire) == (dropped, delete, False)


@pytest.mark.parametrize(
    ("references", "reference", "users", "words"),
    [
        ([APP], APP, [STOPPED], 'unable to remove repository reference "ref" (must force) - '
         "container ssssssssssss is using its referenced image aaaaaaaaaaaa"),
        ([APP], "", [STOPPED], "unable to delete aaaaaaaaaaaa (must be forced) - image is being used by stopped container ssssssssssss"),
        ([APP], "", [RUNNING], "unable to delete aaaaaaaaaaaa (cannot be forced) - image is being used by running container rrrrrrrrrrrr"),
        ([APP, ELSE], "", [], "unable to delete aaaaaaaaaaaa (must be forced) - image is referenced in multiple repositories"),
        ([APP, APP2], "", [], "unable to delete aaaaaaaaaaaa (must be forced) - image is referenced in multiple repositories"),
    ],
)  # fmt: skip
def test_conflicts_in_dockers_words(references, reference, users, words):
    with pytest.raises(Conflict) as refused:
        plan_removal(image(*references), "ref", reference, users, force=False)
    assert refused.value.message == f"conflict: {words}"


def test_force():
    assert plan_removal(image(APP, ELSE), "ref", "", [STOPPED], force=True).retire
    assert plan_removal(image(APP), "ref", APP, [STOPPED], force=True).retire
    running = plan_removal(image(APP, APP_DIGEST), "ref", APP, [RUNNING], force=True)
    assert (running.dropped, running.delete) == ((APP, APP_DIGEST), False)
    with pytest.raises(Conflict, match="cannot be forced"):
        plan_removal(image(APP), "ref", "", [RUNNING], force=True)
    used_by_others = [("x" * 64, OTHER, True)]
    assert plan_removal(image(APP), "ref", "", used_by_others, force=False).delete


def test_rows_of_an_earlier_barque_are_read():
    old = json.loads(encode(image(APP)))
    for later in ("used_ns", "damaged", "retired"):
        del old[later]
    assert decode(json.dumps(old)) == image(APP)
    assert image(APP).needs == {ID, DIGEST, OTHER}


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        (APP, "docker.io/library/app"),
        (APP_DIGEST, "docker.io/library/app"),
        ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x"),
    ],
)
def test_repository_of(name, repository):
    assert repository_of(name) == repository
