"""Progress of images on a terminal: one bar a layer, by rich."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

__all__ = ["Bars"]

_FINISHED = ("Pull complete", "Already exists", "Pushed", "Layer already exists", "Mounted from")


class Bars:
    """Draws the messages of a pull, push or load: those with an id update their layer's line, the others are printed above."""

    def __init__(self, output: TextIO) -> None:
        self._console = Console(file=output, highlight=False)
        self._progress = Progress(
            TextColumn("{task.fields[layer]}: {task.description}", markup=False),
            BarColumn(bar_width=30),
            DownloadColumn(),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, message: dict[str, Any]) -> None:
        """Take one message of the daemon."""
        if stream := str(message.get("stream") or ""):
            self._progress.print(stream.rstrip("\n"), markup=False)
            return
        layer, status = str(message.get("id") or ""), str(message.get("status") or "")
        if not layer or status.startswith("Pulling from"):
            self._progress.print(f"{layer}: {status}" if layer else status, markup=False)
            return
        if layer not in self._tasks:
            self._tasks[layer] = self._progress.add_task(status, total=None, layer=layer)
        detail = message.get("progressDetail") or {}
        task = self._tasks[layer]
        if status.startswith(_FINISHED):
            whole = self._progress.tasks[self._progress.task_ids.index(task)].total or 1
            self._progress.update(task, description=status, total=whole, completed=whole)
        elif detail.get("total") or detail.get("current"):
            self._progress.update(
                task,
                description=status,
                total=detail.get("total") or None,
                completed=detail.get("current", 0),
            )
        else:
            self._progress.update(task, description=status)
