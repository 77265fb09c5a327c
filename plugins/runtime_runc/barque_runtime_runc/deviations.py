"""Where the runtimes are known to differ from the contract, for the conformance kit: test -> reason, by program."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DEVIATIONS"]

DEVIATIONS: Mapping[str, Mapping[str, str]] = {
    "runc": {
        "test_exec_has_its_own_umask": "runc 1.1 gives an exec the umask of the container, not that of its process",
        "test_soft_limit_of_open_files": "a runc of Go 1.19 raises the soft limit to the hard one when it is slow (runc pull request 4266)",
        "test_poststart_hook_is_called_after_the_start": "runc calls poststart hooks in create already",
    },
}
