"""The metadata database when its disk or its file fails (rows R20, R26)."""

import contextlib
import sqlite3

import pytest

from barque.spi.errors import FailedPrecondition, Internal, ResourceExhausted, Unavailable
from barque.store.database import Database


@pytest.fixture
def path(tmp_path):
    return tmp_path / "barque.db"


@pytest.fixture
def database(path):
    with contextlib.closing(Database(path)) as database:
        yield database


class Failing:
    """A connection whose statements that begin with `word` fail, as SQLite's do."""

    def __init__(self, real, word, error):
        self._real, self._word, self._error = real, word, error

    def execute(self, statement, *arguments):
        if statement.startswith(self._word):
            if "full" in str(self._error):
                self._real.execute("ROLLBACK")  # SQLite has ended the transaction itself
            raise self._error
        return self._real.execute(statement, *arguments)

    @property
    def in_transaction(self):
        return self._real.in_transaction


def write_two(database):
    with database.transaction() as change:
        change.delete("images", "b")
        change.put("images", "a", "new")


@pytest.mark.row("R20")
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.OperationalError("database or disk is full"), ResourceExhausted),
        (sqlite3.OperationalError("disk I/O error"), Unavailable),
        (sqlite3.DatabaseError("database disk image is malformed"), Internal),
    ],
)
@pytest.mark.parametrize("word", ["COMMIT", "INSERT"])
def test_a_failed_commit_changes_nothing_and_the_next_works(database, error, expected, word):
    database.put("images", "a", "old")
    real = database._db
    database._db = Failing(real, word, error)
    with pytest.raises(expected):
        write_two(database)
    database._db = real
    assert list(database.all("images")) == [("a", "old")]
    database.put("images", "a", "newer")
    assert list(database.all("images")) == [("a", "newer")]


def test_an_exception_in_the_block_rolls_back(database):
    def interrupted():
        with database.transaction() as change:
            change.put("images", "a", "x")
            raise KeyError("mine")

    with pytest.raises(KeyError):
        interrupted()
    assert list(database.all("images")) == []


@pytest.mark.row("R26")
@pytest.mark.parametrize("damage", [b"not a database at all" * 300, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_corrupt_file_is_an_error_and_stays(path, damage):
    path.write_bytes(damage)
    with pytest.raises(FailedPrecondition, match="cannot be opened"):
        Database(path)
    assert path.read_bytes()[: len(damage)] == damage


@pytest.mark.row("R26")
def test_corruption_behind_the_header_is_an_error_too(path):
    with contextlib.closing(Database(path)) as database:
        for number in range(300):
            database.put("containers", f"{number:064}", "x" * 200)
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xaa" * (len(data) - 12288)
    path.write_bytes(data)

    def load():
        with contextlib.closing(Database(path)) as database:
            assert database.problems() != ()
            database.all("containers")

    with pytest.raises(FailedPrecondition, match="malformed"):
        load()


@pytest.mark.row("R26")
@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_a_database_that_is_gone_is_not_silently_made_anew(path, empty):
    if empty:
        path.touch()
    with pytest.raises(FailedPrecondition, match="is missing, but"):
        Database(path, in_use=lambda: True)
    Database(path, in_use=lambda: False).close()
    Database(path, in_use=lambda: True).close()


def test_a_good_database_has_no_problems(database):
    database.put("images", "a", "x")
    assert database.problems() == ()
