"""A container's log, as its driver wants it described. What few containers ask for is imported when one does.

Of a log that goes elsewhere and cannot be read back, a copy is kept with the driver `local` where the profile has one (Docker's dual
logging), so that `docker logs` works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barque.engine.core import Core
from barque.engine.records import StoredContainer
from barque.plugins.facades import LogDriver
from barque.spi.frontend import ContainerConfig
from barque.spi.log import LogCapability, LogSpec

__all__ = ["attributes_of", "cache_settings", "checked_options", "readable_log"]

_ASKING = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})  # `--log-opt`s
_CACHE_DRIVER = "local"
_CACHE_OPTIONS = ("max-size", "max-file", "compress")  # as `--log-opt`s they begin with `cache-`
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


def checked_options(core: Core, driver: LogDriver, config: ContainerConfig) -> dict[str, str]:
    """The container's `--log-opt`s, complete. Errors: InvalidArgument."""
    options = dict(driver.validate(config.log_options))
    if "tag" in options:
        from barque.engine.log_attributes import check_tag

        check_tag(options["tag"])
    for name in ("labels-regex", "env-regex"):
        if options.get(name):
            from barque.spi.expressions import expression

            expression(options[name])
    if any(f"cache-{name}" in options for name in _CACHE_OPTIONS):
        cache = _cache_driver(core)
        if cache is not None:
            cache.validate(_cache_options(options))
    return options


def attributes_of(driver: LogDriver, stored: StoredContainer) -> Mapping[str, str]:
    """`LogSpec.attributes`: labels, environment and tag where they were asked for, names where the driver wants them."""
    described = LogCapability.CONTAINER in driver.capabilities
    if not described and not _ASKING & stored.log_options.keys():
        return {}
    from barque.engine.log_attributes import log_attributes

    return log_attributes(stored, described)


def cache_settings(core: Core, stored: StoredContainer) -> dict[str, Any] | None:
    """`ShimConfig.log_cache`; its directory is made. None for a log that needs no copy. Errors: OSError."""
    found = _cache(core, stored)
    if found is None:
        return None
    driver, spec = found
    (core.layout.container(stored.id) / "log-cache").mkdir(mode=0o700, exist_ok=True)
    return {"driver": driver.name, "directory": spec.directory, "options": dict(spec.options)}


def readable_log(core: Core, stored: StoredContainer, spec: LogSpec) -> tuple[LogDriver, LogSpec]:
    """Where a container's log is read: `spec` by its own driver, or the copy."""
    return _cache(core, stored) or (core.drivers.log(stored.log_driver), spec)


def _cache(core: Core, stored: StoredContainer) -> tuple[LogDriver, LogSpec] | None:
    capabilities = core.drivers.log(stored.log_driver).capabilities
    if LogCapability.CONTAINER not in capabilities or LogCapability.READ in capabilities:
        return None
    driver = _cache_driver(core)
    if driver is None or stored.log_options.get("cache-disabled") in _TRUE:
        return None
    directory = str(core.layout.container(stored.id) / "log-cache")
    return driver, LogSpec(stored.id, directory, driver.validate(_cache_options(stored.log_options)))


def _cache_driver(core: Core) -> LogDriver | None:
    for name in core.drivers.names("log"):
        if core.drivers.driver_of("log", name) == _CACHE_DRIVER:
            return core.drivers.log(name)
    return None


def _cache_options(options: Mapping[str, str]) -> dict[str, str]:
    return {name: options[f"cache-{name}"] for name in _CACHE_OPTIONS if f"cache-{name}" in options}
