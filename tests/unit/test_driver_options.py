"""Options of drivers: tables within tables are validated too, and errors name the field as the profile has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from barque.plugins.configs import build_config, describe_config
from barque.spi.errors import InvalidArgument


@dataclass(frozen=True)
class Inner:
    names: tuple[str, ...] = ()
    plain: bool = False


class Driver:
    @dataclass(frozen=True)
    class Config:
        """one: a table.
        many: tables by host.
        """

        one: Inner = field(default_factory=Inner)
        many: Mapping[str, Inner] = field(default_factory=dict)


def build(options):
    return build_config(Driver, options, "image.x")


def test_tables_become_dataclasses():
    config = build({"one": {"plain": True}, "many": {"ghcr.io": {"names": ["a", "b"]}, "x": {}}})
    assert config == Driver.Config(Inner(plain=True), {"ghcr.io": Inner(("a", "b")), "x": Inner()})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"one": {"plan": True}}, "image.x.one.plan: no such option"),
        ({"many": {"ghcr.io": {"mirror": "x"}}}, 'image.x.many."ghcr.io".mirror: no such option'),
        ({"many": {"ghcr.io": {"plain": "perhaps"}}}, 'image.x.many."ghcr.io".plain: '),
        ({"many": {"host": "x"}}, "image.x.many.host: "),
        ({"many": 7}, "image.x.many: "),
    ],
)
def test_what_is_wrong_is_named_as_the_profile_has_it(options, message):
    with pytest.raises(InvalidArgument) as caught:
        build(options)
    assert caught.value.message.startswith(message)


def test_types_of_tables_are_told():
    assert [(row["type"], row["doc"]) for row in describe_config(Driver)] == [
        ("table", "a table."),
        ("table of tables", "tables by host."),
    ]
