"""Networks with docker-py."""

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

docker = pytest.importorskip("docker")


@pytest.fixture
def client(daemon):
    client = docker.DockerClient(base_url=daemon.host, version="1.45")
    yield client
    for container in client.containers.list(all=True, filters={"label": "py-net"}):
        container.remove(force=True)
    client.networks.prune(filters={"label": "py-net"})
    client.close()


def test_networks(client):
    pool = docker.types.IPAMPool(
        subnet="10.203.0.0/24", gateway="10.203.0.254", aux_addresses={"a": "10.203.0.9"}
    )
    made = client.networks.create(
        "py-one",
        driver="bridge",
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        labels={"py-net": "1"},
        internal=True,
    )
    client.networks.create("py-two", labels={"py-net": "2"}, check_duplicate=True)
    with pytest.raises(docker.errors.APIError, match="network with name py-two already exists"):
        client.networks.create("py-two")
    assert [one.name for one in client.networks.list(names=["py-one"])] == ["py-one"]
    assert client.networks.get(made.id[:12]).attrs["IPAM"]["Config"][0]["Gateway"] == "10.203.0.254"

    container = client.containers.run(
        IMAGE, ["sleep", "1000"], detach=True, name="py-net", labels=["py-net"], network="py-two",
        networking_config={"py-two": client.api.create_endpoint_config(aliases=["me"])},
    )  # fmt: skip
    made.connect(container, ipv4_address="10.203.0.77", aliases=["seven"], links={"py-net": "self"})
    made.reload()
    assert [one.name for one in made.containers] == ["py-net"]
    container.reload()
    shown = container.attrs["NetworkSettings"]["Networks"]
    assert shown["py-one"]["IPAddress"] == "10.203.0.77"
    assert shown["py-one"]["Links"] == ["py-net:self"]
    assert "me" in shown["py-two"]["Aliases"]
    code, out = container.exec_run(["sh", "-c", "ping -c1 -W2 seven && ping -c1 -W2 self && ping -c1 -W2 me"])
    assert code == 0, out
    assert [one.name for one in client.containers.list(filters={"network": "py-one"})] == ["py-net"]
    with pytest.raises(docker.errors.APIError, match="has active endpoints") as caught:
        made.remove()
    assert caught.value.response.status_code == 403
    made.disconnect(container)
    with pytest.raises(docker.errors.APIError, match="is not connected to network py-one"):
        made.disconnect(container)
    made.remove()
    with pytest.raises(docker.errors.NotFound, match="network py-one not found"):
        client.networks.get("py-one")


def test_a_low_level_container_is_in_the_networks_it_names_and_no_other(client):
    client.networks.create("py-low", labels={"py-net": "1"})
    networks = client.api.create_networking_config({"py-low": client.api.create_endpoint_config()})
    made = client.api.create_container(
        IMAGE, ["sleep", "1000"], labels=["py-net"], networking_config=networks
    )
    client.api.start(made["Id"])
    shown = client.api.inspect_container(made["Id"])["NetworkSettings"]
    assert list(shown["Networks"]) == ["py-low"]
    assert shown["IPAddress"] == ""
