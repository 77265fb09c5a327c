"""python-on-whales (which drives the docker CLI) and aiodocker (which speaks HTTP itself) against our daemon."""

import asyncio
import io
import tarfile
from datetime import UTC, datetime, timedelta

import pytest
from images_lab import becomes
from registry_image import IMAGE

aiodocker = pytest.importorskip("aiodocker")
whales = pytest.importorskip("python_on_whales")
pytestmark = [
    pytest.mark.root,
    # aiodocker leaves the connections of streams to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

_OURS = {"label": ["client-scripts=yes"]}
_MADE = [("label", "client-scripts=yes")]
_LABELS = {"client-scripts": "yes"}


@pytest.fixture
def docker(daemon):
    """python-on-whales' client; what it made and labelled is removed."""
    docker = whales.DockerClient(host=daemon.host)
    yield docker
    for container in docker.container.list(all=True, filters=_MADE):
        container.remove(force=True, volumes=True)
    for kind in (docker.network, docker.volume):
        for one in kind.list(filters=_MADE):
            one.remove()


def test_whales_containers(docker, tmp_path):
    assert docker.run(IMAGE, ["echo", "hello"], remove=True) == "hello"
    with pytest.raises(whales.exceptions.DockerException) as caught:
        docker.run(IMAGE, ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert caught.value.return_code == 3
    with docker.run(
        IMAGE, ["sh", "-c", "echo up; exec sleep 1000"], name="whale", detach=True, labels=_LABELS, init=True,
        envs={"A": "b"}, memory="32m", tmpfs=["/scratch"], publish=[(18301, 80)], restart="on-failure",
    ) as one:  # fmt: skip
        assert (one.state.running, "A=b" in one.config.env, one.host_config.memory) == (True, True, 32 << 20)
        assert one.network_settings.ports["80/tcp"][0]["HostPort"] == "18301"
        becomes([("stdout", b"up\n")], lambda: list(docker.logs(one, stream=True, tail=1, follow=False)))
        assert one.execute(["sh", "-c", "echo $X; pwd"], envs={"X": "y"}, workdir="/tmp") == "y\n/tmp"
        (tmp_path / "in").write_text("copied\n")
        docker.copy(tmp_path / "in", (one, "/tmp/in"))
        one.copy_from("/tmp/in", tmp_path / "out")
        assert (tmp_path / "out").read_text() == "copied\n"
        assert one.diff().items() >= {"/tmp": "C", "/tmp/in": "A"}.items()
        (stats,) = docker.stats(one)
        assert 0 < stats.memory_used < stats.memory_limit == 32 << 20
        one.pause()
        assert one.state.status == "paused"
        one.unpause()
        one.rename("whale-2")
        docker.container.update(one, pids_limit=50)
        one.reload()
        assert (one.name, one.host_config.pids_limit) == ("whale-2", 50)
        image = one.commit(tag="whales:committed")
        one.stop(time=5)
        assert docker.wait(one) == 143
        assert [each.name for each in docker.ps(all=True, filters=[("name", "whale-2")])] == ["whale-2"]
        one.restart()
        assert docker.container.inspect("whale-2").state.running
    assert not docker.container.exists("whale-2")
    assert docker.run(image, ["cat", "/tmp/in"], remove=True) == "copied"
    image.remove()


def test_whales_images_networks_volumes(docker, tmp_path):
    image = docker.image.inspect(IMAGE)
    assert image.config.labels == {"made-by": "tests"}
    docker.tag(IMAGE, "whales:tagged")
    docker.image.save("whales:tagged", output=tmp_path / "image.tar")
    docker.image.remove("whales:tagged")
    assert docker.image.load(tmp_path / "image.tar") == ["whales:tagged"]
    assert [each.id for each in docker.image.list(filters=[("reference", "whales:*")])] == [image.id]
    docker.image.remove("whales:tagged")
    assert not docker.image.exists("whales:tagged")

    network = docker.network.create("whale-net", subnet="10.231.9.0/24", gateway="10.231.9.1", labels=_LABELS)
    volume = docker.volume.create("whale-data", labels=_LABELS)
    server = docker.run(
        IMAGE, ["sh", "-c", "cp /www/* /data; exec httpd -f -h /data"], detach=True, labels=_LABELS, init=True,
        networks=[network], network_aliases=["page"], ip="10.231.9.7", volumes=[(volume, "/data")],
    )  # fmt: skip
    fetch = ["sh", "-c", "until wget -q -O- http://page/index.html; do sleep 0.1; done"]
    assert docker.run(IMAGE, fetch, remove=True, networks=[network]) == "a page from a container"
    other = docker.network.create("whale-net-2", labels=_LABELS)
    docker.network.connect(other, server, alias="again")
    server.reload()
    assert set(server.network_settings.networks) == {"whale-net", "whale-net-2"}
    assert server.network_settings.networks["whale-net"].ip_address == "10.231.9.7"
    docker.network.disconnect(other, server)
    assert list(docker.network.inspect("whale-net-2").containers) == []
    assert docker.volume.inspect("whale-data").labels == _LABELS
    with pytest.raises(whales.exceptions.DockerException, match="volume is in use"):
        volume.remove()
    server.remove(force=True)
    docker.network.prune(filters=_MADE)
    assert not docker.network.exists("whale-net")
    docker.volume.prune(filters=_MADE, all=True)
    assert not docker.volume.exists("whale-data")


def test_whales_system(docker):
    info = docker.system.info()
    assert info.server_version
    assert docker.version().server.api_version == "1.51"
    docker.run(IMAGE, ["true"], remove=True, name="whale-seen", labels=_LABELS)
    events = docker.system.events(
        since=timedelta(minutes=1), until=datetime.now(UTC), filters={"container": "whale-seen"}
    )
    seen = [event.action for event in events]
    assert [name for name in seen if name != "attach"] == ["create", "start", "die", "destroy"]
    assert docker.system.disk_free().images.total_count >= 1
    docker.container.create(IMAGE, labels=_LABELS)
    docker.container.prune(filters=_MADE)
    assert docker.container.list(all=True, filters=_MADE) == []


def with_aiodocker(daemon, script):
    async def work():
        async with aiodocker.Docker(url=daemon.host) as docker:
            await asyncio.wait_for(script(docker), 60)

    asyncio.run(work())


def _config(*program, **config):
    return {"Image": IMAGE, "Cmd": list(program), "Labels": _LABELS, **config}


async def _run(docker, *program, **config):
    return await docker.containers.run(_config(*program, **config))


def test_aiodocker_container(daemon):
    async def script(docker):
        program = "echo out; echo err >&2; read line; echo got $line; exec sleep 1000"
        config = {"OpenStdin": True, "HostConfig": {"Init": True}}
        one = await docker.containers.create(_config("sh", "-c", program, **config), name="aio")
        try:
            async with one.attach(stdin=True, stdout=True, stderr=True) as stream:
                await stream.write_in(b"a line\n")
                await one.start()
                told = {1: b"", 2: b""}
                while len(told[1] + told[2]) < len("out\ngot a line\nerr\n"):
                    message = await stream.read_out()
                    told[message.stream] += message.data
            assert told == {1: b"out\ngot a line\n", 2: b"err\n"}
            assert await one.log(stdout=True) == ["out\n", "got a line\n"]
            execution = await one.exec(["sh", "-c", "read line; echo $line; exit 9"], stdin=True)
            async with execution.start() as stream:
                await stream.write_in(b"through\n")
                assert (await stream.read_out()).data == b"through\n"
                assert await stream.read_out() is None
            assert (await execution.inspect())["ExitCode"] == 9
            await one.put_archive("/tmp", _tar("file", b"content"))
            archive = await one.get_archive("/tmp/file")
            assert archive.extractfile("file").read() == b"content"
            (stats,) = await one.stats(stream=False)
            assert stats["memory_stats"]["usage"] > 0
            async for sample in one.stats():
                assert sample["name"] == "/aio"
                break
            assert any("sleep 1000" in row[-1] for row in (await one.top())["Processes"])
            await one.pause()
            assert (await one.show())["State"]["Paused"]
            await one.unpause()
            await one.rename("aio-2")
            await one.kill(signal="TERM")
            assert (await one.wait())["StatusCode"] == 143
            await one.restart(t=1)
            assert (await docker.containers.get("aio-2"))["State"]["Running"]
        finally:
            await one.delete(force=True, v=True)
        with pytest.raises(aiodocker.DockerError) as caught:
            await one.show()
        assert (caught.value.status, caught.value.message) == (404, f"No such container: {one.id}")

    with_aiodocker(daemon, script)


def _tar(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_aiodocker_events_and_many_at_once(daemon):
    async def script(docker):
        events = docker.events.subscribe()
        containers = await asyncio.gather(
            *(_run(docker, "sh", "-c", f"echo {n}; exit {n}") for n in range(4))
        )
        ends = await asyncio.gather(*(one.wait() for one in containers))
        assert [end["StatusCode"] for end in ends] == [0, 1, 2, 3]
        lines = await asyncio.gather(*(one.log(stdout=True, follow=False) for one in containers))
        assert lines == [["0\n"], ["1\n"], ["2\n"], ["3\n"]]
        wanted, seen = {one.id for one in containers}, {}
        while len([1 for actions in seen.values() if "die" in actions]) < 4:
            event = await asyncio.wait_for(events.get(), 10)
            if event["Type"] == "container" and event["Actor"]["ID"] in wanted:
                seen.setdefault(event["Actor"]["ID"], []).append(event["Action"])
        for actions in seen.values():  # aiodocker's request for events may come after its first create
            told = [action for action in actions if action != "attach"]
            assert told == ["create", "start", "die"][-len(told) :]
        answer = await docker.containers.prune(filters=_OURS)
        assert set(answer["ContainersDeleted"]) == wanted
        await docker.events.stop()

    with_aiodocker(daemon, script)


def test_aiodocker_images_networks_volumes(daemon):
    async def script(docker):
        lines = await docker.images.pull(IMAGE)
        assert "up to date" in lines[-1]["status"]
        await docker.images.tag(IMAGE, "aio", tag="1")
        assert "aio:1" in (await docker.images.inspect("aio:1"))["RepoTags"]
        assert await docker.images.delete("aio:1") == [{"Untagged": "aio:1"}]

        network = await docker.networks.create({"Name": "aio-net", "Labels": _LABELS})
        volume = await docker.volumes.create({"Name": "aio-data", "Labels": _LABELS})
        host = {"NetworkMode": "aio-net", "Binds": ["aio-data:/data"], "Init": True}
        one = await _run(docker, "sleep", "1000", HostConfig=host)
        extra = await docker.networks.create({"Name": "aio-net-2", "Labels": _LABELS})
        await extra.connect({"Container": one.id, "EndpointConfig": {"Aliases": ["x"]}})
        assert list((await extra.show())["Containers"]) == [one.id]
        await extra.disconnect({"Container": one.id, "Force": False})
        with pytest.raises(aiodocker.DockerError, match="has active endpoints"):
            await network.delete()
        await one.delete(force=True)
        assert set((await docker.networks.prune(filters=_OURS))["NetworksDeleted"]) == {
            "aio-net",
            "aio-net-2",
        }
        assert (await volume.show())["Labels"] == _LABELS
        answer = await docker.volumes.prune(filters={**_OURS, "all": ["true"]})
        assert answer["VolumesDeleted"] == ["aio-data"]

    with_aiodocker(daemon, script)
