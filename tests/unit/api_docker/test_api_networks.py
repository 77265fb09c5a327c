"""Networks, endpoints and links: Docker's JSON to the engine's words, and back."""

import json
from dataclasses import replace

import pytest

from barque.spi.errors import Conflict, NotFound, PermissionDenied
from barque.spi.frontend import EndpointConfig as Endpoints
from barque.spi.frontend import NetworkRequest
from barque.spi.network import Endpoint, PortBinding, Subnet

DEPENDS = "user specified configurations are not supported if the network depends on a configuration network"
MAC, OTHER = "02:42:ac:11:00:09", "02:42:ac:11:00:0a"


def request(engine):
    return next(call[1] for call in reversed(engine.calls) if call[0] == "network_create")


def test_create_with_every_field(api, engine):
    body = {
        "Name": "net", "CheckDuplicate": True, "Driver": "bridge", "Scope": "local", "EnableIPv4": True, "EnableIPv6": True,
        "Internal": True, "Attachable": True, "Ingress": False, "ConfigOnly": False, "ConfigFrom": None,
        "IPAM": {
            "Driver": "default",
            "Options": {"o": "p"},
            "Config": [
                {"Subnet": "10.1.0.0/16", "IPRange": "10.1.1.0/24", "Gateway": "10.1.0.1", "AuxiliaryAddresses": {"a": "10.1.1.9"}},
                {"Subnet": "fd00::/64", "AuxAddress": {"b": "fd00::9"}},
            ],
        },
        "Options": {"com.docker.network.driver.mtu": "1400"},
        "Labels": {"k": "v"},
    }  # fmt: skip
    status, _, data = api.call("POST", "/networks/create", body)
    assert status == 201
    assert request(engine) == NetworkRequest(
        name="net",
        driver="bridge",
        subnets=(
            Subnet("10.1.0.0/16", "10.1.0.1", "10.1.1.0/24", {"a": "10.1.1.9"}),
            Subnet("fd00::/64", "", "", {"b": "fd00::9"}),
        ),
        internal=True,
        ipv6=True,
        options={"com.docker.network.driver.mtu": "1400"},
        labels={"k": "v"},
        document={"Attachable": True, "IPAMOptions": {"o": "p"}},
    )
    shown = api.json("GET", "/networks/net")
    assert data.startswith(b'{"Id":"' + shown["Id"].encode() + b'","Warning":""}')
    assert shown["IPAM"] == {
        "Driver": "default",
        "Options": {"o": "p"},
        "Config": [
            {
                "Subnet": "10.1.0.0/16",
                "IPRange": "10.1.1.0/24",
                "Gateway": "10.1.0.1",
                "AuxiliaryAddresses": {"a": "10.1.1.9"},
            },
            {"Subnet": "fd00::/64", "AuxiliaryAddresses": {"b": "fd00::9"}},
        ],
    }
    assert (shown["EnableIPv4"], shown["EnableIPv6"], shown["Internal"], shown["Attachable"]) == (True,) * 4
    assert (shown["Ingress"], shown["ConfigOnly"], shown["ConfigFrom"]) == (False, False, {"Network": ""})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (True, False)),
        ({"EnableIPv4": None, "EnableIPv6": None}, (True, False)),
        ({"EnableIPv4": False, "EnableIPv6": True}, (False, True)),
        ({"Options": {"com.docker.network.enable_ipv6": "true"}}, (True, True)),
        ({"Options": {"com.docker.network.enable_ipv6": "1"}, "EnableIPv6": False}, (True, False)),
    ],
)
def test_families(api, engine, fields, expected):
    assert api.call("POST", "/networks/create", {"Name": "net", **fields})[0] == 201
    got = request(engine)
    assert (got.ipv4, got.ipv6) == expected


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"Options": {"com.docker.network.enable_ipv6": "x"}}, 400, 'driver-opt "com.docker.network.enable_ipv6" is not a valid bool'),
        ({"IPAM": {"Driver": "infoblox"}}, 400, 'invalid ipam driver: "infoblox": the only one is "default"'),
        ({"Scope": "galaxy"}, 400, "invalid scope: galaxy"),
        ({"Ingress": True}, 403, "Ingress network can only be global scope network"),
        ({"ConfigOnly": True, "ConfigFrom": {"Network": "x"}}, 403, "a configuration network cannot depend on another configuration network"),
        ({"ConfigFrom": {"Network": "x"}, "Labels": {"a": "b"}}, 403, DEPENDS),
        ({"IPAM": {"Config": [{"Subnet": 1}]}}, 400, "invalid JSON: cannot unmarshal number into field IPAM.Config[0].Subnet of type string"),
        ({"Labels": []}, 400, "invalid JSON: cannot unmarshal array into field Labels of type object"),
    ],
)  # fmt: skip
def test_nonsense_about_a_network(api, fields, status, words):
    assert api.message("POST", "/networks/create", {"Name": "net", **fields}, status=status) == words


