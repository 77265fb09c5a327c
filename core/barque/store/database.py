"""The metadata store: objects as JSON documents in SQLite.

WAL with `synchronous=FULL`: what `commit` acknowledged survives a power cut (ACCEPTANCE, measured facts). The daemon
keeps all objects in memory too and reads the database at its start only. Thread-safe: one connection behind a lock.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.spi.errors import FailedPrecondition, ResourceExhausted, Unavailable

__all__ = ["Database"]

_SCHEMA = 1
_TABLES = ("containers", "images", "networks", "endpoints", "layers")


class Database:
    """Tables of (id, document). Documents are JSON text; what is in them is the caller's."""

    def __init__(self, path: Path) -> None:
        """Open or create. A database that is corrupt is an error, and stays where it is. Errors: FailedPrecondition."""
        self._lock = threading.Lock()
        created = not path.exists()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise FailedPrecondition(
                f"the metadata database {path} cannot be opened: {error}",
                hint=f"move it away (mv {path} {path}.bad) to start empty, or restore a copy",
            ) from error
        if created:
            os.chmod(path, 0o600)

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
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing, durable when the block is left. Errors: ResourceExhausted (disk full), Unavailable."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield Transaction(self._db)
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._rollback()
                if "full" in str(error):
                    raise ResourceExhausted(
                        f"the metadata database cannot grow: {error}",
                        hint="free space on the data root's file system",
                    ) from error
                raise Unavailable(f"the metadata database failed: {error}", hint="try again") from error

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def put(self, table: str, id: str, document: str) -> None:
        """Insert or replace one document, durable on return."""
        with self.transaction() as change:
            change.put(table, id, document)

    def delete(self, table: str, id: str) -> None:
        """Delete one document, durable on return. Idempotent."""
        with self.transaction() as change:
            change.delete(table, id)

    def all(self, table: str) -> Iterable[tuple[str, str]]:
        """All (id, document) of a table."""
        with self._lock:
            rows: list[tuple[str, str]] = self._db.execute(
                f"SELECT id, document FROM {_known(table)}"
            ).fetchall()
        return rows

    def fact(self, name: str, make: str) -> str:
        """A value that is set once: the stored one, or `make` stored now."""
        with self.transaction() as change:
            return change.fact(name, make)

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


def _known(table: str) -> str:
    if table not in _TABLES:
        raise ValueError(table)
    return table
