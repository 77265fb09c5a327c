"""Options of a container that the host decides: what it lacks is left out with a warning, what is open gets its value."""

from __future__ import annotations

import os
from dataclasses import replace

from barque.engine.host import Host
from barque.engine.limit_checks import fitted
from barque.spi.container import ContainerConfig

__all__ = ["settle_options"]

_APPARMOR = "/sys/kernel/security/apparmor/profiles"


def settle_options(config: ContainerConfig, host: Host) -> tuple[ContainerConfig, tuple[str, ...]]:
    """`config` as it can be had on this host, and what the user should hear of it, in Docker's words where it has some."""
    config, warnings = fitted(config, host.cgroup_v2)
    if not config.cgroupns_mode:
        config = replace(config, cgroupns_mode="private" if host.cgroup_v2 else "host")
    if config.apparmor and not os.path.exists(_APPARMOR):
        warnings = (*warnings, f"AppArmor is not enabled on this host. Profile {config.apparmor} discarded.")
        config = replace(config, apparmor="")
    if config.selinux:
        from barque.oci.selinux import active  # hardly ever

        if not active() and config.selinux != ("disable",):
            warnings = (*warnings, "SELinux is not enabled on this host. Label options discarded.")
    return config, warnings
