"""The deb image source on an archive made for the test: real apt, real signatures, no network, no root."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
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
def test_package_that_unpacks_to_more_than_allowed(make, repository):
    repository.add(Deb("bomb", files={"big": bytes(64 << 20)}))
    repository.publish()
    with pytest.raises(ResourceExhausted, match="bomb"):
        resolve(make(max_size=16 << 20), "bomb")
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
