"""The body of `POST /containers/create` to a `ContainerConfig`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from barque.spi.common import Platform
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import ContainerConfig
from barque_api_docker.fields import Fields
from barque_api_docker.translate import ports, refused, resources
from barque_api_docker.translate.console import console_size
from barque_api_docker.translate.endpoint import container_networks
from barque_api_docker.translate.lifecycle import healthcheck, restart_policy
from barque_api_docker.translate.mounts import read_mounts
from barque_api_docker.translate.security import security_options
from barque_api_docker.translate.storage import storage_size
from barque_api_docker.version import API_VERSION

__all__ = ["container_config"]


def container_config(
    body: Fields, platform: Platform | None, version: tuple[int, int] = API_VERSION
) -> ContainerConfig:
    """What the client asked for, in this version of the API. Whether values make sense is for the engine to say.

    Errors: InvalidArgument, NotImplemented, each naming the field."""
    host = body.part("HostConfig")
    refused.check(body, host)
    command, entrypoint = _process(body)
    network, networks = container_networks(body, host, version)
    mounted = read_mounts(body, host)
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
        console_size=console_size(host),
        stop_signal=body.text("StopSignal"),
        stop_timeout=body.optional_number("StopTimeout"),
        exposed_ports=ports.exposed(body, host),
        network=network,
        ports=ports.bindings(host),
        publish_all=host.flag("PublishAllPorts"),
        networks=networks,
        links=host.texts("Links") or (),
        binds=mounted.binds,
        volumes=mounted.volumes,
        volumes_from=host.texts("VolumesFrom") or (),
        image_mounts=mounted.images,
        tmpfs=mounted.tmpfs,
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
        extra_hosts=_extra_hosts(host),
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


def _extra_hosts(host: Fields) -> tuple[str, ...]:
    """`name:address` or `name=address`; whether `host-gateway` can be had is for the engine to say."""
    entries = host.texts("ExtraHosts") or ()
    for entry in entries:
        name, separator, address = entry.partition("=" if "=" in entry else ":")
        if not (name and separator and address):
            raise InvalidArgument(f'bad format for add-host: "{entry}"')
        if address != "host-gateway" and not _is_address(address.strip("[]"), 4, 6):
            raise InvalidArgument(f'invalid IP address in add-host: "{address}"')
    return entries


def _document(body: Fields, host: Fields) -> Mapping[str, Any]:
    """What only a Docker client wants to see again: HostConfig as sent, less what says nothing, the attach flags, names of volumes."""
    sent = {name: value for name, value in host.raw.items() if value}
    attach = {name: True for name in ("AttachStdin", "AttachStdout", "AttachStderr") if body.flag(name)}
    shell = {"Shell": list(body.texts("Shell") or ())} if body.raw.get("Shell") else {}
    volumes = {"Volumes": list(body.mapping("Volumes"))} if body.raw.get("Volumes") else {}
    return {"HostConfig": sent, **attach, **shell, **volumes}
