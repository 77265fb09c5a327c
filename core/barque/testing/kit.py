"""What the conformance kits have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = ["Conformance"]


class Conformance:
    """Base of the kits. A subclass gives fixtures and may add tests; it may not replace or remove one of the kit.

    A test that cannot hold for a driver is excused with the reason, and is still collected and shown as skipped:

        excused = {"test_kill_all_reaches_every_process": "the hypervisor has no cgroup"}
    """

    excused: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for mark in _marks(cls):
            if mark.name in ("skip", "skipif", "xfail") and not str(mark.kwargs.get("reason", "")).strip():
                raise TypeError(f"{cls.__name__} is marked {mark.name} without a reason")
        tests = {name for base in cls.__mro__[1:] for name in vars(base) if name.startswith("test_")}
        for name in sorted(tests & vars(cls).keys()):
            raise TypeError(
                f"{cls.__name__} replaces {name} of the conformance kit; excuse it with a reason instead"
            )
        for name, reason in cls.excused.items():
            if name not in tests or not reason.strip():
                raise TypeError(
                    f"{cls.__name__} excuses {name}, which is no test of the kit or has no reason"
                )


def _marks(cls: type) -> list[Any]:
    """The pytest marks that the class itself has."""
    marks = vars(cls).get("pytestmark", [])
    return [getattr(mark, "mark", mark) for mark in (marks if isinstance(marks, (list, tuple)) else [marks])]
