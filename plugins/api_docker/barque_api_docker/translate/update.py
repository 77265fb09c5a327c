"""The body of a container update, and the limits it asks for."""

from __future__ import annotations

from dataclasses import fields, replace

from barque.spi.errors import Conflict
from barque.spi.frontend import Resources
from barque_api_docker.fields import Fields
from barque_api_docker.translate.resources import read_resources

__all__ = ["updated_resources"]


def updated_resources(current: Resources, body: Fields) -> Resources:
    """`current` with what the body sets; 0 and "" leave a limit as it is. Errors: InvalidArgument, Conflict."""
    asked = read_resources(body)
    changed = {f.name: getattr(asked, f.name) for f in fields(asked) if getattr(asked, f.name) != f.default}
    by_quota = asked.cpu_period or asked.cpu_quota
    if by_quota and (asked.nano_cpus or current.nano_cpus):
        raise Conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set.")
    if asked.nano_cpus and (current.cpu_period or current.cpu_quota):
        raise Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set.")
    if asked.memory and not asked.memory_swap and 0 < current.memory_swap < asked.memory:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    return replace(current, **changed)
