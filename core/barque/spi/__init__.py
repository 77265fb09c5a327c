"""The public contract for plugins: hook specifications, frozen types, errors, capabilities.

A plugin imports nothing of Barque but this package (and `barque.testing` in its tests). Importing it costs
next to nothing: the standard library only, because the shim and the launcher import it too.
"""

# Names are loaded on first use (PEP 562): barque-runtime needs `barque.spi.errors` alone, and the dataclasses
# of `common` would cost it 10 ms a call.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.spi.common import Descriptor, Mount, Platform, Probe, Problem, Progress, ProgressSink
    from barque.spi.markers import hookimpl

__all__ = ["Descriptor", "Mount", "Platform", "Probe", "Problem", "Progress", "ProgressSink", "hookimpl"]


def __getattr__(name: str) -> object:
    """Load one public name from the module that defines it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(
        import_module("barque.spi.markers" if name == "hookimpl" else "barque.spi.common"), name
    )
    globals()[name] = value
    return value
