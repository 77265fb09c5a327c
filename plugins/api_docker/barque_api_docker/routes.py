"""The table of operations: what is served, and what of the API is not yet."""

from __future__ import annotations

from barque_api_docker import (
    attach_ws,
    container_control,
    container_files,
    container_list,
    container_streams,
    containers,
    disk,
    events,
    execs,
    images,
    loads,
    networks,
    plugins,
    prunes,
    pulls,
    pushes,
    registries,
    saves,
    system,
    volumes,
)
from barque_api_docker.call import Handler
from barque_api_docker.swarm import SWARM_ROUTES

__all__ = ["ROUTES", "UNIMPLEMENTED"]

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/_ping", system.ping),
    ("HEAD", "/_ping", system.ping),
    ("GET", "/version", system.version),
    ("GET", "/info", system.info),
    ("GET", "/events", events.events),
    ("GET", "/containers/json", container_list.containers),
    ("POST", "/containers/create", containers.create),
    ("GET", "/containers/{id}/json", containers.inspect),
    ("POST", "/containers/{id}/start", containers.start),
    ("POST", "/containers/{id}/stop", containers.stop),
    ("POST", "/containers/{id}/restart", containers.restart),
    ("POST", "/containers/{id}/rename", containers.rename),
    ("POST", "/containers/{id}/kill", containers.kill),
    ("POST", "/containers/{id}/pause", container_control.pause),
    ("POST", "/containers/{id}/unpause", container_control.unpause),
    ("POST", "/containers/{id}/update", container_control.update),
    ("GET", "/containers/{id}/top", container_control.top),
    ("GET", "/containers/{id}/stats", container_control.stats),
    ("POST", "/containers/{id}/resize", containers.resize),
    ("POST", "/containers/{id}/wait", container_streams.wait),
    ("POST", "/containers/{id}/attach", container_streams.attach),
    ("GET", "/containers/{id}/attach/ws", attach_ws.attach),
    ("GET", "/containers/{id}/logs", container_streams.logs),
    ("DELETE", "/containers/{id}", containers.remove),
    ("HEAD", "/containers/{id}/archive", container_files.stat),
    ("GET", "/containers/{id}/archive", container_files.read),
    ("PUT", "/containers/{id}/archive", container_files.write),
    ("GET", "/containers/{id}/export", container_files.export),
    ("GET", "/containers/{id}/changes", container_files.changes),
    ("POST", "/commit", container_files.commit),
    ("POST", "/containers/{id}/exec", execs.create),
    ("POST", "/exec/{id}/start", execs.start),
    ("POST", "/exec/{id}/resize", execs.resize),
    ("GET", "/exec/{id}/json", execs.inspect),
    ("GET", "/images/json", images.images),
    ("GET", "/images/search", registries.search),
    ("GET", "/images/get", saves.save),
    ("POST", "/images/create", pulls.create),
    ("POST", "/images/load", loads.load),
    ("POST", "/images/prune", prunes.images),
    ("GET", "/images/{name*}/json", images.inspect),
    ("GET", "/images/{name*}/history", images.history),
    ("GET", "/images/{name*}/get", saves.save_one),
    ("POST", "/images/{name*}/tag", images.tag),
    ("POST", "/images/{name*}/push", pushes.push),
    ("DELETE", "/images/{name*}", images.remove),
    ("GET", "/distribution/{name*}/json", registries.distribution),
    ("POST", "/auth", registries.auth),
    ("GET", "/system/df", disk.usage),
    ("GET", "/barque/df", disk.items),
    ("POST", "/barque/check", disk.check),
    ("POST", "/containers/prune", prunes.containers),
    ("POST", "/networks/prune", prunes.networks),
    ("POST", "/volumes/prune", prunes.volumes),
    ("POST", "/build/prune", prunes.build_cache),
    ("GET", "/networks", networks.networks),
    ("GET", "/networks/{id}", networks.inspect),
    ("GET", "/volumes/{name}", volumes.inspect_volume),
    ("GET", "/plugins", plugins.plugins),
    ("GET", "/plugins/privileges", plugins.install),
    ("GET", "/plugins/{name*}/json", plugins.inspect),
    ("POST", "/plugins/pull", plugins.install),
    ("POST", "/plugins/create", plugins.install),
    ("POST", "/plugins/{name*}/enable", plugins.enable),
    ("POST", "/plugins/{name*}/disable", plugins.disable),
    ("POST", "/plugins/{name*}/upgrade", plugins.install),
    ("POST", "/plugins/{name*}/push", plugins.push),
    ("POST", "/plugins/{name*}/set", plugins.set_up),
    ("DELETE", "/plugins/{name*}", plugins.remove),
    *SWARM_ROUTES,
)

_UNIMPLEMENTED = {
    "GET": """
        /volumes
        """,
    "POST": """
        /build /volumes/create
        /networks/create /networks/{id}/connect /networks/{id}/disconnect
        /session
        """,
    "DELETE": "/volumes/{name} /networks/{id}",
}
UNIMPLEMENTED = tuple(
    (method, pattern, None) for method, patterns in _UNIMPLEMENTED.items() for pattern in patterns.split()
)
