"""What the tests of volumes share: runs in the test image, images with volumes of their own."""

import contextlib
import io
import json
import secrets
import tarfile

from registry_image import IMAGE, add, docker_archive


def run(daemon, *arguments, program, image=IMAGE):
    """`docker run --rm` without a network; what it printed. It must succeed."""
    done = daemon.docker("run", "--rm", "--network", "none", *arguments, image, *program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell(daemon, *arguments, script, image=IMAGE):
    return run(daemon, *arguments, program=("sh", "-c", script), image=image)


def refused(daemon, *arguments, image=IMAGE):
    """What `docker create` fails with in the end: where something is not found, it first pulls the image."""
    done = daemon.docker("create", *arguments, image, "true")
    assert done.returncode != 0, done.stdout
    return done.stderr.rpartition("Error response from daemon: ")[2].splitlines()[0]


def name():
    return f"v-{secrets.token_hex(4)}"


def names(daemon):
    return set(daemon.docker("volume", "ls", "-q").stdout.split())


def volume_root(daemon):
    return daemon.base / "root" / "volume" / "local"


@contextlib.contextmanager
def built_image(daemon, fill, config):
    """An image of busybox and what `fill(tar)` adds, with `config` in its configuration; its name."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for directory in ("bin", "etc", "tmp"):
            add(tar, directory, kind=tarfile.DIRTYPE, mode=0o755)
        with open("/bin/busybox", "rb") as file:
            add(tar, "bin/busybox", file.read(), 0o755)
        for applet in ("sh", "cat", "ls", "stat", "touch", "pwd", "true"):
            add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox")
        fill(tar)
    tag = f"made/{secrets.token_hex(4)}:1"
    archive = configured(docker_archive(layer.getvalue(), tag), config)
    loaded = daemon.docker("load", "-i", str(stored(daemon, archive)))
    assert loaded.returncode == 0, loaded.stderr
    yield tag
    daemon.docker("rmi", "-f", tag)


def stored(daemon, archive):
    path = daemon.base / f"{secrets.token_hex(4)}.tar"
    path.write_bytes(archive)
    return path


def configured(archive, config):
    """The archive with more in its image's configuration."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            data = old.extractfile(member).read()
            if member.name.endswith(".json") and member.name != "manifest.json":
                document = json.loads(data)
                document["config"] |= config
                data = json.dumps(document).encode()
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return out.getvalue()
