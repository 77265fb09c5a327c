"""Every field of the OCI Linux configuration is honoured or refused, and the reference page says which (issue 3, "must show" 2).

UPDATE_DOCS=1 writes docs/reference/runtime-fields.md; without it the tests fail when the page is out of date.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import native_schema
import pytest
from native_bundle import UNIFIED
from native_fields import REPOSITORY, configured, keys, shown
from native_refusals import BY_HOST, ON_V1_ONLY, ON_V2_ONLY, REFUSED, refusal, refused_word
from native_table import DOCUMENT, ELSEWHERE, IN_VM, nodes_of, render

for name in sorted(path.stem for path in Path(__file__).parent.glob("test_native_fields_*.py")):
    importlib.import_module(name)

SPECIFICATION = REPOSITORY.parent / "shared/spec/oci-runtime"
FIELDS = native_schema.load()["fields"]
# A value that no field of that type can hold.
ABSURD = {"string": {"no": 1}, "integer": "seven", "boolean": "yes", "array": "x", "object": 7}


@pytest.fixture
def rootfs(tmp_path):
    path = tmp_path / "rootfs"
    path.mkdir()
    return path


def plain(name):
    """A member of a list may be named as the list, a key of a map as the map."""
    return re.sub(r"(\[\d+\]|\.key)$", "", name)


def test_fields_are_those_of_the_schema():
    if not SPECIFICATION.is_dir():
        pytest.skip("the specification's schema is not here; the flat copy is what counts")
    assert native_schema.load() == native_schema.flatten(SPECIFICATION)


def test_every_row_is_honoured_or_refused():
    assert [key for key in keys() if key not in REFUSED and not nodes_of(key)] == []
    assert sorted({*shown(), *ELSEWHERE, *REFUSED} - set(keys())) == []


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_refused_field_is_refused_by_name(rootfs, key):
    assert plain(configured(rootfs, key, None)[1]) in refused_word(key, rootfs)


@pytest.mark.parametrize("layout", ["v1", "v2"])
@pytest.mark.parametrize("key", sorted({**ON_V1_ONLY, **ON_V2_ONLY}))
def test_field_of_one_version_of_cgroups_is_refused_by_name_on_the_other(rootfs, key, layout):
    text = refused_word(key, rootfs, layout)
    if key in (ON_V1_ONLY if layout == "v1" else ON_V2_ONLY):
        assert text == ""
    else:
        parts = configured(rootfs, key, None)[1].split(".")
        names = [".".join(parts[:count]) for count in range(3, len(parts) + 1)]
        assert any(plain(name) in text for name in names), text


def told_by_host(path, text):
    """Whether it is the host that lacks what the whole object needs."""
    return path.startswith(BY_HOST) and any(each in text for each in BY_HOST)


@pytest.mark.parametrize("path", FIELDS)
def test_absurd_value_is_an_error_that_names_the_field(rootfs, path):
    """A field that is not looked at would take anything. What is refused whatever it holds may name its object."""
    config, name = configured(rootfs, path, ABSURD[FIELDS[path]])
    text = refusal(config, rootfs.parent)
    if any(each == path or each.startswith((f"{path}.", f"{path}[")) for each in REFUSED):
        assert text.startswith(path.partition("[")[0].partition(".")[0]), text
    else:
        assert plain(name) in text or told_by_host(path, text), text


@pytest.mark.parametrize("path", [path for path, kind in FIELDS.items() if kind == "integer"])
@pytest.mark.parametrize("value", [-(2**70), 2**70, 1.5, True])
def test_number_out_of_any_range_is_an_error_that_names_the_field(rootfs, path, value):
    config, name = configured(rootfs, path, value)
    text = refusal(config, rootfs.parent)
    if path in REFUSED:
        assert text
    else:
        assert plain(name) in text, text


@pytest.mark.parametrize(
    "path", ["", *(path for path, kind in FIELDS.items() if kind == "object" and path not in REFUSED)]
)
def test_unknown_property_is_ignored(rootfs, path):
    """config.md "Extensibility": a runtime must ignore what it does not know."""
    if f"{path}.*" in FIELDS:
        return  # a map: every key is the user's
    config, _ = configured(rootfs, f"{path}.unknown" if path else "unknown", {"a": [1]})
    assert refusal(config, rootfs.parent) == refusal(without_unknown(config), rootfs.parent)


def without_unknown(value):
    """The same without any member of that name."""
    if isinstance(value, dict):
        return {key: without_unknown(each) for key, each in value.items() if key != "unknown"}
    return [without_unknown(each) for each in value] if isinstance(value, list) else value


def collect(*words):
    """pytest in a process of its own, so that this one's outcome does not depend on what is selected."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_tests_of_the_table_exist():
    wanted = {node for key in keys() for node in nodes_of(key)}
    files = sorted({node.partition("::")[0] for node in wanted})
    found = set(collect("--collect-only", *files).stdout.splitlines())
    whole = {node.partition("[")[0] for node in found}
    assert sorted(node for node in wanted if node not in found and node not in whole) == []


@pytest.mark.root
@pytest.mark.timeout(600)
def test_tests_of_other_files_pass_here_and_are_not_skipped():
    """Those of test_native_fields_* run beside this one, and skip nothing."""
    wanted = sorted(set(ELSEWHERE.values()) - (set() if UNIFIED else IN_VM))
    result = collect("-rA", *wanted)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "SKIPPED" not in result.stdout


def test_reference_page_is_up_to_date(tmp_path, rootfs):
    text = render(rootfs)
    if os.environ.get("UPDATE_DOCS") == "1":
        DOCUMENT.write_text(text)
    assert DOCUMENT.read_text() == text, "run this test with UPDATE_DOCS=1"
