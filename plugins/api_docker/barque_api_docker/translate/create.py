"""The body of `POST /containers/create` to a `ContainerConfig`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from barque.spi.common import Platform
from barque.spi.errors import InvalidArgument, NotImplemented
from barque.spi.frontend import ContainerConfig, EndpointConfig, Engine
from barque_api_docker.fields import Fields
from barque_api_docker.translate import mounts, ports, refused, resources
from barque_api_docker.translate.lifecycle import healthcheck, restart_policy
from barque_api_docker.translate.security import security_options
from barque_api_docker.translate.storage import storage_size

__all__ = ["container_config"]

_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")


def container_config(engine: Engine, body: Fields, platform: Platform | None) -> ContainerConfig:
    """What the client asked for. Whether values make sense is for the engine to say.

    Errors: InvalidArgument, NotImplemented, each naming the field."""
    host = body.part("HostConfig")
    refused.check(body, host)
    command, entrypoint = _process(body)
    network, mac, ipv4 = _network(body, host)
    binds, tmpfs = mounts.bind_mounts(host), mounts.tmpfs_mounts(host)
    refused.check_volumes(engine, body, {*(bind.target for bind in binds), *tmpfs})
    log = host.part("LogConfig")
    security = security_options(host)
    return ContainerConfig(
        image=_image(body),
        command=command,
        entrypoint=entrypoint,
        env=body.texts("Env") or (),
        working_dir=body.text("WorkingDir"),
        user=body.text("User"),
        hostname=body.text("Hostname"),
        domainname=body.text("Domainname"),
        labels=body.table("Labels"),
        annotations=host.table("Annotations"),
        tty=body.flag("Tty"),
        open_stdin=body.flag("OpenStdin"),
        stdin_once=body.flag("StdinOnce"),
        stop_signal=body.text("StopSignal"),
        stop_timeout=body.optional_number("StopTimeout"),
        exposed_ports=ports.exposed(body, host),
        network=network,
        ports=ports.bindings(host),
        publish_all=host.flag("PublishAllPorts"),
        networks={network: EndpointConfig(mac=mac, ipv4=ipv4)} if mac or ipv4 else {},
        binds=binds,
        tmpfs=tmpfs,
        shm_size=resources.shared_memory_size(host),
        storage_size=storage_size(host),
        auto_remove=host.flag("AutoRemove"),
        privileged=host.flag("Privileged"),
        cap_add=host.texts("CapAdd") or (),
        cap_drop=host.texts("CapDrop") or (),
        no_new_privileges=security.no_new_privileges,
        seccomp=security.seccomp,
        apparmor=security.apparmor,
        selinux=security.selinux,
        writable_cgroups=security.writable_cgroups,
        read_only=host.flag("ReadonlyRootfs"),
        masked_paths=host.texts("MaskedPaths"),
        readonly_paths=host.texts("ReadonlyPaths"),
        group_add=host.texts("GroupAdd") or (),
        oom_score_adj=resources.oom_score(host),
        cgroup_parent=host.text("CgroupParent"),
        resources=resources.read_resources(host),
        ulimits=resources.ulimits(host),
        devices=resources.devices(host),
        device_rules=host.texts("DeviceCgroupRules") or (),
        device_requests=resources.device_requests(host),
        sysctls=host.table("Sysctls"),
        extra_hosts=host.texts("ExtraHosts") or (),
        dns=_dns(host),
        dns_search=host.texts("DnsSearch") or (),
        dns_options=host.texts("DnsOptions") or (),
        pid_mode=host.text("PidMode"),
        ipc_mode=host.text("IpcMode"),
        uts_mode=host.text("UTSMode"),
        cgroupns_mode=host.text("CgroupnsMode"),
        userns_mode=host.text("UsernsMode"),
        init=host.flag("Init"),
        restart=restart_policy(host),
        healthcheck=healthcheck(body),
        runtime=host.text("Runtime"),
        log_driver=log.text("Type"),
        log_options=log.table("Config"),
        platform=platform,
        document=_document(body, host),
    )


def _image(body: Fields) -> str:
    image = body.text("Image")
    if not image:
        raise InvalidArgument("no image specified", hint="name one in the field Image")
    return image


def _process(body: Fields) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Cmd and Entrypoint, with Docker's rules for what the image still gives: an entrypoint of ones own hides the image's Cmd,
    an empty list of arguments is none, and `[""]` resets the entrypoint."""
    command = body.command("Cmd") or None
    entrypoint = body.command("Entrypoint")
    if entrypoint:
        command = command or ()
    return command, () if entrypoint == ("",) else entrypoint


def _network(body: Fields, host: Fields) -> tuple[str, str, str]:
    """The network, and the MAC and IPv4 addresses asked for in it."""
    network = host.text("NetworkMode") or "default"
    if body.flag("NetworkDisabled"):
        network = "none"
    endpoints = body.part("NetworkingConfig").part("EndpointsConfig")
    names = list(endpoints.raw)
    if len(names) > 1 or (names and not _same_network(names[0], network)):
        other = next(name for name in names if not _same_network(name, network))
        raise NotImplemented(
            f'NetworkingConfig.EndpointsConfig "{other}" beside HostConfig.NetworkMode "{network}" is not implemented by barque yet'
        )
    endpoint = endpoints.part(names[0]) if names else Fields({})
    mac = _mac(endpoint.text("MacAddress"), body.text("MacAddress"))
    ipv4 = endpoint.part("IPAMConfig").text("IPv4Address")
    if ipv4 and not _is_address(ipv4, 4):
        raise InvalidArgument(f"invalid IPv4 address: {ipv4}")
    return network, mac, ipv4


def _same_network(name: str, network: str) -> bool:
    return name == network or {name, network} == {"default", "bridge"}


def _mac(endpoint: str, container: str) -> str:
    if endpoint and container and endpoint != container:
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address, or be left empty"
        )
    mac = endpoint or container
    if mac and not _MAC.fullmatch(mac):
        raise InvalidArgument(f"invalid MAC address: {mac}")
    return mac.lower().replace("-", ":")


def _is_address(text: str, *versions: int) -> bool:
    try:
        return ipaddress.ip_address(text).version in versions
    except ValueError:
        return False


def _dns(host: Fields) -> tuple[str, ...]:
    servers = host.texts("Dns") or ()
    for server in servers:
        if not _is_address(server, 4, 6):
            raise InvalidArgument(f"invalid IP address for DNS server: {server}")
    return servers


def _document(body: Fields, host: Fields) -> Mapping[str, Any]:
    """What only a Docker client wants to see again: HostConfig as sent, less what says nothing, and the attach flags."""
    sent = {name: value for name, value in host.raw.items() if value}
    attach = {name: True for name in ("AttachStdin", "AttachStdout", "AttachStderr") if body.flag(name)}
    shell = {"Shell": list(body.texts("Shell") or ())} if body.raw.get("Shell") else {}
    return {"HostConfig": sent, **attach, **shell}
