"""Volumes and mounts of all types, by the docker CLI and docker-py on a real daemon."""

import json
import os
import tarfile
import time

import pytest
from registry_image import IMAGE, add
from volumes_lab import built_image, name, names, refused, run, shell, volume_root

from barque.testing.volume_lab import mounts_below

docker = pytest.importorskip("docker")
pytestmark = [
    pytest.mark.root,
    # docker-py leaves the sockets of streams to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def client(daemon):
    client = docker.DockerClient(base_url=daemon.host, version="auto")
    yield client
    client.close()


@pytest.fixture
def volume(daemon):
    """The name of a volume that is to be; it and its containers are gone afterwards."""
    chosen = name()
    yield chosen
    for one in daemon.docker("ps", "-aq", "--filter", f"volume={chosen}").stdout.split():
        daemon.docker("rm", "-f", one)
    daemon.docker("volume", "rm", "-f", chosen)
    assert not (volume_root(daemon) / chosen).exists()


def test_containers_share_a_named_volume(daemon, volume):
    shell(daemon, "-v", f"{volume}:/data", script="echo one > /data/f")
    assert shell(daemon, "-v", f"{volume}:/elsewhere:ro", script="cat /elsewhere/f") == "one\n"
    denied = daemon.docker("run", "--rm", "-v", f"{volume}:/data:ro", IMAGE, "touch", "/data/g")
    assert "Read-only file system" in denied.stderr
    assert daemon.docker(
        "volume", "inspect", "-f", "{{.Mountpoint}} {{.Driver}} {{.Scope}}", volume
    ).stdout == (f"{volume_root(daemon) / volume / '_data'} local local\n")


def test_a_bind_makes_a_directory_that_every_user_may_enter(daemon, tmp_path):
    made = tmp_path / "above" / "made"
    assert shell(daemon, "-v", f"{made}:/data", "-u", "65534", script="ls -ld / /data && ls /data")
    assert [path.stat().st_mode & 0o7777 for path in (made, made.parent)] == [0o755, 0o755]


def test_docker_py_shares_and_lists(client, volume):
    made = client.volumes.create(volume, labels={"a": "b"})
    client.containers.run(
        IMAGE, ["sh", "-c", "echo py > /d/f"], volumes={volume: {"bind": "/d", "mode": "rw"}}, remove=True
    )
    mount = docker.types.Mount("/x", volume, read_only=True)
    assert client.containers.run(IMAGE, ["cat", "/x/f"], mounts=[mount], remove=True) == b"py\n"
    assert [one.name for one in client.volumes.list(filters={"label": "a=b", "name": volume})] == [volume]
    assert made.attrs["Labels"] == {"a": "b"}
    made.remove()
    with pytest.raises(docker.errors.NotFound, match=f"get {volume}: no such volume"):
        client.volumes.get(volume)


def test_copy_up_keeps_owner_mode_and_content(daemon, volume):
    def fill(tar):
        entry = tarfile.TarInfo("data")
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o2750, 70, 71
        tar.addfile(entry)
        add(tar, "data/file", b"from the image\n", 0o640)
        add(tar, "data/sub", kind=tarfile.DIRTYPE, mode=0o700)
        add(tar, "data/sub/tool", b"#!", 0o4755)
        add(tar, "data/link", kind=tarfile.SYMTYPE, link="file")
        add(tar, "data/hard", kind=tarfile.LNKTYPE, link="data/file")
        add(tar, "data/fifo", kind=tarfile.FIFOTYPE, mode=0o620)

    script = "stat -c '%a %u %g %F %h' /data /data/file /data/sub/tool /data/link /data/fifo; cat /data/link"
    with built_image(daemon, fill, {}) as image:
        copied = shell(daemon, "-v", f"{volume}:/data", script=script, image=image)
        assert copied == shell(daemon, script=script, image=image)
        assert copied.splitlines()[1] == "640 0 0 regular file 2"
        shell(daemon, "-v", f"{volume}:/data", script="echo mine > /data/file", image=image)
        assert "mine" in shell(daemon, "-v", f"{volume}:/data", script="cat /data/file", image=image)


def test_nocopy_leaves_a_volume_empty(daemon, volume):
    assert shell(daemon, "-v", f"{volume}:/www:nocopy", script="ls /www") == ""
    assert shell(daemon, "-v", f"{volume}:/www", script="ls /www") == "index.html\n"


def test_anonymous_volumes_go_with_rm_and_with_rm_v(daemon):
    before = names(daemon)
    shell(daemon, "-v", "/anon", "--mount", "type=volume,dst=/other", script="touch /anon/f /other/f")
    assert names(daemon) == before
    kept = daemon.docker("create", "-v", "/anon", IMAGE).stdout.strip()
    (anonymous,) = names(daemon) - before
    assert len(anonymous) == 64
    labels = daemon.docker("volume", "inspect", "-f", "{{json .Labels}}", anonymous).stdout
    assert json.loads(labels) == {"com.docker.volume.anonymous": ""}
    daemon.docker("rm", kept)
    assert names(daemon) - before == {anonymous}
    pruned = daemon.docker("volume", "prune", "-f").stdout
    assert anonymous in pruned
    gone = daemon.docker("create", "-v", "/anon", IMAGE).stdout.strip()
    daemon.docker("rm", "-v", gone)
    assert names(daemon) == before


def test_prune_spares_named_and_used_volumes(daemon, volume):
    daemon.docker("volume", "create", "--label", f"mine={volume}", volume)
    assert volume not in daemon.docker("volume", "prune", "-f").stdout
    user = daemon.docker("create", "-v", f"{volume}:/x", IMAGE).stdout.strip()
    assert volume not in daemon.docker("volume", "prune", "-af", "--filter", f"label=mine={volume}").stdout
    busy = daemon.docker("volume", "rm", volume)
    assert busy.stderr == f"Error response from daemon: remove {volume}: volume is in use - [{user}]\n"
    daemon.docker("rm", "-v", user)  # never a volume that has a name
    assert volume in daemon.docker("volume", "prune", "-af", "--filter", f"label=mine={volume}").stdout


def test_volumes_of_the_image(daemon, volume):
    def fill(tar):
        add(tar, "data", kind=tarfile.DIRTYPE, mode=0o755)
        add(tar, "data/f", b"image\n")

    with built_image(daemon, fill, {"Volumes": {"/data": {}, "/more": {}, "/mine": {}}}) as image:
        before = names(daemon)
        made = daemon.docker(
            "create", "-v", f"{volume}:/mine", "--tmpfs", "/more", image, "true"
        ).stdout.strip()
        (anonymous,) = names(daemon) - before - {volume}
        assert (volume_root(daemon) / anonymous / "_data" / "f").read_text() == "image\n"
        shown = daemon.json("GET", f"/containers/{made}/json")
        assert {(m["Destination"], m["Name"]) for m in shown["Mounts"]} == {
            ("/mine", volume),
            ("/data", anonymous),
        }
        inherits = ("--volumes-from", f"{made}:ro", "--tmpfs", "/more")
        other = daemon.docker("create", *inherits, image, "cat", "/data/f").stdout.strip()
        assert names(daemon) - before == {
            volume,
            anonymous,
        }  # what comes from another container is not made anew
        assert not any(m["RW"] for m in daemon.json("GET", f"/containers/{other}/json")["Mounts"])
        assert daemon.docker("start", "-a", other).stdout == "image\n"
        daemon.docker("rm", "-v", made)
        assert anonymous in names(daemon)  # the other one has it
        daemon.docker("rm", "-v", other)
        assert names(daemon) - before == {volume}


def test_a_file_at_the_place_of_a_volume(daemon):
    before = names(daemon)
    assert (
        refused(daemon, "-v", "/etc/passwd")
        == "cannot mount volume over existing file, file exists /etc/passwd"
    )
    assert names(daemon) == before


def test_tmpfs_volume(daemon, volume):
    daemon.docker(
        "volume",
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=64k,uid=1000,mode=700",
        volume,
    )
    one = daemon.docker(
        "run", "-d", "-v", f"{volume}:/t", IMAGE, "sh", "-c", "echo x > /t/f; sleep 1000"
    ).stdout.strip()
    script = "cat /t/f; stat -c '%u %a' /t; dd if=/dev/zero of=/t/big bs=1k count=100 2>&1"
    seen = daemon.docker("run", "--rm", "-v", f"{volume}:/t", IMAGE, "sh", "-c", script)
    assert seen.stdout.startswith("x\n1000 700\n")
    assert "No space left" in seen.stdout
    assert len(mounts_below(volume_root(daemon))) == 1
    daemon.docker("rm", "-f", one)
    assert mounts_below(volume_root(daemon)) == []


def test_bind_volume_and_its_refusals(daemon, volume, tmp_path):
    (tmp_path / "f").write_text("host\n")
    daemon.docker("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind", volume)
    assert shell(daemon, "-v", f"{volume}:/x", script="cat /x/f; touch /x/g") == "host\n"
    daemon.docker("volume", "rm", volume)
    assert sorted(os.listdir(tmp_path)) == ["f", "g"]  # the volume was a place to mount it on
    for options, words in {
        ("bad=1",): 'create x1: invalid option: "bad"',
        ("type=tmpfs",): 'create x1: missing required option: "device"',
        ("o=ro",): 'create x1: missing required option: "device"',
        ("size=1x",): "create x1: invalid size: '1x'",
    }.items():
        done = daemon.docker("volume", "create", *(word for o in options for word in ("-o", o)), "x1")
        assert done.stderr == f"Error response from daemon: {words}\n"
    daemon.docker(
        "volume", "create", "-o", "type=none", "-o", f"device={tmp_path}/no", "-o", "o=bind", volume
    )
    assert refused(daemon, "-v", f"{volume}:/x").startswith(
        f"failed to populate volume: error while mounting volume '{volume_root(daemon) / volume / '_data'}': "
        f"failed to mount local volume: mount {tmp_path}/no:"
    )


def test_subpath(daemon, volume):
    shell(
        daemon,
        "-v",
        f"{volume}:/v",
        script="mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s / /v/out; ln -s a/b /v/in",
    )
    mount = f"type=volume,src={volume},dst=/x,volume-subpath="
    assert shell(daemon, "--mount", f"{mount}a/b", script="cat /x/f; ls /x") == "deep\nf\n"
    assert shell(daemon, "--mount", f"{mount}a/b/f", script="cat /x") == "deep\n"
    assert shell(daemon, "--mount", f"{mount}in", script="ls /x") == "f\n"
    assert shell(daemon, "--mount", f"{mount}out", script="ls /x").split() == [
        "a",
        "in",
        "out",
    ]  # the volume's own root
    missing = daemon.docker("run", "--rm", "--mount", f"{mount}no", IMAGE, "true")
    assert "no such file or directory" in missing.stderr


def test_image_mounts(daemon):
    before = set(os.listdir(daemon.base / "root/storage/overlay/snapshots"))
    mount = f"type=image,src={IMAGE},dst=/img"
    done = daemon.docker(
        "run", "--rm", "--mount", mount, IMAGE, "sh", "-c", "cat /img/www/index.html; touch /img/x"
    )
    assert done.stdout == "a page from a container\n"
    assert "Read-only file system" in done.stderr
    assert run(daemon, "--mount", f"{mount},image-subpath=www", program=("ls", "/img")) == "index.html\n"
    assert set(os.listdir(daemon.base / "root/storage/overlay/snapshots")) == before
    assert "No such image" in refused(daemon, "--mount", "type=image,src=no/such:1,dst=/img")


def test_binds_tell_the_host_when_they_are_shared(daemon, tmp_path):
    inner = tmp_path / "shared"
    inner.mkdir()
    for command in (["mount", "-t", "tmpfs", "x", inner], ["mount", "--make-rshared", inner]):
        assert os.spawnvp(os.P_WAIT, "mount", list(map(str, command))) == 0
    try:
        (inner / "sub").mkdir()
        script = "mount -t tmpfs inside /s/sub && touch /s/sub/f && sleep 1000"
        one = daemon.docker(
            "run", "-d", "--privileged", "-v", f"{inner}:/s:rshared", IMAGE, "sh", "-c", script
        )
        identity = one.stdout.strip()
        waited = daemon.docker("exec", identity, "sh", "-c", "until [ -e /s/sub/f ]; do sleep 0.05; done")
        assert waited.returncode == 0, daemon.docker("logs", identity).stderr
        assert (inner / "sub" / "f").exists()
        daemon.docker("rm", "-f", identity)
        private = daemon.docker("run", "--rm", "-v", f"{daemon.base}:/s:rshared", IMAGE, "true")
        if "not a shared mount" not in private.stderr:
            assert private.returncode == 0  # this host's root is shared
    finally:
        os.spawnvp(os.P_WAIT, "umount", ["umount", "-R", "-l", str(inner)])


def test_read_only_binds_are_so_below_as_well(daemon, tmp_path):
    (tmp_path / "sub").mkdir()
    assert os.spawnvp(os.P_WAIT, "mount", ["mount", "-t", "tmpfs", "x", str(tmp_path / "sub")]) == 0
    try:
        script = "touch /s/sub/f 2>/dev/null && echo written || echo refused"
        assert shell(daemon, "-v", f"{tmp_path}:/s:ro", script=script) == "refused\n"
        mount = f"type=bind,src={tmp_path},dst=/s,readonly,bind-recursive="
        assert shell(daemon, "--mount", f"{mount}writable", script=script) == "written\n"
        assert (
            shell(daemon, "--mount", f"{mount}readonly,bind-propagation=rprivate", script=script)
            == "refused\n"
        )
        assert shell(daemon, "--mount", f"{mount}disabled", script=script) == "refused\n"
    finally:
        os.spawnvp(os.P_WAIT, "umount", ["umount", "-l", str(tmp_path / "sub")])


def test_files_of_a_stopped_container_include_its_volumes(daemon, volume):
    shell(daemon, "-v", f"{volume}:/v", script="mkdir /v/sub; echo copied > /v/sub/f")
    made = daemon.docker(
        "create",
        "-v",
        f"{volume}:/v",
        "--mount",
        f"type=volume,src={volume},dst=/part,volume-subpath=sub",
        IMAGE,
    ).stdout.strip()
    for path in ("/v/sub/f", "/part/f"):
        assert b"copied" in daemon.docker("cp", f"{made}:{path}", "-").stdout.encode()


BIND, VOLUME = ('invalid mount config for type "bind": ', 'invalid mount config for type "volume": ')
SPECIFIED = "field {} must not be specified"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "-v v1:/x:rshared",
            f"invalid volume specification: 'v1:/x:rshared': {VOLUME}{SPECIFIED.format('BindOptions')}",
        ),
        (
            "-v /v1:/x:nocopy",
            f"invalid volume specification: '/v1:/x:nocopy': {BIND}{SPECIFIED.format('VolumeOptions')}",
        ),
        ("-v v1:/x:foo", "invalid mode: foo"),
        ("-v v1:/x -v v2:/x", "Duplicate mount point: /x"),
        (
            "-v v1:/",
            f"invalid volume specification: 'v1:/': {VOLUME}invalid specification: destination can't be '/'",
        ),
        (
            "--mount type=volume,dst=/x,readonly",
            f"{VOLUME}must not set ReadOnly mode when using anonymous volumes",
        ),
        ("--mount type=npipe,src=x,dst=/x", 'invalid mount config for type "npipe": mount type unknown'),
        ("--mount type=cluster,src=xx,dst=/x", 'invalid mount config for type "cluster": mount type unknown'),
        (
            "--mount type=volume,src=x1,dst=/x,volume-subpath=../y",
            f"{VOLUME}subpath must be a relative path within the volume",
        ),
        ("--volumes-from no-such", "No such container: no-such"),
        (
            "--mount type=volume,src=xx,dst=/x,volume-driver=nodrv",
            'create xx: error looking up volume plugin nodrv: plugin "nodrv" not found',
        ),
    ],
)
def test_refusals_are_dockers(daemon, arguments, words):
    before = names(daemon)
    assert refused(daemon, *arguments.split()) == words
    assert names(daemon) == before


