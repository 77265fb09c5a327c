"""At the daemon's start: which containers that do not run are to run, and in which order.

Docker's rules: `always` runs again whatever ended it, `unless-stopped` and `on-failure` if it was not a user who did. A container that
uses another's namespaces, or is linked to it, is started after that one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from barque.engine.lifecycle.restarting import wants_restart
from barque.engine.records import ContainerRecord
from barque.spi.container import ContainerConfig
from barque.spi.errors import BarqueError

__all__ = ["Reviver", "needed", "ranks"]

_log = logging.getLogger(__name__)
_WORKERS = 4


class Reviver:
    """Starts what is to run. `find` finds a record by name or id; errors: BarqueError."""

    def __init__(
        self, find: Callable[[str], ContainerRecord], start: Callable[[ContainerRecord], object]
    ) -> None:
        self._find, self._start = find, start
        self._stopped = False
        self._thread: threading.Thread | None = None

    def begin(self, records: Iterable[ContainerRecord]) -> None:
        """`revive`, on a thread of its own; without one when there is nothing to do."""
        wanted = [record for record in records if _is_wanted(record)]
        if wanted:
            self._thread = threading.Thread(target=self.revive, args=(wanted,), name="reviver", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop, and wait for what is under way. Idempotent."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def revive(self, records: Iterable[ContainerRecord]) -> None:
        """Start those of `records` that are to run: several at once, each after those it needs."""
        wanted = {record.id: record for record in records if _is_wanted(record)}
        needs = {id: self._needs(record) & wanted.keys() for id, record in wanted.items()}
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="revive") as pool:
            for rank in ranks(needs):
                list(pool.map(self._revive, [wanted[id] for id in rank]))

    def stop(self) -> None:
        """Begin no further start. Idempotent."""
        self._stopped = True

    def _needs(self, record: ContainerRecord) -> set[str]:
        found = set()
        for ref in needed(record.stored.config):
            try:
                found.add(self._find(ref).id)
            except BarqueError:
                continue  # its start will say what is missing
        return found

    def _revive(self, record: ContainerRecord) -> None:
        if self._stopped:
            return
        try:
            self._start(record)
        except BarqueError as error:
            _log.error("container %s: cannot be started again: %s", record.id[:12], error)
        except Exception:  # noqa: BLE001 - a worker thread's last resort: told in the log, not lost
            _log.exception("container %s: cannot be started again", record.id[:12])


def _is_wanted(record: ContainerRecord) -> bool:
    stored = record.stored
    if record.removed or stored.state.status not in ("created", "exited", "restarting"):
        return False
    policy = stored.config.restart
    if record.restarting or policy.name == "always":
        return True
    return wants_restart(policy, stored.state.exit_code, stored.user_stopped, stored.restart_count)


def needed(config: ContainerConfig) -> tuple[str, ...]:
    """The containers, by name or id, that must run before one of this configuration starts."""
    modes = (config.network, config.pid_mode, config.ipc_mode)
    joined = [mode.removeprefix("container:") for mode in modes if mode.startswith("container:")]
    linked = [link.partition(":")[0] for link in config.links]
    for endpoint in config.networks.values():
        linked += [link.partition(":")[0] for link in endpoint.links]
    return tuple(dict.fromkeys((*joined, *linked)))


def ranks(needs: dict[str, set[str]]) -> list[list[str]]:
    """Keys in groups, each needing only keys of earlier groups. Those that need each other come last, together."""
    left, done, result = dict(needs), set[str](), []
    while left:
        rank = [key for key, others in left.items() if others <= done] or list(left)
        result.append(rank)
        done.update(rank)
        for key in rank:
            del left[key]
    return result
