from __future__ import annotations

import errno

import pytest

from barque.spi.errors import BarqueError, Conflict, FailedPrecondition, Internal, ResourceExhausted
from barque_net_bridge.refusals import kernel


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EPERM, FailedPrecondition),
        (errno.EACCES, FailedPrecondition),
        (errno.EROFS, FailedPrecondition),
        (errno.EEXIST, Conflict),
        (errno.EMFILE, ResourceExhausted),
        (errno.ENOBUFS, ResourceExhausted),
        (errno.EOPNOTSUPP, FailedPrecondition),
        (errno.EINVAL, Internal),
    ],
)
def test_kernel_errors_become_errors_of_the_contract(number: int, expected: type[BarqueError]) -> None:
    with pytest.raises(expected, match="making it: reason") as caught, kernel("making it"):
        raise OSError(number, "reason")
    assert isinstance(caught.value.__cause__, OSError)


def test_errors_of_the_contract_pass() -> None:
    with pytest.raises(Conflict, match=r"^own$"), kernel("making it"):
        raise Conflict("own")
