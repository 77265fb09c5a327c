"""What shims report about the health of their containers, and what they are told to test."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from barque.engine.core import Core
from barque.engine.records import ContainerRecord, StoredContainer
from barque.oci.health import resolved
from barque.oci.process import exec_process
from barque.shim.protocol import HEALTH_FILE
from barque.spi.views import ExecConfig, Health, HealthResult

__all__ = ["HealthKeeper", "ended_health", "health_settings", "initial_health", "read_health"]

_KEPT = 5
_MOST_OUTPUT = 4096 + len("...")
_MOST_BYTES = 256 * 1024
_STATUSES = ("starting", "healthy", "unhealthy")
_USUAL_SHELL = ("/bin/sh", "-c")


def initial_health(stored: StoredContainer) -> Health | None:
    """What a container's health is at its start; None without a healthcheck."""
    return Health("starting") if resolved(stored.config.healthcheck) is not None else None


def ended_health(health: Health | None) -> Health | None:
    """What is left at its end: Docker calls it unhealthy."""
    return replace(health, status="unhealthy") if health is not None else None


def health_settings(stored: StoredContainer, bounding: frozenset[str]) -> dict[str, Any] | None:
    """`ShimConfig.health`, less the process's user, which the shim knows; None without a healthcheck."""
    check = resolved(stored.config.healthcheck)
    if check is None:
        return None
    process = exec_process(stored.config, ExecConfig(_command(stored)), bounding, stored.hostname)
    return {
        "process": process,
        "interval_ns": check.interval_ns,
        "timeout_ns": check.timeout_ns,
        "start_period_ns": check.start_period_ns,
        "start_interval_ns": check.start_interval_ns,
        "retries": check.retries,
    }


def _command(stored: StoredContainer) -> tuple[str, ...]:
    kind, *words = stored.config.healthcheck.test if stored.config.healthcheck is not None else ("CMD",)
    shell = (stored.health_shell or _USUAL_SHELL) if kind == "CMD-SHELL" else ()
    return (*shell, *words)


def read_health(state: str) -> Health | None:
    """What the shim of the state directory has found last; None when it has written nothing that can be believed."""
    try:
        fd = os.open(os.path.join(state, HEALTH_FILE), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return _health(json.loads(os.read(fd, _MOST_BYTES)))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    finally:
        os.close(fd)


class HealthKeeper:
    """Takes a shim's reports over into its container's state. Nothing of it is written: `health.json` is the shim's."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def on_event(self, record: ContainerRecord, event: Mapping[str, Any]) -> None:
        """A healthcheck begins, or has ended."""
        with record.lock:
            if not record.running or record.stored.state.health is None:
                return
            if event["event"] == "health-begin":
                self._begun(record, event)
            else:
                self._ended(record, event)

    def _begun(self, record: ContainerRecord, event: Mapping[str, Any]) -> None:
        line = " ".join(_command(record.stored))
        for action in ("exec_create", "exec_start"):
            self._core.publish(record.stored, f"{action}: {line}", execID=event.get("exec", ""))

    def _ended(self, record: ContainerRecord, event: Mapping[str, Any]) -> None:
        before, report = record.stored.state.health, _health(event["health"])
        if before is None:
            return
        health = replace(report, log=(*before.log, *report.log)[-_KEPT:])
        record.stored = replace(record.stored, state=replace(record.stored.state, health=health))
        if event.get("ran"):
            code = report.log[-1].exit_code if report.log else -1
            self._core.publish(record.stored, "exec_die", execID=event.get("exec", ""), exitCode=code)
        if health.status != before.status:
            self._core.publish(record.stored, f"health_status: {health.status}")


def _health(document: Mapping[str, Any]) -> Health:
    """Errors: KeyError, TypeError, ValueError."""
    status = str(document["status"])
    if status not in _STATUSES:
        raise ValueError(status)
    log = tuple(
        HealthResult(
            int(one["started_ns"]),
            int(one["finished_ns"]),
            int(one["exit_code"]),
            str(one["output"])[:_MOST_OUTPUT],
        )
        for one in document["log"][-_KEPT:]
    )
    return Health(status, int(document["failing_streak"]), log)
