"""What an image's config may look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.oci.imageconfig import check_image_config
from barque.spi.errors import InvalidArgument

ROOTFS = {"type": "layers", "diff_ids": []}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"config": None, "history": None, "architecture": "amd64"},
        {
            "config": {
                "Cmd": None,
                "Env": [],
                "Labels": {},
                "Volumes": {"/x": {}},
                "ExposedPorts": {"80/tcp": {}},
            }
        },
        {
            "config": {
                "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000},
                "ArgsEscaped": True,
            }
        },
        {
            "history": [{"created_by": "x", "empty_layer": True}],
            "unknown": [{"a": 1}],
            "config": {"Unknown": 5},
        },
    ],
)
def test_good(config):
    check_image_config(config | {"rootfs": ROOTFS})


@pytest.mark.row("S26")
@pytest.mark.parametrize(
    ("config", "field"),
    [
        ("text", "the config"),
        ({"config": []}, "config"),
        ({"config": {"Labels": ["a"]}}, "config.Labels"),
        ({"config": {"Labels": {"a": 1}}}, "config.Labels"),
        ({"config": {"Env": ["a", None]}}, "config.Env"),
        ({"config": {"Cmd": "sh"}}, "config.Cmd"),
        ({"config": {"Healthcheck": {"Retries": True}}}, "config.Healthcheck.Retries"),
        ({"config": {"Volumes": ["/x"]}}, "config.Volumes"),
        ({"history": {}}, "history"),
        ({"history": [{}, {"comment": 5}]}, r"history\[1\].comment"),
        ({"created": 5}, "created"),
    ],
)
def test_first_wrong_field_is_named(config, field):
    with pytest.raises(InvalidArgument, match=f"malformed image config: {field} is not a"):
        check_image_config(config)


@pytest.mark.row("R41")
@given(JSON, JSON)
def test_anything_is_taken_or_refused(document, run):
    for config in (
        document,
        {"config": run, "history": document, "os": run},
        {"config": {"Healthcheck": run}},
    ):
        try:
            check_image_config(config)
        except InvalidArgument:
            continue
