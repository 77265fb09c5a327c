"""The ids of the networks that containers which do not run were in: docker shows those until they are removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from barque.spi.frontend import Container, Engine

__all__ = ["network_ids"]


def network_ids(engine: Engine, containers: Iterable[Container]) -> Mapping[str, str]:
    """By name; nothing where no container needs them, so that a list of those that run costs no more."""
    if all(one.endpoints or not one.state.started_ns for one in containers):
        return {}
    return {network.spec.name: network.spec.id for network in engine.network_list()}
