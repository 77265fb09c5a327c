"""The deb image source on an archive made for the test: real apt, real signatures, no network, no root."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from barque.spi.common import Platform
from barque.spi.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from barque.spi.image import ImageRequest
from barque.testing.debs import Deb, DebRepository
from barque.testing.image import MemorySink
from barque.testing.layers import LayerTar
from barque_image_deb.plugin import DebConfig, DebImages

BASH = Deb(
    "bash",
    "5.2-1",
    "libc6 (>= 2)",
    {"bin/bash": b"#!bash", "etc/bash.bashrc": b"rc"},
    fields={"Recommends": "docs"},
)
LIBC = Deb(
    "libc6", "1:2.36-9", "", {"lib/x86_64-linux-gnu/libc.so.6": b"libc"}, fields={"Multi-Arch": "same"}
)
DOCS = Deb("docs", files={"usr/share/doc/docs/README": b"read me"})
ONE = Deb("one", files={"usr/bin/one": b"1"}, fields={"Conflicts": "two"})
TWO = Deb("two", files={"usr/bin/two": b"2"}, fields={"Provides": "virtual"})


@pytest.fixture
def repository(tmp_path):
    repository = DebRepository(tmp_path, "bookworm")
    repository.add(BASH, LIBC, DOCS, ONE, TWO)
    repository.publish()
    yield repository
    repository.close()


@pytest.fixture
def make(repository, tmp_path):
    def make(root="root", **changes):
        settings = {"suite": "bookworm", "mirror": repository.url, "keyring": repository.keyring} | changes
        return DebImages("deb", DebConfig(**settings), tmp_path / root)

    return make


@pytest.fixture
def driver(make):
    return make()


def resolve(driver, reference, **changes):
    return driver.image_resolve(ImageRequest(reference, Platform(), **changes))


def unpack(driver, image):
    sink = MemorySink()
    driver.image_fetch(image, image.layers[0], sink)
    with tarfile.open(fileobj=io.BytesIO(bytes(sink.data))) as archive:
        return {
            info.name: (info, archive.extractfile(info).read() if info.isreg() else b"") for info in archive
        }


def test_packages_with_dependencies_and_nothing_else(driver):
    image = resolve(driver, "bash")
    assert image.name == "deb:bash@bookworm"
    files = unpack(driver, image)
    assert files["usr/bin/bash"][1] == b"#!bash"
    assert files["usr/lib/x86_64-linux-gnu/libc.so.6"][1] == b"libc"
    assert "usr/share/doc/docs/README" not in files
    assert files["bin"][0].linkname == "usr/bin"
    assert files["usr/bin/sh"][0].linkname == "bash"
    assert stat.S_IMODE(files["tmp"][0].mode) == 0o1777
    config = json.loads(image.config)
    assert config["config"]["Cmd"] == ["bash"]
    assert config["config"]["Labels"] == {
        "org.barque.deb.packages": "bash=5.2-1",
        "org.barque.deb.suite": "bookworm",
    }


def test_every_package_is_named_in_the_history(driver, repository):
    image = resolve(driver, "bash")
    *packages, layer = json.loads(image.config)["history"]
    expected = [
        (
            deb.file_name,
            f"sha256:{hashlib.sha256((repository.pool / deb.file_name).read_bytes()).hexdigest()}",
        )
        for deb in (BASH, LIBC)
    ]
    assert [(entry["created_by"], entry["comment"]) for entry in packages] == expected
    assert all(entry["empty_layer"] for entry in packages)
    assert layer == {"created": layer["created"], "created_by": "deb:bash@bookworm"}


def test_packages_are_recorded_for_dpkg(driver):
    files = unpack(driver, resolve(driver, "bash"))
    status = files["var/lib/dpkg/status"][1].decode()
    assert "Package: bash\nStatus: install ok unpacked\nVersion: 5.2-1\n" in status
    assert "Package: libc6\n" in status
    assert b"/bin/bash\n" in files["var/lib/dpkg/info/bash.list"][1]
    assert files["var/lib/dpkg/info/bash.postinst"][1] == b"#!/bin/sh\nexit 1\n"
    assert "var/lib/dpkg/info/libc6:amd64.list" in files


def test_same_packages_give_the_same_digest_anywhere(make):
    first = resolve(make("one"), "bash,docs")
    time.sleep(1.1)
    second = resolve(make("two"), "docs,bash")
    assert (first.manifest, first.config) == (second.manifest, second.config)
    assert first.name == second.name == "deb:bash,docs@bookworm"


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TZ": "America/Adak", "LC_ALL": "C.UTF-8", "LANGUAGE": "de", "SOURCE_DATE_EPOCH": "1"},
    ],
)
def test_same_digest_in_another_environment(make, repository, tmp_path, environment):
    names = (
        LayerTar().file("usr/share/n\u00e4me \u2713", b"x").file("usr/share/" + "long/" * 60 + "name", b"y")
    )
    repository.add(Deb("names", tar=names.hardlink("usr/share/second", "usr/share/n\u00e4me \u2713")))
    repository.publish()
    here = resolve(make(), "names,bash")
    program = (
        "import os, sys\nos.umask(0o077)\n"
        "from barque.spi.common import Platform\nfrom barque.spi.image import ImageRequest\n"
        "from barque_image_deb.plugin import DebConfig, DebImages\n"
        "config = DebConfig(suite='bookworm', mirror=sys.argv[1], keyring=sys.argv[2])\n"
        "image = DebImages('deb', config, sys.argv[3]).image_resolve(ImageRequest('bash,names', Platform()))\n"
        "sys.stdout.buffer.write(image.manifest)\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        repository.url,
        repository.keyring,
        str(tmp_path / "other root"),
    ]
    there = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    assert there.stdout == here.manifest


def test_another_version_gives_another_digest(make, repository):
    first = resolve(make(lists_max_age=0), "bash")
    repository.add(Deb("bash", "5.2-2", "libc6", {"bin/bash": b"newer"}))
    repository.publish()
    second = resolve(make(lists_max_age=0), "bash")
    assert first.layers != second.layers
    assert unpack(make(), second)["usr/bin/bash"][1] == b"newer"
    assert unpack(make(), first)["usr/bin/bash"][1] == b"#!bash"


def test_second_resolve_asks_nobody(make, repository):
    first = resolve(make(), "bash")
    shutil.rmtree(repository.pool)
    repository.release.unlink()
    lines = []
    assert resolve(make(), "bash", progress=lines.append).manifest == first.manifest
    assert [line.status for line in lines] == ["Reading package lists"]


def test_layer_is_resumed(driver):
    image = resolve(driver, "bash")
    whole = MemorySink()
    driver.image_fetch(image, image.layers[0], whole)
    sink = MemorySink(whole.data[:5000])
    driver.image_fetch(image, image.layers[0], sink)
    assert sink.data == whole.data


# Dependencies


def test_versions_alternatives_and_virtual_packages(make, repository):
    repository.add(
        Deb("app", depends="old (<< 1) | choice, virtual, lib (>= 2), tool:any"),
        Deb("choice", depends="", fields={"Pre-Depends": "early"}),
        Deb("early"),
        Deb("old", "1.5-1"),
        Deb("lib", "2.1-1", fields={"Suggests": "docs", "Recommends": "docs"}),
        Deb("tool", fields={"Multi-Arch": "allowed"}),
        Deb("base", fields={"Essential": "yes"}),
    )
    repository.publish()
    image = resolve(make(), "app")
    packages = [entry["created_by"].split("_")[0] for entry in json.loads(image.config)["history"][:-1]]
    assert packages == ["app", "choice", "early", "lib", "tool", "two"]


def test_version_that_is_not_there(make, repository):
    repository.add(Deb("app", depends="libc6 (>= 9:9)"))
    repository.publish()
    with pytest.raises(InvalidArgument, match=r"cannot be installed together: .*libc6 \(>= 9:9\)"):
        resolve(make(), "app")


# Suites and platforms


def test_backports_come_with_their_release(tmp_path):
    repository = DebRepository(tmp_path, "bookworm")
    backports = DebRepository(tmp_path, "bookworm-backports", like=repository)
    repository.add(Deb("app", "1.0-1", "lib", {"app": b"old"}), Deb("lib"), Deb("other"))
    backports.add(Deb("app", "2.0-1~bpo12+1", "lib", {"app": b"new"}, fields={"X": "y"}))
    repository.publish()
    backports.publish("NotAutomatic: yes\nButAutomaticUpgrades: yes\n")
    try:
        settings = DebConfig(mirror=repository.url, keyring=repository.keyring)
        driver = DebImages("deb", settings, tmp_path / "root")
        old, new = resolve(driver, "app,other@bookworm"), resolve(driver, "app,other@bookworm-backports")
    finally:
        repository.close()
    assert unpack(driver, old)["app"][1] == b"old"
    assert unpack(driver, new)["app"][1] == b"new"
    assert new.name == "deb:app,other@bookworm-backports"
    assert [entry["created_by"] for entry in json.loads(new.config)["history"][:-1]] == [
        "app_2.0-1~bpo12+1_amd64.deb",
        "lib_1.0-1_amd64.deb",
        "other_1.0-1_amd64.deb",
    ]


@pytest.mark.parametrize(
    ("asked", "debian", "given"),
    [
        (Platform("linux", "arm64"), "arm64", {"architecture": "arm64", "variant": "v8"}),
        (Platform("linux", "arm"), "armhf", {"architecture": "arm", "variant": "v7"}),
        (Platform("linux", "arm", "v6"), "armel", {"architecture": "arm", "variant": "v5"}),
        (Platform("linux", "386"), "i386", {"architecture": "386"}),
    ],
)
def test_packages_of_another_architecture(tmp_path, asked, debian, given):
    repository = DebRepository(tmp_path, "bookworm", debian)
    repository.add(
        Deb("app", depends="lib, data", architecture=debian, files={"bin/app": b"\x7fELF"}),
        Deb("lib", architecture=debian, fields={"Multi-Arch": "same"}),
        Deb("data", architecture="all", fields={"Multi-Arch": "foreign"}),
    )
    repository.publish()
    try:
        settings = DebConfig(suite="bookworm", mirror=repository.url, keyring=repository.keyring)
        driver = DebImages("deb", settings, tmp_path / "root")
        image = driver.image_resolve(ImageRequest("app", asked))
        again = driver.image_resolve(
            ImageRequest("app", Platform("linux", asked.architecture, given.get("variant", "")))
        )
    finally:
        repository.close()
    config = json.loads(image.config)
    assert {key: config[key] for key in ("architecture", "variant") if key in config} == given
    assert [entry["created_by"] for entry in config["history"][:-1]] == [
        f"app_1.0-1_{debian}.deb", "data_1.0-1_all.deb", f"lib_1.0-1_{debian}.deb",
    ]  # fmt: skip
    assert f"var/lib/dpkg/info/lib:{debian}.list" in unpack(driver, image)
    assert again.manifest == image.manifest


def test_snapshot_is_past_its_date(make, repository, monkeypatch):
    monkeypatch.setattr("barque_image_deb.apt.host_options", lambda *_: [])  # this host's apt may not care
    repository.publish("Valid-Until: Fri, 02 Jan 2026 00:00:00 UTC\n")
    with pytest.raises(Unavailable, match="expired"):
        resolve(make("one"), "docs")
    assert resolve(make("two", check_valid_until=False), "docs").layers


# What cannot be had


@pytest.mark.parametrize("name", ["nosuch", "virtual", "bas", "bash-doc", "b.sh"])
def test_unknown_package_is_named(driver, name):
    with pytest.raises(NotFound, match=f"Unable to locate package {name}"):
        resolve(driver, f"bash,{name}")


def test_packages_that_exclude_one_another(driver):
    with pytest.raises(InvalidArgument, match=r"cannot be installed together: .*Conflicts"):
        resolve(driver, "one,two")


def test_unknown_suite(driver):
    with pytest.raises((NotFound, Unavailable), match="nosuite"):
        resolve(driver, "bash@nosuite")


def test_unknown_architecture(driver):
    with pytest.raises(NotFound, match="no matching manifest for linux/vax"):
        driver.image_resolve(ImageRequest("bash", Platform("linux", "vax")))


def test_unsigned_archive_is_refused(driver, repository):
    text = repository.release.read_text()
    repository.release.write_text(text.replace("Codename: testcode", "Codename: tampered"))
    with pytest.raises((FailedPrecondition, Unavailable)) as caught:
        resolve(driver, "bash")
    assert "trust" in str(caught.value) or "GPG" in str(caught.value)
    repository.release.unlink()
    (repository.release.parent / "Release").write_text(text)
    with pytest.raises(FailedPrecondition, match="not trust"):
        resolve(driver, "bash")


def test_archive_of_another_key_is_refused(make, tmp_path):
    other = DebRepository(tmp_path / "other", "bookworm")
    try:
        with pytest.raises(FailedPrecondition, match="not trust") as caught:
            resolve(make(keyring=other.keyring), "bash")
    finally:
        other.close()
    assert "keyring" in caught.value.hint


def test_tampered_package_is_refused(driver, repository):
    path = repository.pool / BASH.file_name
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(Unavailable, match="downloading packages"):
        resolve(driver, "bash")


def test_mirror_that_does_not_answer(make):
    driver = make(mirror="http://127.0.0.1:9/debian")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        resolve(driver, "bash")


def test_host_without_apt(driver, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(FailedPrecondition, match="apt-get") as caught:
        resolve(driver, "bash")
    assert caught.value.hint
    probe = driver.image_probe()
    assert not probe.usable
    assert "apt-get" in probe.problems[0].what


@pytest.mark.row("S22")
def test_package_that_unpacks_to_more_than_allowed(make, repository, tmp_path):
    repository.add(Deb("bomb", files={"big": bytes(64 << 20)}))
    repository.publish()
    with pytest.raises(ResourceExhausted, match="bomb"):
        resolve(make(max_size=16 << 20), "bomb")
    assert not list((tmp_path / "root" / "apt" / "bookworm-amd64").glob("work/*"))
    assert resolve(make(), "bash").layers


@pytest.mark.row("S18")
@pytest.mark.parametrize(
    "tar",
    [
        LayerTar().file("../outside", b"x"),
        LayerTar().file("a/../../outside", b"x"),
        LayerTar().hardlink("a", "../../etc/passwd"),
        LayerTar().symlink("usr", "/etc").file("usr/x", b"x"),
        LayerTar().symlink("dir", "/etc").file("dir/passwd", b"x"),
    ],
)
def test_hostile_package_is_refused(make, repository, tar):
    repository.add(Deb("hostile", tar=tar))
    repository.publish()
    with pytest.raises(InvalidArgument, match=r"hostile|base"):
        resolve(make(), "hostile")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 20 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.root
@pytest.mark.row("R18")
@pytest.mark.parametrize("content", [os.urandom(30 << 20), bytes(64 << 20)], ids=["package", "unpacked"])
def test_full_disk_is_named_and_given_back(make, repository, small_disk, content):
    repository.add(Deb("large", files={"usr/share/large": content}, compression="gz"))
    repository.publish()
    driver = make(root=small_disk / "root")
    resolve(driver, "docs")
    before = _used(small_disk)
    with pytest.raises(ResourceExhausted, match="No space left on device") as caught:
        resolve(driver, "large,bash")
    assert caught.value.hint
    assert _used(small_disk) - before < 1_000_000
    assert resolve(driver, "bash").layers


def _used(path):
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def test_two_packages_with_one_file(make, repository):
    repository.add(Deb("left", files={"usr/bin/x": b"left"}), Deb("right", files={"bin/x": b"right"}))
    repository.add(Deb("winner", files={"usr/bin/x": b"winner"}, fields={"Replaces": "left (<< 9)"}))
    repository.publish()
    with pytest.raises(InvalidArgument, match="left and right both have /usr/bin/x"):
        resolve(make(), "left,right")
    image = resolve(make(), "left,winner")
    assert unpack(make(), image)["usr/bin/x"][1] == b"winner"


# Crash, cancel, concurrency


@pytest.mark.row("R31")
def test_cancel_stops_apt(make, repository, tmp_path):
    fifo = repository.pool / BASH.file_name
    fifo.unlink()
    os.mkfifo(fifo)  # apt's file method waits on it for ever
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(resolve, make(), "bash", cancelled=cancelled.is_set)
        time.sleep(2)
        cancelled.set()
        started = time.monotonic()
        with pytest.raises(Unavailable):
            pull.result(timeout=10)
    assert time.monotonic() - started < 1


def test_concurrent_resolves_take_turns(make):
    with ThreadPoolExecutor(4) as pool:
        references = ["bash", "docs", "bash", "one"] * 2
        found = list(pool.map(lambda reference: resolve(make(), reference).name, references))
    assert found == [f"deb:{reference}@bookworm" for reference in references]


def test_leftovers_of_a_crash_do_no_harm(make, tmp_path):
    first = resolve(make(), "bash")
    state = next((tmp_path / "root" / "apt").iterdir())
    (state / "work").mkdir(exist_ok=True)
    (state / "work" / "layer.tar").write_bytes(b"half")
    for layer in (tmp_path / "root" / "layers").glob("*.tar"):
        os.truncate(layer, 100)
    for memory in (state / "resolved").iterdir():
        memory.write_bytes(b'{"snapsh')
    assert resolve(make(), "bash").manifest == first.manifest
    assert unpack(make(), first)["usr/bin/bash"][1] == b"#!bash"


def test_layer_that_left_the_cache(make, tmp_path):
    image = resolve(make(), "bash")
    for layer in (tmp_path / "root" / "layers").glob("*.tar"):
        layer.unlink()
    with pytest.raises(Unavailable, match="pull again"):
        unpack(make(), image)
    assert unpack(make(), resolve(make(), "bash"))


def test_cache_keeps_to_its_size(make, tmp_path):
    driver = make(cache_bytes=1)
    for reference in ("bash", "docs", "one"):
        resolve(driver, reference)
    assert len(list((tmp_path / "root" / "layers").glob("*.tar"))) == 1
    assert list((tmp_path / "root" / "apt" / "bookworm-amd64" / "archives").glob("*.deb")) == []
    assert resolve(driver, "bash").layers


def test_host_state_is_left_alone(driver):
    paths = [
        Path(p)
        for p in ("/var/lib/apt/lists", "/var/cache/apt", "/var/lib/dpkg/status", "/var/cache/apt/archives")
    ]
    before = [path.stat().st_mtime_ns for path in paths if path.exists()]
    resolve(driver, "bash")
    assert [path.stat().st_mtime_ns for path in paths if path.exists()] == before


def test_alias_of_a_suite_is_resolved(tmp_path):
    repository = DebRepository(tmp_path, "stable")
    repository.add(DOCS)
    repository.publish()
    try:
        settings = DebConfig(mirror=repository.url, keyring=repository.keyring)
        assert (
            resolve(DebImages("deb", settings, tmp_path / "root"), "docs@stable").name == "deb:docs@testcode"
        )
    finally:
        repository.close()