def test_events_and_df(daemon, volume):
    since = f"{time.time():.6f}"
    shell(daemon, "-v", f"{volume}:/x:ro", script="true")
    (used,) = (
        one for one in daemon.json("GET", "/system/df?type=volume")["Volumes"] if one["Name"] == volume
    )
    assert used["UsageData"] == {"RefCount": 0, "Size": 0}
    daemon.docker("volume", "rm", volume)
    shown = daemon.docker(
        "events",
        "--since",
        since,
        "--until",
        f"{time.time():.6f}",
        "--filter",
        f"volume={volume}",
        "--format",
        "{{json .}}",
    )
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [event["Action"] for event in events] == ["create", "mount", "unmount", "destroy"]
    attributes = events[1]["Actor"]["Attributes"]
    assert attributes.pop("container")
    assert attributes == {"driver": "local", "destination": "/x", "propagation": "", "read/write": "false"}


def test_inspect_shows_mounts_as_docker(daemon, volume, tmp_path):
    options = (
        "-v",
        f"{volume}:/a",
        "-v",
        f"{tmp_path}:/b:ro",
        "-v",
        "/c",
        "--mount",
        "type=tmpfs,dst=/d",
        "--tmpfs",
        "/e",
    )
    made = daemon.docker("create", *options, IMAGE).stdout.strip()
    shown = daemon.json("GET", f"/containers/{made}/json")
    by_target = {mount["Destination"]: mount for mount in shown["Mounts"]}
    assert by_target.keys() == {"/a", "/b", "/c", "/d"}
    assert by_target["/a"] == {
        "Type": "volume", "Name": volume, "Source": str(volume_root(daemon) / volume / "_data"), "Destination": "/a",
        "Driver": "local", "Mode": "z", "RW": True, "Propagation": "",
    }  # fmt: skip
    assert by_target["/b"]["Mode"] == "ro"
    assert by_target["/c"]["Mode"] == ""
    assert shown["Config"]["Volumes"] == {"/c": {}}
    assert (
        volume in daemon.docker("ps", "-a", "--filter", f"volume={volume}", "--format", "{{.Mounts}}").stdout
    )
    daemon.docker("rm", "-v", made)


