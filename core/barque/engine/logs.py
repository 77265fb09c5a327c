"""A container's log, as its driver wants it described. What few containers ask for is imported when one does."""

from __future__ import annotations

from collections.abc import Mapping

from barque.engine.records import StoredContainer
from barque.plugins.facades import LogDriver
from barque.spi.frontend import ContainerConfig
from barque.spi.log import LogCapability

__all__ = ["attributes_of", "checked_options"]

_ASKING = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})  # `--log-opt`s


def checked_options(driver: LogDriver, config: ContainerConfig) -> dict[str, str]:
    """The container's `--log-opt`s, complete. Errors: InvalidArgument."""
    options = dict(driver.validate(config.log_options))
    if "tag" in options:
        from barque.engine.log_attributes import check_tag

        check_tag(options["tag"])
    return options


def attributes_of(driver: LogDriver, stored: StoredContainer) -> Mapping[str, str]:
    """`LogSpec.attributes`: labels, environment and tag where they were asked for, names where the driver wants them."""
    described = LogCapability.CONTAINER in driver.capabilities
    if not described and not _ASKING & stored.log_options.keys():
        return {}
    from barque.engine.log_attributes import log_attributes

    return log_attributes(stored, described)
