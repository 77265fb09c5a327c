"""The body of `POST /containers/create` to a `ContainerConfig`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from barque.spi.common import Platform
from barque.spi.errors import InvalidArgument, NotImplemented
from barque.spi.frontend import ContainerConfig, EndpointConfig, Engine, Resources, Ulimit
from barque_api_docker.fields import Fields
from barque_api_docker.translate import mounts, ports, refused
from barque_api_docker.translate.security import security_options
from barque_api_docker.translate.storage import storage_size

__all__ = ["container_config", "read_resources"]

_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")


def container_config(engine: Engine, body: Fields, platform: Platform | None) -> ContainerConfig:
    """What the client asked for. Whether values make sense is for the engine to say.

    Errors: InvalidArgument, NotImplemented, each naming the field."""
    host = body.part("HostConfig")
    refused.check(engine, body, host)
    command, entrypoint = _process(body)
    network, mac, ipv4 = _network(body, host)
    binds, tmpfs = mounts.bind_mounts(host), mounts.tmpfs_mounts(host)
    refused.check_volumes(engine, body, {*(bind.target for bind in binds), *tmpfs})
    log = host.part("LogConfig")
    no_new_privileges, seccomp = security_options(host)
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
        shm_size=_not_negative(host, "ShmSize"),
        storage_size=storage_size(host),
        auto_remove=host.flag("AutoRemove"),
        privileged=host.flag("Privileged"),
        cap_add=host.texts("CapAdd") or (),
        cap_drop=host.texts("CapDrop") or (),
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        read_only=host.flag("ReadonlyRootfs"),
        masked_paths=host.texts("MaskedPaths"),
        readonly_paths=host.texts("ReadonlyPaths"),
        group_add=host.texts("GroupAdd") or (),
        oom_score_adj=_oom_score(host),
        cgroup_parent=host.text("CgroupParent"),
        resources=read_resources(host),
        ulimits=_ulimits(host),
        sysctls=host.table("Sysctls"),
        extra_hosts=host.texts("ExtraHosts") or (),
        dns=_dns(host),
        dns_search=host.texts("DnsSearch") or (),
        dns_options=host.texts("DnsOptions") or (),
        pid_mode=_mode(host, "PidMode", ("host",)),
        ipc_mode=_mode(host, "IpcMode", ("host", "none", "private", "shareable")),
        uts_mode=_mode(host, "UTSMode", ("host",)),
        init=host.flag("Init"),
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


def _mode(host: Fields, name: str, allowed: tuple[str, ...]) -> str:
    mode = host.text(name)
    if mode and mode not in allowed:
        raise InvalidArgument(f"invalid {name}: {mode}")
    return mode


def _oom_score(host: Fields) -> int:
    score = host.number("OomScoreAdj")
    if not -1000 <= score <= 1000:
        raise InvalidArgument(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    return score


def _ulimits(host: Fields) -> tuple[Ulimit, ...]:
    return tuple(
        Ulimit(one.text("Name").lower(), one.number("Soft"), one.number("Hard"))
        for one in host.parts("Ulimits")
    )


def _not_negative(host: Fields, name: str) -> int:
    value = host.number(name)
    if value < 0:
        raise InvalidArgument(f"{host.name_of(name)} can not be less than 0")
    return value


def read_resources(host: Fields) -> Resources:
    """The limits in a HostConfig, or in the body of an update. Errors: InvalidArgument."""
    memory = _not_negative(host, "Memory")
    resources = Resources(
        memory=memory,
        memory_swap=host.number("MemorySwap"),
        memory_reservation=_not_negative(host, "MemoryReservation"),
        nano_cpus=_not_negative(host, "NanoCpus"),
        cpu_shares=_not_negative(host, "CpuShares"),
        cpu_period=_not_negative(host, "CpuPeriod"),
        cpu_quota=host.number("CpuQuota"),
        cpuset_cpus=host.text("CpusetCpus"),
        cpuset_mems=host.text("CpusetMems"),
        pids_limit=host.number("PidsLimit"),
        blkio_weight=_not_negative(host, "BlkioWeight"),
        oom_kill_disable=host.flag("OomKillDisable"),
    )
    _check_kernel_ranges(resources)
    return resources


def _check_kernel_ranges(wanted: Resources) -> None:
    if wanted.cpu_period and not 1000 <= wanted.cpu_period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < wanted.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if wanted.blkio_weight and not 10 <= wanted.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")


def _document(body: Fields, host: Fields) -> Mapping[str, Any]:
    """What only a Docker client wants to see again: HostConfig as sent, less what says nothing, and the attach flags."""
    sent = {name: value for name, value in host.raw.items() if value}
    attach = {name: True for name in ("AttachStdin", "AttachStdout", "AttachStderr") if body.flag(name)}
    return {"HostConfig": sent, **attach}
