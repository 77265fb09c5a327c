"""What becomes a line of a container's files is no line of its own."""

import pytest

from barque.engine.validation import check_config
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import ContainerConfig


@pytest.mark.parametrize(
    "fields",
    [
        {"extra_hosts": ("a\n9.9.9.9 b:1.2.3.4",)},
        {"domainname": "x\nnameserver 6.6.6.6"},
        {"dns_search": ("a\noptions x",)},
        {"dns_options": ("ndots:1\tb",)},
    ],
)
def test_control_characters_are_refused(fields):
    with pytest.raises(InvalidArgument, match="do not print"):
        check_config(ContainerConfig("image", command=("true",), **fields), frozenset())
