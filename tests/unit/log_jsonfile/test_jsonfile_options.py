"""`--log-opt`s as Docker takes and refuses them; where the files are."""

from __future__ import annotations

import pytest

from barque.spi import errors
from barque.spi.log import LogSpec
from barque_log_jsonfile.none import NoneLog
from barque_log_jsonfile.options import Limits
from barque_log_jsonfile.plugin import JsonFileLog


@pytest.fixture
def driver():
    return JsonFileLog("json-file", JsonFileLog.Config())


def test_defaults_come_from_the_profile():
    driver = JsonFileLog("json-file", JsonFileLog.Config(max_size="1m", max_file=2))
    assert driver.log_validate({}) == {"max-size": "1m", "max-file": "2"}
    assert driver.log_validate({"max-file": "7"}) == {"max-size": "1m", "max-file": "7"}


def test_nothing_is_rotated_by_default(driver):
    assert Limits.of(driver.log_validate({})) == Limits(0, 1)


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("10b", 10), ("1k", 1000), ("1.5K", 1500), ("20m", 20_000_000), ("1 GB", 10**9), ("-1", 0)],
)
def test_sizes(text, size):
    assert Limits.of({"max-size": text, "max-file": "1"}).max_size == size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max-size": "0"}, "max-size"),
        ({"max-size": "-5"}, "max-size"),
        ({"max-size": "much"}, "max-size"),
        ({"max-size": "1e3"}, "max-size"),
        ({"max-file": "0"}, "max-file cannot be less than 1"),
        ({"max-file": "x"}, "max-file"),
        ({"max-file": "10000"}, "max-file"),
        ({"compress": "perhaps"}, "compress"),
        (
            {"compress": "true", "max-size": "1m"},
            "max-file is less than 2 or max-size is not set",
        ),
        (
            {"compress": "true", "max-file": "2"},
            "max-file is less than 2 or max-size is not set",
        ),
        ({"labels-regex": "("}, "labels-regex"),
        ({"max_size": "1m"}, "unknown log opt 'max_size' for json-file log driver"),
    ],
)
def test_refused(driver, options, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        driver.log_validate(options)


def test_compression_wants_files_that_are_rotated(driver):
    options = {"compress": "true", "max-size": "1m", "max-file": "2"}
    assert Limits.of(driver.log_validate(options)) == Limits(1_000_000, 2, True)
    assert not Limits.of(driver.log_validate({"compress": "false"})).compress


def test_options_about_attributes_are_taken(driver):
    options = {"labels": "a,b", "labels-regex": "^x", "env": "C", "env-regex": "D.*", "tag": "{{.Name}}"}
    assert options.items() <= driver.log_validate(options).items()


@pytest.mark.parametrize("id", ["", "../escape", "a/b", "a\0"])
def test_id_that_is_a_path_is_refused(driver, tmp_path, id):
    for call in (driver.log_open, driver.log_remove):
        with pytest.raises(errors.InvalidArgument):
            call(LogSpec(id, str(tmp_path)))


def test_remove_takes_this_log_only(driver, tmp_path):
    for name in (
        "c1-json.log",
        "c1-json.log.1",
        "c1-json.log.77",
        "c1-json.log.3.gz",
        "c1-json.log.compressing",
        "c1-json.log.unfinished",
        "c1-json.log.3.gzip",
        "c1-json.log.x",
        "c2-json.log",
        "c1-json.log1",
    ):
        (tmp_path / name).write_bytes(b"")
    driver.log_remove(LogSpec("c1", str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c1-json.log.3.gzip",
        "c1-json.log.x",
        "c1-json.log1",
        "c2-json.log",
    ]
    driver.log_remove(LogSpec("c1", str(tmp_path / "gone")))


def test_none_keeps_nothing(tmp_path):
    driver = NoneLog("none", NoneLog.Config())
    writer = driver.log_open(LogSpec("c1", str(tmp_path)))
    writer.write("stdout", b"a\n", 1)
    writer.close()
    assert list(tmp_path.iterdir()) == []
