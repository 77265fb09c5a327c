"""Restart policies and healthchecks, to and from Docker's JSON."""

from __future__ import annotations

from typing import Any

from barque.spi.frontend import Health, Healthcheck, RestartPolicy
from barque_api_docker.fields import Fields
from barque_api_docker.translate.text import rfc3339

__all__ = [
    "health_document",
    "health_text",
    "healthcheck",
    "healthcheck_document",
    "restart_policy",
    "restart_policy_document",
]


def restart_policy(host: Fields) -> RestartPolicy:
    """`RestartPolicy` of a HostConfig. Without a name there is none, and the count means nothing, as in Docker."""
    policy = host.part("RestartPolicy")
    name = policy.text("Name")
    return RestartPolicy(name, policy.number("MaximumRetryCount")) if name else RestartPolicy()


def restart_policy_document(policy: RestartPolicy) -> dict[str, Any]:
    """The inverse of `restart_policy`."""
    return {"Name": policy.name, "MaximumRetryCount": policy.maximum}


def healthcheck(body: Fields) -> Healthcheck | None:
    """`Healthcheck` of a container's Config."""
    if body.raw.get("Healthcheck") is None:
        return None
    check = body.part("Healthcheck")
    return Healthcheck(
        test=check.texts("Test") or (),
        interval_ns=check.number("Interval"),
        timeout_ns=check.number("Timeout"),
        start_period_ns=check.number("StartPeriod"),
        start_interval_ns=check.number("StartInterval"),
        retries=check.number("Retries"),
    )


def healthcheck_document(check: Healthcheck) -> dict[str, Any]:
    """The inverse of `healthcheck`; what is 0 or empty is left out."""
    document = {
        "Test": list(check.test),
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return {name: value for name, value in document.items() if value}


def health_document(health: Health) -> dict[str, Any]:
    """`State.Health`."""
    log = [
        {
            "Start": rfc3339(result.started_ns),
            "End": rfc3339(result.finished_ns),
            "ExitCode": result.exit_code,
            "Output": result.output,
        }
        for result in health.log
    ]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": log}


def health_text(health: Health) -> str:
    """What `docker ps` puts in parentheses."""
    return "health: starting" if health.status == "starting" else health.status