def test_a_configuration_network_may_not_be_internal(api):
    body = {"Name": "net", "ConfigOnly": True, "Internal": True}
    words = api.message("POST", "/networks/create", body, status=403)
    assert words.startswith("configuration network can only contain network specific fields.")


def test_overlap_is_403_and_a_taken_name_409(api, engine):
    engine.fail["network_create"] = Conflict(
        "invalid pool request: Pool overlaps with other one on this address space"
    )
    api.message("POST", "/networks/create", {"Name": "net"}, status=403)
    engine.fail["network_create"] = Conflict("network with name net already exists")
    api.message("POST", "/networks/create", {"Name": "net"}, status=409)


def test_what_drivers_note_for_themselves_is_neither_shown_nor_taken(api, engine):
    own, noted = (
        engine.networks["own"],
        {"barque.network.owner": "1", "barque.network.instance": "2", "x": "y"},
    )
    engine.networks["own"] = replace(own, spec=replace(own.spec, options=noted))
    listed = next(one for one in api.json("GET", "/networks") if one["Name"] == "own")
    assert listed["Options"] == api.json("GET", "/networks/own")["Options"] == {"x": "y"}
    for name in noted:
        body = {"Name": "net", "Options": {name: "1"}}
        assert api.call("POST", "/networks/create", body)[0] == (201 if name == "x" else 400)


def test_a_container_that_has_run_keeps_the_ids_of_its_networks(api, engine):
    def ids(id):
        listed = next(c for c in api.json("GET", "/containers/json?all=1") if c["Id"] == id)
        for document in (listed, api.json("GET", f"/containers/{id}/json")):
            networks = document["NetworkSettings"]["Networks"]
            yield {name: shown["NetworkID"] for name, shown in networks.items()}

    networks = {"EndpointsConfig": {"own": {}, "gone": {}}}
    id = api.create("x", HostConfig={"NetworkMode": "own"}, NetworkingConfig=networks)
    assert list(ids(id)) == [{"own": "", "gone": ""}] * 2
    one = engine.containers[id]
    engine.containers[id] = replace(
        one, state=replace(one.state, status="exited", started_ns=5, finished_ns=6)
    )
    assert list(ids(id)) == [{"own": "8" * 64, "gone": ""}] * 2


def test_every_prune_is_an_event(api, engine):
    for kind in ("containers", "networks", "volumes", "build"):
        api.json("POST", f"/{kind}/prune")
    events = [event for event in engine.published if event.action == "prune"]
    assert [event.type for event in events] == ["container", "network", "volume", "builder"]
    assert {event.actor_id for event in events} == {""}
    assert events[1].attributes == {"reclaimed": "0"}
    until = events[-1].time_ns // 10**9 + 1
    _, _, data = api.call("GET", f"/events?since=0&until={until}")
    first = next(line for line in map(json.loads, data.splitlines()) if line["Action"] == "prune")
    assert set(first) == {"status", "Type", "Action", "Actor", "scope", "time", "timeNano"}  # as dockerd's


def test_remove(api, engine):
    assert api.call("DELETE", "/networks/own")[0] == 204
    assert engine.calls[-1] == ("network_remove", "8" * 64)
    assert api.message("DELETE", "/networks/own", status=404) == "network own not found"
    engine.fail["network_remove"] = PermissionDenied("bridge is a pre-defined network and cannot be removed")
    api.message("DELETE", "/networks/bridge", status=403)


