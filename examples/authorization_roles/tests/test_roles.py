"""The conformance kit, and what is particular to this driver."""

import pytest
from barque_authorization_roles import Roles

from barque.spi.errors import PermissionDenied
from barque.testing.authorization import AuthorizationConformance, request


def roles():
    return Roles("roles", Roles.Config(administrators=("uid:0", "alice"), operators=("uid:1000",)))


class TestRoles(AuthorizationConformance):
    @pytest.fixture
    def driver(self):
        return roles()

    @pytest.fixture
    def allowed(self):
        return request("POST", "/containers/create", b'{"Image": "x"}')

    @pytest.fixture
    def denied(self):
        return request("POST", "/containers/create", b'{"Image": "x", "HostConfig": {"Privileged": true}}')


def test_administrators_do_everything_and_strangers_look():
    privileged = b'{"HostConfig": {"Privileged": true}}'
    roles().authorization_check(request("POST", "/containers/create", privileged, user="alice"))
    roles().authorization_check(request("GET", "/containers/json", user="bob"))
    for user in ("bob", ""):
        with pytest.raises(PermissionDenied, match="may only look"):
            roles().authorization_check(request("POST", "/containers/x/start", user=user))


@pytest.mark.parametrize(
    "host",
    [
        b'{"Binds": ["/:/h"]}',
        b'{"PidMode": "host"}',
        b'{"NetworkMode": "container:x"}',
        b'{"Mounts": [{"Type": "bind"}]}',
        b"3",
    ],
)
def test_operators_do_not_reach_the_host(host):
    with pytest.raises(PermissionDenied):
        roles().authorization_check(request("POST", "/containers/create", b'{"HostConfig": ' + host + b"}"))


def test_operators_do_not_send_archives():
    with pytest.raises(PermissionDenied, match="archives"):
        roles().authorization_check(request("PUT", "/containers/x/archive", None))
