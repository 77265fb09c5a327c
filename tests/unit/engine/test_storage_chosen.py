"""Which storage driver a data root uses: the first that works, remembered."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from barque.engine.layout import Layout
from barque.engine.storagechoice import choose_storage
from barque.profiles.loading import parse_profile
from barque.spi import Probe, Problem
from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.store.database import Database

REST = "\n".join(
    f'[{kind}]\ndefault = "x"\n[{kind}.x]' for kind in ("runtime", "network", "image", "log", "frontend")
)
TABLES = "[storage.overlay]\n[storage.dir]\n[storage.third]\n"
BROKEN = Probe((Problem("overlayfs cannot be mounted", "use ext4"),))


class FakeDrivers:
    """Counts probes; `answers` by name."""

    def __init__(self, default, **answers):
        self.profile = parse_profile("test", f"[storage]\ndefault = {default}\n{TABLES}{REST}", "test.toml")
        self.storage_in_use = self.profile.storage.default
        self.answers = answers
        self.asked = []

    def storage(self, name):
        def probe():
            self.asked.append(name)
            return self.answers.get(name, Probe())

        return SimpleNamespace(probe=probe)


@pytest.fixture
def place(tmp_path):
    layout = Layout(tmp_path / "root", tmp_path / "run")
    layout.make()
    database = Database(layout.database)
    yield layout, database
    database.close()


def test_one_name_is_taken_without_a_probe(place):
    drivers = FakeDrivers('"dir"')
    assert choose_storage(drivers, *place).name == "dir"
    assert drivers.asked == []


def test_the_first_that_works_is_chosen_once(place):
    drivers = FakeDrivers('["overlay", "dir"]', overlay=BROKEN)
    choice = choose_storage(drivers, *place)
    assert (choice.name, drivers.storage_in_use) == ("dir", "dir")
    assert "overlay: overlayfs cannot be mounted" in choice.warnings[0]
    later = FakeDrivers('["overlay", "dir"]')
    assert choose_storage(later, *place) == choice
    assert (later.asked, later.storage_in_use) == ([], "dir")


def test_the_first_needs_no_warning(place):
    drivers = FakeDrivers('["overlay", "dir"]')
    assert choose_storage(drivers, *place).warnings == ()
    assert drivers.asked == ["overlay"]


def test_another_list_is_another_question(place):
    choose_storage(FakeDrivers('["overlay", "dir"]'), *place)
    drivers = FakeDrivers('["third", "dir"]')
    assert choose_storage(drivers, *place).name == "third"


def test_what_is_in_use_already_stays(place):
    layout, _database = place
    (layout.driver("storage", "dir") / "layers/x").mkdir(parents=True)
    (layout.driver("storage", "overlay") / "layers").mkdir(parents=True)
    drivers = FakeDrivers('["overlay", "dir"]')
    assert choose_storage(drivers, *place).name == "dir"
    assert drivers.asked == []


def test_none_that_works_is_an_error_with_each_reason(place):
    drivers = FakeDrivers('["overlay", "dir"]', overlay=BROKEN, dir=Probe((Problem("no links", "use xfs"),)))
    with pytest.raises(
        FailedPrecondition, match="overlay: overlayfs cannot be mounted; dir: no links"
    ) as caught:
        choose_storage(drivers, *place)
    assert caught.value.hint == "use xfs"


def test_a_memory_that_is_damaged_is_asked_again(place):
    _layout, database = place
    database.fact("storage of overlay,dir", "{")
    assert choose_storage(FakeDrivers('["overlay", "dir"]'), *place).name == "overlay"


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ('["overlay", "fourth"]', "fourth"),
        ("[]", "different names"),
        ('["dir", "dir"]', "different names"),
        ('"fourth"', "fourth"),
        ("[1]", "storage"),
    ],
)
def test_a_list_that_is_wrong_names_what_is(storage, message):
    with pytest.raises(InvalidArgument, match=message):
        FakeDrivers(storage)


def test_only_storage_may_have_a_list():
    text = f'[storage]\ndefault = "dir"\n{TABLES}' + REST.replace('default = "x"', 'default = ["x"]', 1)
    with pytest.raises(InvalidArgument, match=r"only \[storage\] may have a list"):
        parse_profile("test", text, "test.toml")
