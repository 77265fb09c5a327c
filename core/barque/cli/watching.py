"""Following the usage of containers: a connection and a thread each, and one for the events that make and end them."""

from __future__ import annotations

import threading
from collections import deque

from barque.cli.client import documents
from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.filters import filters_parameter
from barque.cli.transport import segment
from barque.cli.usage import Usage

__all__ = ["Watch", "Watched"]

HISTORY = 60


class Watched:
    """A container under watch: `usage` is its latest sample (None: there is none), `error` why there will be no more. `named`: by the user.

    `cpu` and `memory` are the latest percents, oldest first."""

    def __init__(self, container: str, *, named: bool) -> None:
        self.container = container
        self.named = named
        self.usage: Usage | None = None
        self.error: CliError | None = None
        self.first = threading.Event()
        self.cpu: deque[float] = deque(maxlen=HISTORY)
        self.memory: deque[float] = deque(maxlen=HISTORY)

    def note(self, usage: Usage) -> None:
        """Take a sample."""
        self.usage = usage
        self.cpu.append(usage.cpu)
        self.memory.append(usage.memory_share)
        self.first.set()

    def fail(self, error: CliError) -> None:
        """There are no more samples."""
        self.usage, self.error = None, error
        self.first.set()


class Watch:
    """The containers that are watched, in the order in which they were met. Threads end with the process."""

    def __init__(self, context: Context, *, stream: bool) -> None:
        self._context = context
        self._stream = stream
        self._lock = threading.Lock()
        self._watched: dict[str, Watched] = {}

    def add(self, container: str, *, named: bool = False) -> None:
        """Watch a container, once."""
        with self._lock:
            if container in self._watched:
                return
            self._watched[container] = watched = Watched(container, named=named)
        threading.Thread(target=self._follow, args=(watched,), daemon=True).start()

    def drop(self, container: str) -> None:
        """Watch it no more."""
        with self._lock:
            self._watched.pop(container, None)

    def all(self) -> list[Watched]:
        """Those under watch now."""
        with self._lock:
            return list(self._watched.values())

    def _follow(self, watched: Watched) -> None:
        client = self._context.new_client()
        try:
            path = f"/containers/{segment(watched.container)}/stats"
            # Docker's own spelling: `stream=0` waits for a second sample, so that CPU time can be told.
            response = client.stream("GET", path, [("stream", "1" if self._stream else "0")])
            for sample in documents(response):
                watched.note(Usage(sample))
            if self._stream or watched.usage is None:
                watched.fail(CliError("the container's stream of samples has ended"))
        except CliError as error:
            watched.fail(error)
        finally:
            client.close()

    def follow_events(self, *, every: bool) -> None:
        """Add containers as they start (`every`: as they are created), drop them as they end (as they are removed)."""
        arguments = {"every": every, "ready": threading.Event()}
        threading.Thread(target=self._events, kwargs=arguments, daemon=True).start()
        arguments["ready"].wait(5)  # type: ignore[attr-defined]

    def _events(self, *, every: bool, ready: threading.Event) -> None:
        client = self._context.new_client()
        try:
            filters = filters_parameter(["type=container"])
            response = client.stream("GET", "/events", {"filters": filters})
            ready.set()
            for event in documents(response):
                action, identity = event.get("Action"), str((event.get("Actor") or {}).get("ID") or "")
                if action == "start" or (action == "create" and every):
                    self.add(identity)
                elif action == "destroy" or (action == "die" and not every):
                    self.drop(identity)
        except CliError:
            return  # the daemon left: the samples' own connections tell
        finally:
            ready.set()
            client.close()
