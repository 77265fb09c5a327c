from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque_image_deb.sources import (
    Source,
    host_codename,
    parse_deb822,
    parse_one_line,
    read_host,
    render,
    select,
)

DEB822 = """\
# the mirror
Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://disabled.example/
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/
Suites: bookworm
Components: main

Types: deb
URIs: http://security.example/
Suites: bookworm-security
Components: main
Trusted: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""
ONE_LINE = """\
# comment
deb http://deb.debian.org/debian bookworm main contrib # tail
deb-src http://deb.debian.org/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg trusted=yes] https://packages.example/apt sdk-bookworm main
   deb [ signed-by=/m.gpg ]   http://m.example/debian   bookworm-security   main
broken line
deb
"""


def test_deb822():
    mirror, security = parse_deb822(DEB822)
    assert mirror.suites == ("bookworm", "bookworm-updates", "bookworm-backports")
    assert mirror.components == ("main", "contrib")
    assert mirror.signed_by.endswith("debian-archive-keyring.gpg")
    assert security.uris == ("http://security.example/",)
    assert "abc" in security.signed_by


def test_one_line():
    mirror, sdk, security = parse_one_line(ONE_LINE)
    assert mirror == Source(("http://deb.debian.org/debian",), ("bookworm",), ("main", "contrib"))
    assert sdk.signed_by == "/k.gpg"
    assert (security.suites, security.signed_by) == (("bookworm-security",), "/m.gpg")


def test_render_keeps_the_key_and_drops_what_weakens():
    text = render(parse_deb822(DEB822))
    assert list(parse_deb822(text)) == list(parse_deb822(DEB822))
    assert "trusted" not in (text + render(parse_one_line(ONE_LINE))).lower()


def test_only_the_suite_with_its_pockets_is_selected():
    chosen = select([*parse_deb822(DEB822), *parse_one_line(ONE_LINE)], "bookworm", "bookworm")
    assert {suite for source in chosen for suite in source.suites} == {
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    }
    assert not any("packages.example" in uri for source in chosen for uri in source.uris)


@pytest.mark.parametrize(
    ("suite", "suites"),
    [("trixie", {"trixie", "trixie-updates", "trixie-security"}), ("sid", {"sid"})],
)
def test_another_suite_comes_from_the_same_mirrors(suite, suites):
    chosen = select(parse_deb822(DEB822), suite, "bookworm")
    assert {name for source in chosen for name in source.suites} == suites
    assert chosen[0].uris == ("http://deb.debian.org/debian",)


def test_host_that_follows_stable():
    (source,) = select(
        [Source(("http://m",), ("stable", "stable-updates"), ("main",))], "bookworm", "bookworm"
    )
    assert source.suites == ("bookworm", "bookworm-updates")


def test_host_without_a_debian_mirror():
    assert select([Source(("http://x",), ("sdk",), ("main",))], "bookworm", "bookworm") == ()
    assert select([Source(("http://x",), ("bookworm",), ("stable",))], "bookworm", "bookworm") == ()


def test_local_archives_are_copied():
    assert "URIs: copy:/srv/debian\n" in render([Source(("file:/srv/debian",), ("s",), ("main",))])


def test_host_files(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a s main\n")
    (tmp_path / "sources.list.d" / "b.list").write_text("deb http://b s main\n")
    (tmp_path / "sources.list.d" / "c.sources").write_text(
        "Types: deb\nURIs: http://c\nSuites: s\nComponents: main\n"
    )
    (tmp_path / "sources.list.d" / "d.list.save").write_text("deb http://d s main\n")
    assert [source.uris[0] for source in read_host(tmp_path)] == ["http://a", "http://b", "http://c"]
    assert read_host(tmp_path / "nothing") == ()


def test_codename(tmp_path):
    path = tmp_path / "os-release"
    path.write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    assert host_codename(path) == "trixie"
    assert host_codename(tmp_path / "nothing") == ""


@pytest.mark.row("R41")
@given(st.text(max_size=200))
def test_any_file_is_read(text):
    for source in (*parse_deb822(text), *parse_one_line(text), *parse_one_line(f"deb [{text}] u s c")):
        render([source])