def test_connect_and_disconnect(api, engine):
    endpoint = {
        "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9", "LinkLocalIPs": ["169.254.1.1", ""]},
        "Links": ["db:data"], "Aliases": ["x", "y", "x"], "MacAddress": "02-42-AC-11-00-09", "DriverOpts": {"a": "b"}, "GwPriority": -3,
    }  # fmt: skip
    assert (
        api.call("POST", "/networks/own/connect", {"Container": "web", "EndpointConfig": endpoint})[0] == 200
    )
    expected = Endpoints(
        aliases=("x", "y"), links=("db:data",), ipv4="10.0.0.9", ipv6="fd00::9", link_local=("169.254.1.1",),
        mac=MAC, options={"a": "b"}, gateway_priority=-3,
    )  # fmt: skip
    assert engine.calls[-1] == ("network_connect", "own", "web", expected)
    assert api.call("POST", "/networks/own/connect", {"Container": "web"})[0] == 200
    assert engine.calls[-1] == ("network_connect", "own", "web", Endpoints())
    assert api.call("POST", "/networks/own/disconnect", {"Container": "web", "Force": True})[0] == 200
    assert engine.calls[-1] == ("network_disconnect", "own", "web", True)
    engine.fail["network_disconnect"] = NotFound("container web is not connected to network own")
    api.message("POST", "/networks/own/disconnect", {"Container": "web"}, status=500)  # as dockerd
    engine.fail["network_disconnect"] = NotFound("No such container: web")
    api.message("POST", "/networks/own/disconnect", {"Container": "web"}, status=404)


def test_inspect_parameters(api):
    assert api.message("GET", "/networks/own?verbose=x", status=400).startswith("invalid value for verbose")
    assert api.message("GET", "/networks/own?scope=swarm", status=404) == "network own not found"
    assert api.json("GET", "/networks/own?verbose=true&scope=local")["Name"] == "own"


def test_prune_leaves_what_is_used_meanwhile(api, engine):
    engine.fail["network_remove"] = PermissionDenied("has active endpoints")
    assert api.json("POST", "/networks/prune") == {"NetworksDeleted": None}
    del engine.fail["network_remove"]
    assert api.json("POST", "/networks/prune") == {"NetworksDeleted": ["own"]}


# Containers


def config_of(api, engine, version="", **body):
    status, _, data = api.call("POST", f"{version}/containers/create", {"Image": "bb:1", **body})
    assert status == 201, data
    return engine.calls[-1][2]


def endpoints(**networks):
    return {"EndpointsConfig": networks}


@pytest.mark.parametrize(
    ("body", "network", "networks"),
    [
        ({}, "default", {}),
        ({"NetworkingConfig": endpoints(default={"IPAMConfig": None, "Aliases": None})}, "default", {}),
        ({"NetworkingConfig": endpoints(own={})}, "default", {"own": Endpoints()}),  # in that one alone, as with dockerd
        ({"HostConfig": {"NetworkMode": "own"}}, "own", {}),
        (
            {"HostConfig": {"NetworkMode": "own"}, "NetworkingConfig": endpoints(own={}, b={"GwPriority": 2})},
            "own",
            {"own": Endpoints(), "b": Endpoints(gateway_priority=2)},
        ),
        ({"NetworkDisabled": True}, "none", {}),
        ({"MacAddress": MAC.upper()}, "default", {"default": Endpoints(mac=MAC)}),
        (
            {"MacAddress": MAC.upper(), "NetworkingConfig": endpoints(bridge={"GwPriority": 1})},
            "default",
            {"bridge": Endpoints(mac=MAC, gateway_priority=1)},
        ),
    ],
)  # fmt: skip
def test_networks_of_a_container(api, engine, body, network, networks):
    got = config_of(api, engine, **body)
    assert (got.network, dict(got.networks)) == (network, networks)


@pytest.mark.parametrize(
    ("version", "body", "words"),
    [
        ("/v1.43", {"NetworkingConfig": endpoints(a={}, b={})}, "Container cannot be connected to network endpoints: a, b"),
        ("", {"NetworkingConfig": endpoints(a=None)}, "no EndpointSettings for a"),
        ("", {"MacAddress": MAC, "NetworkingConfig": endpoints(a={})}, "unable to migrate container-wide MAC address"),
        ("", {"MacAddress": MAC, "NetworkingConfig": endpoints(default={"MacAddress": OTHER})}, "the container-wide MAC address must match"),
        ("", {"MacAddress": "nonsense"}, "invalid MAC address: nonsense"),
    ],
)  # fmt: skip
def test_nonsense_about_a_containers_networks(api, version, body, words):
    got = api.message("POST", f"{version}/containers/create", {"Image": "bb:1", **body}, status=400)
    assert got.startswith(words)


