"""docker-py against our daemon."""

import threading
import time

import pytest
from registry_image import IMAGE

docker = pytest.importorskip("docker")
pytestmark = [
    pytest.mark.root,
    # docker-py leaves the sockets of streams to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def client(daemon):
    client = docker.DockerClient(base_url=daemon.host, timeout=30)
    yield client
    client.close()


def test_run_logs_and_exit_codes(client):
    assert client.containers.run(IMAGE, ["echo", "hi"], remove=True) == b"hi\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run(IMAGE, ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert caught.value.exit_status == 3
    with pytest.raises(
        docker.errors.NotFound, match="manifest unknown"
    ):  # what it makes of dockerd's words, too
        client.containers.run("127.0.0.1:5000/absent:1", "true")


def test_life_of_a_container(client):
    container = client.containers.run(
        IMAGE, ["sh", "-c", "echo started; sleep 1000"], detach=True, labels={"a": "b"}
    )
    try:
        assert client.containers.list(filters={"label": "a=b"}) == [container]
        deadline = time.monotonic() + 5
        while container.logs() != b"started\n" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert container.logs(stdout=True, stderr=False) == b"started\n"
        code, output = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
        assert (code, output) == (5, (b"out\n", b"err\n"))
        container.stop(timeout=1)
        container.reload()
        assert container.status == "exited"
        assert container.wait()["StatusCode"] == 137
        container.start()
        container.reload()
        assert container.attrs["State"]["Running"]
    finally:
        container.remove(force=True)
    with pytest.raises(docker.errors.NotFound):
        client.containers.get(container.id)


def test_attach_streams_until_the_end(client):
    container = client.containers.create(IMAGE, ["sh", "-c", "for i in 1 2 3; do echo $i; done"])
    try:
        stream = container.attach(stream=True, logs=False)
        container.start()
        assert b"".join(stream) == b"1\n2\n3\n"
    finally:
        container.remove(force=True)


def test_events_reach_a_listener(client):
    seen = []

    def listen():
        for event in client.events(decode=True, filters={"label": "listen=yes"}):
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.3)
    client.containers.run(IMAGE, "true", remove=True, labels={"listen": "yes"})
    listener.join(10)
    assert [a for a in seen if a != "attach"] == ["create", "start", "die", "destroy"]


def test_images_and_networks(client):
    image = client.images.pull("127.0.0.1:5000/busybox", tag="1")
    assert IMAGE in image.tags
    assert image.attrs["Config"]["Labels"] == {"made-by": "tests"}
    assert image.tag("copy", "2")
    client.images.remove("copy:2")
    assert {n.name for n in client.networks.list()} >= {"bridge", "host", "none"}
    assert client.info()["Driver"] == "overlay"
    assert client.version()["ApiVersion"] == "1.51"
