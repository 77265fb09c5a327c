"""What a log driver is told of a container."""

from __future__ import annotations

import pytest

from barque.engine.log_attributes import check_tag, log_attributes
from barque.engine.records import StoredContainer
from barque.spi.common import Platform
from barque.spi.container import ContainerConfig
from barque.spi.errors import InvalidArgument

ID = "0123456789abcdef" * 4


def _stored(**options):
    config = ContainerConfig(
        "nginx:1",
        env=("STAGE=test", "HOME=/", "EMPTY=", "BARE"),
        labels={"com.a": "1", "com.b": "2", "x": "3"},
    )
    return StoredContainer(
        id=ID, name="web", created_ns=0, image_id="sha256:" + "f" * 64, config=config, path="run", args=("a",),
        platform=Platform(), runtime="", storage="", log_driver="", hostname="",
        log_options={name.replace("_", "-"): value for name, value in options.items()},
    )  # fmt: skip


def test_labels_and_environment_that_are_asked_for():
    assert log_attributes(_stored(labels="x, nope", env="STAGE,EMPTY,BARE"), False) == {
        "x": "3", "STAGE": "test", "EMPTY": "",
    }  # fmt: skip
    assert log_attributes(_stored(labels_regex=r"^com\.", env_regex="^ST|OME$"), False) == {
        "com.a": "1", "com.b": "2", "STAGE": "test", "HOME": "/",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("{{.ID}}", ID[:12]), ("{{ .FullID }}", ID), ("{{.Name}}/{{.ImageName}}", "web/nginx:1"), ("{{.ImageID}}", "f" * 12),
        ('{{index .ContainerLabels "com.a"}}-{{index .ContainerLabels "no"}}', "1-"), ("{{truncate .ID 3}}", "012"),
        ("{{.Command}}", "run a"), ("plain", "plain"),
    ],
)  # fmt: skip
def test_tags(template, tag):
    assert log_attributes(_stored(tag=template), False) == {"tag": tag}


@pytest.mark.parametrize(
    "template", ["{{.Nope}}", "{{ID}}", "{{}}", "{{.ID | upper}}", "{{truncate .Nope 3}}"]
)
def test_tags_of_what_there_is_not(template):
    with pytest.raises(InvalidArgument, match="invalid tag template"):
        check_tag(template)


def test_drivers_that_describe_the_container():
    assert log_attributes(_stored(), True) == {
        "CONTAINER_NAME": "web", "IMAGE_NAME": "nginx:1", "CONTAINER_TAG": ID[:12],
    }  # fmt: skip
    assert log_attributes(_stored(), False) == {}