@pytest.mark.row("S27")
def test_links_of_a_hostile_image_lead_copy_up_and_mounts_nowhere(daemon, volume):
    """VOLUME and WORKDIR through links: to the host's files, up and out, in circles. All is found in the image's own root."""

    def fill(tar):
        add(tar, "etc/secret", b"of the image\n")
        add(tar, "up", kind=tarfile.SYMTYPE, link="../../../../../../../../etc")
        add(tar, "abs", kind=tarfile.SYMTYPE, link="/etc")
        add(tar, "loop", kind=tarfile.SYMTYPE, link="loop")
        add(tar, "magic", kind=tarfile.SYMTYPE, link="/proc/self/root/etc")
        add(tar, "work", kind=tarfile.SYMTYPE, link="../../../../tmp")
        add(tar, "in", kind=tarfile.DIRTYPE, mode=0o755)
        add(tar, "in/shadow", kind=tarfile.SYMTYPE, link="/etc/shadow")

    config = {"Volumes": {"/up": {}, "/abs": {}, "../../../in": {}}, "WorkingDir": "/work/made-by-workdir"}
    before = names(daemon)
    with built_image(daemon, fill, config) as image:
        for target in ("/up", "/abs"):
            shown = daemon.docker(
                "run", "--rm", "--network", "none", "-v", f"{volume}:{target}", image, "ls", target
            )
            assert shown.returncode == 0, shown.stderr
            assert shown.stdout.split() == ["secret"]
        assert os.listdir(volume_root(daemon) / volume / "_data") == ["secret"]
        # the link itself is copied, not what it leads to on the host
        assert (
            shell(daemon, script="pwd; stat -c %F /in/shadow", image=image)
            == "/tmp/made-by-workdir\nsymbolic link\n"
        )
        assert not os.path.exists("/tmp/made-by-workdir")
        loop = daemon.docker("run", "--rm", "--network", "none", "-v", "/loop", image, "true")
        assert loop.returncode != 0
        # the native runtime refuses it; runc takes it for a path in the image
        script = "cat /etc/secret; ls /magic"
        magic = daemon.docker("run", "--rm", "--network", "none", "-v", "/magic", image, "sh", "-c", script)
        assert magic.stdout in ("", "of the image\n", "of the image\nsecret\n")
    assert names(daemon) - {volume} == before