def test_links_and_ports(api, engine):
    bindings = {
        "80/sctp": [{"HostPort": "8000-8010"}],
        "81/tcp": [{"HostIp": "::1", "HostPort": "81"}, {"HostPort": "82-82"}],
    }
    got = config_of(api, engine, HostConfig={"Links": ["db:data"], "PortBindings": bindings})
    assert got.links == ("db:data",)
    assert got.ports == (
        PortBinding(80, "sctp", "", 8000, 8010),
        PortBinding(81, "tcp", "::1", 81),
        PortBinding(81, "tcp", "", 82),
    )
    for wrong in ("9-8", "-8", "8-", "70000"):
        body = {"Image": "bb:1", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": wrong}]}}}
        assert "invalid port specification" in api.message("POST", "/containers/create", body, status=400)


def test_inspect_shows_all_networks(api, engine):
    networks = endpoints(
        own={"Aliases": ["a"], "Links": ["l"], "GwPriority": 4, "DriverOpts": {"x": "y"}}, bridge={}
    )
    id = api.create(
        "sleep",
        "9",
        name="web",
        Hostname="host",
        HostConfig={"NetworkMode": "own"},
        NetworkingConfig=networks,
    )
    stopped = api.json("GET", f"/containers/{id}/json")["NetworkSettings"]["Networks"]
    assert set(stopped) == {"own", "bridge"}
    created = api.json("GET", f"/v1.44/containers/{id}/json")["NetworkSettings"]["Networks"]["own"]
    assert created["Aliases"] == ["a"]  # docker-compose 1.29 looks for the id there
    assert stopped["own"]["DNSNames"] == ["web", "a", id[:12], "host"]
    assert (stopped["own"]["EndpointID"], stopped["own"]["GwPriority"], stopped["own"]["Links"]) == (
        "",
        4,
        ["l"],
    )
    assert (stopped["own"]["DriverOpts"], stopped["bridge"]["DNSNames"]) == ({"x": "y"}, None)
    endpoint = Endpoint(
        "e" * 64, "n" * 64, id, "eth0", mac="02:00:00:00:00:01", ipv4="10.0.0.2/24", ipv6="fd00::2/64",
        gateway4="10.0.0.1", gateway6="fd00::1", ports=(PortBinding(80, "tcp", "::", 8080), PortBinding(80, "tcp", "0.0.0.0", 8080)),
    )  # fmt: skip
    one = engine.containers[id]
    running = replace(one, state=replace(one.state, status="running", pid=7), endpoints={"own": endpoint})
    engine.containers[id] = running
    settings = api.json("GET", f"/containers/{id}/json")["NetworkSettings"]
    own = settings["Networks"]["own"]
    assert (own["IPAddress"], own["IPPrefixLen"], own["Gateway"]) == ("10.0.0.2", 24, "10.0.0.1")
    assert (own["GlobalIPv6Address"], own["GlobalIPv6PrefixLen"], own["IPv6Gateway"]) == (
        "fd00::2",
        64,
        "fd00::1",
    )
    assert (own["Aliases"], settings["IPAddress"]) == (["a"], "")  # those beside are the default network's
    assert settings["Ports"]["80/tcp"] == [
        {"HostIp": "::", "HostPort": "8080"},
        {"HostIp": "0.0.0.0", "HostPort": "8080"},
    ]
    old = api.json("GET", f"/v1.44/containers/{id}/json")["NetworkSettings"]["Networks"]["own"]
    assert old["Aliases"] == ["a", id[:12]]
    listed = next(c for c in api.json("GET", "/containers/json") if c["Id"] == id)
    assert listed["NetworkSettings"]["Networks"]["own"]["IPAddress"] == "10.0.0.2"
    assert {(port["IP"], port["PublicPort"]) for port in listed["Ports"]} == {("::", 8080), ("0.0.0.0", 8080)}


def test_a_container_in_anothers_network_has_none_of_its_own(api, engine):
    id = api.create("sleep", "9", HostConfig={"NetworkMode": "container:web"})
    got = api.json("GET", f"/containers/{id}/json")
    assert got["NetworkSettings"]["Networks"] == {}
    assert got["HostConfig"]["NetworkMode"] == "container:web"


def test_a_link_is_removed_by_its_path(api, engine):
    engine.fail["container_remove"] = NotFound("Cannot get parent /db for link")
    assert api.message("DELETE", "/containers/web/db?link=1", status=404) == "Cannot get parent /db for link"
    assert engine.calls[-1] == ("container_remove", "web/db", False, False, True)
