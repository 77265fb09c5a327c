"""Images of Debian packages by the docker CLI: pulled, run, told apart by platform, and where they came from."""

import json
import tempfile
from pathlib import Path

import pytest
from images_lab import write_profile

from barque.testing.daemon import Daemon
from barque.testing.debs import Deb, DebRepository

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    made = {}
    for architecture in ("amd64", "arm64"):
        repository = DebRepository(tmp_path_factory.mktemp(architecture), "bookworm", architecture)
        busybox = {"bin/busybox": Path("/bin/busybox").read_bytes()}
        repository.add(
            Deb("busybox-static", "1.35-4", "common", busybox, architecture=architecture),
            Deb("common", architecture="all", files={"etc/common": b"common\n"}),
        )
        repository.publish()
        made[architecture] = repository
    yield made
    for repository in made.values():
        repository.close()


@pytest.fixture(scope="module", params=["amd64", "arm64"])
def daemon(request, lab, workspace, repositories):
    base = Path(tempfile.mkdtemp(dir=workspace))
    repository = repositories[request.param]
    profile = Path(write_profile(base / "p.toml"))
    settings = {"suite": "bookworm", "mirror": repository.url, "keyring": repository.keyring}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    profile.write_text(profile.read_text() + "\n".join(["[image.deb]", *lines, ""]))
    daemon = Daemon(base, lab, str(profile))
    try:
        daemon.start()
        daemon.architecture = request.param
        yield daemon
    finally:
        daemon.close()


def test_pull_inspect_history_and_run(daemon, repositories):
    platform = f"linux/{daemon.architecture}"
    pulled = daemon.docker("pull", "--platform", platform, "deb:busybox-static")
    assert pulled.returncode == 0, pulled.stderr
    (image,) = daemon.json("GET", "/images/json")
    assert "deb:busybox-static" in image["RepoTags"]
    shown = daemon.json("GET", f"/images/{image['Id']}/json")
    assert (shown["Os"], shown["Architecture"]) == ("linux", daemon.architecture)
    assert shown["Config"]["Labels"]["org.barque.deb.packages"] == "busybox-static=1.35-4"
    history = daemon.docker(
        "history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", image["Id"]
    ).stdout
    for deb in ("busybox-static_1.35-4", "common_1.0-1"):
        assert any(line.startswith(deb) and "sha256:" in line for line in history.splitlines()), history
    created = daemon.docker(
        "create", "--platform", platform, image["Id"], "/bin/busybox", "cat", "/etc/common"
    )
    assert created.returncode == 0, created.stderr
    container = created.stdout.strip().splitlines()[-1]
    if daemon.architecture == "amd64":
        assert daemon.docker("start", "-a", container).stdout == "common\n"
    assert daemon.docker("rm", container).returncode == 0
    again = daemon.docker("pull", "--platform", platform, "deb:busybox-static")
    assert "Image is up to date" in again.stdout
    assert daemon.docker("rmi", "-f", image["Id"]).returncode == 0
