from __future__ import annotations

import pytest

from barque.spi.common import Descriptor, Platform
from barque_image_registry.documents import Choice
from barque_image_registry.platforms import best, suits


def choices(*platforms):
    found = []
    for number, text in enumerate(platforms):
        os, architecture, variant = [*text.split("/"), "", "", ""][:3]
        found.append(Choice(Descriptor("m", f"sha256:{number:064x}", 1), os, architecture, variant))
    return found


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        (Platform("linux", "amd64"), ["linux/arm64", "linux/amd64"], 1),
        (Platform("linux", "amd64"), ["windows/amd64", "linux/386", "linux/amd64/v3"], 1),
        (Platform("linux", "amd64", "v3"), ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        (Platform("linux", "amd64"), ["linux/amd64/v2", "linux/arm64"], None),
        (Platform("linux", "amd64"), ["linux/x86_64"], 0),
        (Platform("linux", "arm64"), ["linux/arm/v7", "linux/arm64/v8"], 1),
        (Platform("linux", "arm64", "v8"), ["linux/arm64"], 0),
        (Platform("linux", "arm64"), ["linux/arm/v6", "linux/arm/v7"], 1),
        (Platform("linux", "arm", "v7"), ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], 1),
        (Platform("linux", "arm", "v6"), ["linux/arm/v7"], None),
        (Platform("linux", "arm"), ["linux/arm/v6", "linux/arm/v7"], 1),
        (Platform("linux", "s390x"), ["linux/amd64", "linux/s390x"], 1),
        (Platform("linux", "riscv64"), ["linux/amd64"], None),
        (Platform("linux", "amd64"), ["", "linux/386"], 1),
        (Platform("linux", "riscv64"), ["linux/amd64", ""], 1),
        (Platform("linux", "amd64"), ["linux/amd64", "linux/amd64"], 0),
        (Platform("linux", "amd64"), [], None),
    ],
)
def test_best_choice(wanted, offered, chosen):
    offer = choices(*offered)
    assert best(offer, wanted) == (None if chosen is None else offer[chosen])


def test_image_that_names_no_platform_suits():
    assert suits("", "", "", Platform("linux", "amd64"))
    assert suits("linux", "amd64", "", Platform("linux", "amd64"))
    assert not suits("linux", "arm64", "", Platform("linux", "amd64"))
    assert not suits("windows", "amd64", "", Platform("linux", "amd64"))
