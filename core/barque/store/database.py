"""The metadata store: objects as JSON documents in SQLite.

WAL with `synchronous=FULL`: what `commit` acknowledged survives a power cut (ACCEPTANCE, measured facts). The daemon
keeps all objects in memory too and reads the database at its start only. Thread-safe: one connection behind a lock.

A database that is corrupt, or missing beside data, ends the daemon's start with one line (row R26). It is not rebuilt: what only it
knows (names of images, configurations of containers) is nowhere else, since a second copy of each would cost every `docker run`
a second durable write; and with an empty one the first collection of garbage would delete everything that is still there.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.spi.errors import BarqueError, FailedPrecondition, Internal, ResourceExhausted, Unavailable
from barque.store.reserve import Reserve

__all__ = ["Database", "Transaction"]

_log = logging.getLogger(__name__)
_SCHEMA = 1
_RESERVE = 512 << 10  # some tens of removals
_TABLES = ("containers", "images", "networks", "volumes", "layers")


class Database:
    """Tables of (id, document). Documents are JSON text; what is in them is the caller's."""

    def __init__(self, path: Path, in_use: Callable[[], bool] = lambda: False) -> None:
        """Open or create. A database that is corrupt is an error, and stays where it is; so is one that is missing or empty while the
        data root is `in_use`. Errors: FailedPrecondition."""
        self._lock = threading.Lock()
        self._path = path
        self._durable = True
        created = not path.exists() or path.stat().st_size == 0
        if created and in_use():
            raise FailedPrecondition(
                f"the metadata database {path} is missing, but {path.parent} has images or containers",
                hint=f"restore a copy, or remove all of {path.parent} to start empty",
            )
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise self._corrupt(error) from error
        if created:
            os.chmod(path, 0o600)
        self._reserve = Reserve(path.with_name(f"{path.name}-reserve"), _RESERVE)

    def _corrupt(self, error: sqlite3.DatabaseError) -> FailedPrecondition:
        if "full" in str(error):
            return FailedPrecondition(
                f"the metadata database {self._path} cannot be opened: {error}",
                hint="free space on the data root's file system",
            )
        return FailedPrecondition(
            f"the metadata database {self._path} cannot be opened: {error}",
            hint=f"restore a copy, try `sqlite3 {self._path} .recover`, or remove all of {self._path.parent} to start empty",
        )

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA:
            raise sqlite3.DatabaseError(
                f"written by a newer Barque (schema {version}, this one knows {_SCHEMA})"
            )
        for table in _TABLES:
            self._db.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID"
            )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
        )
        self._db.execute(f"PRAGMA user_version={_SCHEMA}")

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[Transaction]:
        """All or nothing, durable when the block is left. Errors: ResourceExhausted (disk full), Unavailable, Internal (corrupt).

        Not `durable`: every later process sees it, whatever becomes of this one, but a power cut may undo it and nothing before it
        (sqlite.org/pragma.html#pragma_synchronous, NORMAL with WAL). It spares the wait for the disk.
        """
        with self._lock:
            try:
                if durable is not self._durable:
                    self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                    self._durable = durable
                self._db.execute("BEGIN IMMEDIATE")
                yield Transaction(self._db)
                self._db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._rollback()
                raise _translated(error, self._path.parent) from error
            except BaseException:
                self._rollback()
                raise

    def _rollback(self) -> None:
        """SQLite ends a transaction itself when the disk is full or fails; then there is nothing to do."""
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            _log.error("the metadata database cannot roll back: %s", error)

    def put(self, table: str, id: str, document: str, durable: bool = True) -> None:
        """Insert or replace one document. `durable` as `transaction` has it."""
        with self.transaction(durable) as change:
            change.put(table, id, document)

    def delete(self, table: str, id: str) -> None:
        """Delete one document, durable on return, also on a full disk. Idempotent."""
        self.freeing(lambda change: change.delete(table, id))

    def freeing(self, work: Callable[[Transaction], None]) -> None:
        """A transaction of a removal: on a full disk it has room of its own, or nothing could be removed to make room.
        Errors: as `transaction`."""
        try:
            with self.transaction() as change:
                work(change)
        except ResourceExhausted:
            if not self._reserve.release():
                raise
            with self.transaction() as change:
                work(change)
        self._reserve.restore()

    def all(self, table: str) -> Iterable[tuple[str, str]]:
        """All (id, document) of a table. Errors: FailedPrecondition (corrupt)."""
        return [(id, document) for id, document in self._read(f"SELECT id, document FROM {_known(table)}")]

    def _read(self, query: str, *arguments: str) -> list[tuple[str, ...]]:
        with self._lock:
            try:
                return self._db.execute(query, arguments).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._corrupt(error) from error

    def problems(self) -> tuple[str, ...]:
        """What SQLite's integrity check finds, empty for nothing. Reads the whole database; others wait."""
        with self._lock:
            try:
                lines = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(100)").fetchall()]
            except sqlite3.DatabaseError as error:
                return (str(error),)
        return () if lines == ["ok"] else tuple(lines)

    def fact(self, name: str, make: str) -> str:
        """A value that is set once: the stored one, or `make` stored now."""
        with self.transaction() as change:
            return change.fact(name, make)

    def known_fact(self, name: str) -> str | None:
        """A value that was set by `fact`, or None. Errors: FailedPrecondition (corrupt)."""
        rows = self._read("SELECT value FROM facts WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def close(self) -> None:
        """Checkpoint and close. Idempotent."""
        with self._lock:
            self._db.close()


class Transaction:
    """What can be done in `Database.transaction`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, table: str, id: str, document: str) -> None:
        """Insert or replace one document."""
        self._db.execute(f"INSERT OR REPLACE INTO {_known(table)} VALUES (?, ?)", (id, document))

    def delete(self, table: str, id: str) -> None:
        """Delete one document. Idempotent."""
        self._db.execute(f"DELETE FROM {_known(table)} WHERE id = ?", (id,))

    def fact(self, name: str, make: str) -> str:
        """See `Database.fact`."""
        self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, make))
        value: str = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0]
        return value


def _translated(error: sqlite3.DatabaseError, directory: Path) -> BarqueError:
    if "full" in str(error):
        return ResourceExhausted(
            f"the metadata database cannot grow: {os.strerror(errno.ENOSPC)} ({error})",
            hint="free space on the data root's file system (`barque system df`)",
        )
    if isinstance(error, sqlite3.OperationalError):
        return Unavailable(
            f"the metadata database failed: {_refusal(directory) or error}",
            hint="look at the data root's disk, then try again",
        )
    return Internal(f"the metadata database failed: {error}", hint="`barque system check` tells more")


def _refusal(directory: Path) -> str:
    """What the file system says to a new file, where SQLite has but one word; empty when it takes it."""
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _known(table: str) -> str:
    if table not in _TABLES:
        raise ValueError(table)
    return table
