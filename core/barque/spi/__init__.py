"""The public contract for plugins: hook specifications, frozen types, errors, capabilities.

A plugin imports nothing of Barque but this package (and `barque.testing` in its tests). Importing it costs
next to nothing: the standard library only, because the shim and the launcher import it too.
"""

from barque.spi.common import Descriptor, Mount, Platform, Probe, Problem, Progress, ProgressSink
from barque.spi.markers import hookimpl

__all__ = ["Descriptor", "Mount", "Platform", "Probe", "Problem", "Progress", "ProgressSink", "hookimpl"]
