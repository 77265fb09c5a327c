"""`GET /containers/json`: filters as dockerd's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.frontend import Container, Engine
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.network_ids import network_ids
from barque_api_docker.sizes import written_bytes
from barque_api_docker.translate.hostconfig import network_mode
from barque_api_docker.translate.ports import parse_port, port_summary
from barque_api_docker.translate.summary import summary_document

__all__ = ["ImageNames", "containers", "with_sizes"]

_ACCEPTED = frozenset({
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "publish", "since", "status", "volume",
})  # fmt: skip
_STATES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
_HEALTH = frozenset({"starting", "healthy", "unhealthy", "none"})


def containers(call: Call) -> Response:
    """`GET /containers/json`."""
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    filters.one_of("status", _STATES)
    for value in filters.values("health"):
        if value not in _HEALTH:
            raise InvalidArgument(f"unrecognized filter value for health: {value}")
    limit = call.query_number("limit") or 0
    everything = call.engine.container_list()
    shown = _between(everything, filters)
    if not (call.query_flag("all") or limit > 0 or "status" in filters):
        shown = tuple(one for one in shown if one.state.status in ("running", "paused", "restarting"))
    for keep in _tests(call.engine, filters):
        shown = tuple(one for one in shown if keep(one))
    if limit > 0:
        shown = shown[:limit]
    names, ids = ImageNames(call.engine), network_ids(call.engine, shown)
    documents = [summary_document(one, names.of(one), ids) for one in shown]
    if documents and call.query_flag("size"):
        written = written_bytes(call.engine)
        documents = [with_sizes(document, written, names) for document in documents]
    return json_response(documents)


def with_sizes(document: dict[str, Any], written: Mapping[str, int], names: ImageNames) -> dict[str, Any]:
    """A container's document with its sizes. Of nothing written dockerd does not speak here."""
    size_rw = written.get(document["Id"], 0)
    own = {"SizeRw": size_rw} if size_rw else {}
    return {**document, **own, "SizeRootFs": names.size(document["ImageID"]) + size_rw}


def _between(newest_first: tuple[Container, ...], filters: Filters) -> tuple[Container, ...]:
    """Those older than `before` and newer than `since`."""
    first, last = 0, len(newest_first)
    for reference in filters.values("before"):
        first = max(first, _index(newest_first, reference) + 1)
    for reference in filters.values("since"):
        last = min(last, _index(newest_first, reference))
    return newest_first[first:last]


def _index(containers: tuple[Container, ...], reference: str) -> int:
    for index, one in enumerate(containers):
        if reference in (one.id, one.name, f"/{one.name}"):
            return index
    prefixed = [index for index, one in enumerate(containers) if one.id.startswith(reference)]
    if len(prefixed) != 1:
        raise NotFound(f"no such container {reference}")
    return prefixed[0]


def _tests(engine: Engine, filters: Filters) -> list[Callable[[Container], bool]]:
    """One predicate for each filter that is set."""
    tests: list[Callable[[Container], bool]] = []
    if "id" in filters:
        tests.append(lambda one: filters.matches("id", one.id))
    if "name" in filters:
        tests.append(lambda one: filters.matches("name", one.name, f"/{one.name}"))
    if "label" in filters:
        tests.append(lambda one: filters.labels(one.config.labels))
    if "status" in filters:
        tests.append(lambda one: filters.exact("status", one.state.status))
    if "health" in filters:
        tests.append(
            lambda one: (one.state.health.status if one.state.health else "none") in filters.values("health")
        )
    if (task := filters.flag("is-task")) is not None:
        tests.append(lambda _: not task)
    if "isolation" in filters:
        tests.append(lambda _: filters.exact("isolation", "default", ""))
    if "exited" in filters:
        codes = {_exit_code(value) for value in filters.values("exited")}
        tests.append(
            lambda one: (
                one.state.exit_code in codes and one.state.status == "exited" and one.state.finished_ns > 0
            )
        )
    if "ancestor" in filters:
        images = _images(engine, filters.values("ancestor"))
        tests.append(lambda one: one.image_id in images)
    if "network" in filters:
        tests.append(lambda one: _in_network(one, filters))
    if "volume" in filters:
        tests.append(lambda one: filters.exact("volume", *_mounted(one)))
    for name, member in (("publish", "PublicPort"), ("expose", "PrivatePort")):
        if name in filters:
            tests.append(_with_ports(_ports(filters.values(name)), member))
    return tests


def _mounted(one: Container) -> list[str]:
    """Targets, and what is mounted there: names of volumes, paths of binds."""
    binds = (text for bind in one.config.binds for text in (bind.target, bind.source))
    return [*binds, *(text for volume in one.config.volumes for text in (volume.target, volume.name))]


def _exit_code(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid filter 'exited={text}'") from None


def _images(engine: Engine, references: tuple[str, ...]) -> set[str]:
    found = set()
    for reference in references:
        try:
            found.add(engine.image_get(reference).id)
        except NotFound:
            continue  # as dockerd: an unknown ancestor just has no descendants
    return found


def _in_network(one: Container, filters: Filters) -> bool:
    ids = [endpoint.network_id for endpoint in one.endpoints.values()]
    names = (network_mode(one), *one.endpoints, *one.config.networks)
    return filters.exact("network", *names) or filters.prefixes("network", *ids)


def _ports(texts: tuple[str, ...]) -> set[tuple[int, str]]:
    return {
        (number, protocol)
        for text in texts
        for numbers, protocol in (parse_port(text),)
        for number in numbers
    }


def _with_ports(wanted: set[tuple[int, str]], member: str) -> Callable[[Container], bool]:
    """As dockerd: `publish` is about ports of the host, `expose` about the container's own; of one that runs, both."""
    return lambda one: any((port.get(member), port["Type"]) in wanted for port in port_summary(one))


class ImageNames:
    """What to show as a container's image: its name while that still means the same image, else the id."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    def of(self, container: Container) -> str:
        name = container.config.image
        if name not in self._ids:
            self._ids[name] = self._look_up(name)
        return name if self._ids[name] == container.image_id else container.image_id

    def size(self, image_id: str) -> int:
        if image_id not in self._sizes:
            self._look_up(image_id)
        return self._sizes.get(image_id, 0)

    def _look_up(self, reference: str) -> str:
        try:
            image = self._engine.image_get(reference)
        except NotFound:
            return ""
        self._sizes[image.id] = image.size
        return image.id
