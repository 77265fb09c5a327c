"""A kit cannot be made to pass by leaving its tests out."""

from __future__ import annotations

import pytest

from barque.testing.kit import Conformance


class Part:
    def test_part(self):
        """From a mixin."""


class Kit(Part, Conformance):
    def test_whole(self):
        """From the kit."""


@pytest.mark.parametrize("name", ["test_part", "test_whole"])
@pytest.mark.parametrize("replacement", [None, lambda self: None])
def test_replacing_a_test_is_refused(name, replacement):
    with pytest.raises(TypeError, match=f"replaces {name}"):
        type("Cheat", (Kit,), {name: replacement})


def test_adding_a_test_and_excusing_one_is_allowed():
    cls = type("Fine", (Kit,), {"test_more": lambda self: None, "excused": {"test_part": "because"}})
    assert hasattr(cls, "test_more")


@pytest.mark.parametrize("excused", [{"test_part": ""}, {"test_none": "because"}])
def test_bad_excuses_are_refused(excused):
    with pytest.raises(TypeError, match="excuses"):
        type("Lazy", (Kit,), {"excused": excused})


@pytest.mark.parametrize("mark", [pytest.mark.skip, pytest.mark.skip(reason=" "), [pytest.mark.xfail]])
def test_skipping_the_kit_needs_a_reason(mark):
    with pytest.raises(TypeError, match="without a reason"):
        type("Idle", (Kit,), {"pytestmark": mark})
    assert type("Honest", (Kit,), {"pytestmark": pytest.mark.skip(reason="no such host")})
