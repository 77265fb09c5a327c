"""Profiles: found, read, and refused with the field's name."""

import os

import pytest

from barque.profiles.loading import found_profiles, load_profile, locate, parse_profile
from barque.profiles.quantities import parse_age, parse_size
from barque.spi.errors import InvalidArgument, NotFound


def complete(**sections):
    kinds = {
        k: f'[{k}]\ndefault = "a"\n[{k}.a]\n'
        for k in ("runtime", "network", "storage", "image", "log", "frontend")
    }
    return "".join({**kinds, **sections}.values())


def test_the_builtin_profiles_are_there_and_valid():
    names = {p.name for p in found_profiles()}
    assert {"default", "runc", "crun", "minimal"} <= names
    for name in ("default", "runc", "crun", "minimal"):
        profile = load_profile(name)
        assert profile.name == name
        assert profile.description
    assert load_profile("runc").runtime.default == "runc"
    assert load_profile("default").runtime.instances["crun"].driver == "runc"
    assert load_profile("default").runtime.instances["crun"].options == {"path": "crun"}


def test_a_file_is_a_profile_too(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(complete())
    assert load_profile(str(path)).runtime.instances["a"].driver == "a"
    with pytest.raises(NotFound, match=r"no profile 'absent'.*default"):
        locate("absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[runtime", "no valid TOML"),
        (
            complete(runtime='[runtime]\ndefault = "b"\n[runtime.a]\n'),
            "runtime: default = 'b' names no table",
        ),
        (complete(runtime=""), "runtime: Field required"),
        (complete(runtime='[runtime]\ndefault = "a"\na = 3\n'), "'a' is not a table"),
        (complete(extra="[nonsense]\n"), "nonsense: Extra inputs"),
    ],
)
def test_a_wrong_profile_names_file_and_field(text, message):
    with pytest.raises(InvalidArgument, match=message) as caught:
        parse_profile("x", text, "x.toml")
    assert "x.toml" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
def test_root_does_not_take_profiles_from_a_directory_others_can_write(tmp_path, monkeypatch):
    (tmp_path / "default.toml").write_text(complete())
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    assert locate("default").path.parent.name == "builtin"


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5GiB", 3 << 29), ("512k", 512_000), (7, 7), ("0", 0), ("10 MB", 10**7), ("2TiB", 2 << 40)],
)  # fmt: skip
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("720h", 2_592_000), ("1h30m", 5400), ("2d", 172_800), ("", 0), ("90s", 90)]
)
def test_ages(text, seconds):
    assert parse_age(text) == seconds


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('max_size = "much"', "images.max_size.*no size"),
        ("max_size = -1", "images.max_size.*less than nothing"),
        ('max_size = "5 parsecs"', "images.max_size"),
        ('max_age = "old"', "images.max_age.*no length of time"),
        ('max_age = "1h-30m"', "images.max_age"),
        ('partial_max_age = "5"', "images.partial_max_age"),
        ("parallel_downloads = 0", "images.parallel_downloads"),
    ],
)
def test_a_wrong_value_in_the_table_images_names_the_field(line, field):
    with pytest.raises(InvalidArgument, match=field):
        parse_profile("x", f"[images]\n{line}\n", "x.toml")
