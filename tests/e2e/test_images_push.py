"""docker and barque push: to a real registry, with its words, digests and events; and names that lead to another default registry."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from images_lab import registry_in, write_profile
from registry_image import IMAGE, REGISTRY

from barque.testing.daemon import Daemon
from barque.testing.layers import LayerTar
from barque.testing.registry import Contents, Fault, Tokens

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def other(lab):
    """A second registry on the lab's loopback."""
    with registry_in(lab, contents=Contents(separate=True)) as registry:
        layer = LayerTar().directory("etc").file("etc/motd", b"of the other registry").content()
        registry.add_image("team/app", "1", [layer])
        registry.add_image("team/app", "2", [layer, LayerTar().file("second", b"2").content()])
        yield registry


@pytest.fixture(scope="module")
def elsewhere(lab, other, tmp_path_factory):
    """A daemon whose names without a host lead to the other registry."""
    profile = Path(write_profile(tmp_path_factory.mktemp("profile") / "elsewhere.toml"))
    profile.write_text(f'{profile.read_text()}\n[images]\ndefault_registry = "{other.address}"\n')
    base = Path(tempfile.mkdtemp(prefix="bq-", dir="/tmp"))
    daemon = Daemon(base, lab, str(profile))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(base, ignore_errors=True)


def docker(daemon, *arguments, ok=True):
    done = daemon.docker(*arguments)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return (done.stdout + done.stderr) if not ok else done.stdout


def repo_digests(daemon, name):
    return daemon.json("GET", f"/images/{name}/json")["RepoDigests"]


def test_push_of_a_pulled_image_keeps_its_digest(daemon, lab):
    target = f"{REGISTRY}/pushed/busybox:2"
    docker(daemon, "tag", IMAGE, target)
    shown = docker(daemon, "push", target)
    assert f"The push refers to repository [{REGISTRY}/pushed/busybox]" in shown
    assert "Mounted from busybox" in shown or "Layer already exists" in shown
    (pulled,) = [d for d in repo_digests(daemon, IMAGE) if d.startswith(f"{REGISTRY}/busybox@")]
    digest = pulled.partition("@")[2]
    assert f"2: digest: {digest} size: " in shown
    assert f"{REGISTRY}/pushed/busybox@{digest}" in repo_digests(daemon, target)
    there = lab.run("skopeo", "inspect", "--tls-verify=false", f"docker://{target}")
    assert json.loads(there.stdout)["Digest"] == digest
    assert "Layer already exists" in docker(daemon, "push", target)
    docker(daemon, "rmi", target)
    docker(daemon, "pull", target)
    docker(daemon, "rmi", target)


def test_push_of_what_is_not_there_in_dockers_words(daemon):
    shown = docker(daemon, "push", f"{REGISTRY}/never/heard:1", ok=False)
    assert f"An image does not exist locally with the tag: {REGISTRY}/never/heard" in shown
    docker(daemon, "tag", IMAGE, f"{REGISTRY}/once/heard:1")
    assert f"tag does not exist: {REGISTRY}/once/heard:2" in docker(
        daemon, "push", f"{REGISTRY}/once/heard:2", ok=False
    )
    docker(daemon, "rmi", f"{REGISTRY}/once/heard:1")


def test_layers_are_sent_and_the_refusal_is_told(daemon, lab):
    with registry_in(lab, contents=Contents(separate=True)) as registry:
        target = f"{registry.address}/new/busybox:1"
        docker(daemon, "tag", IMAGE, target)
        registry.inject(Fault("cut", "/blobs/uploads/", method="PUT", after=100_000, times=1))
        assert "Pushed" in docker(daemon, "push", target)
        assert ("new/busybox", "1") in registry.manifests
        body = json.dumps(
            {"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}
        )
        registry.inject(Fault("status", "/manifests/", method="PUT", status=403, body=body))
        assert "denied: requested access to the resource is denied" in docker(
            daemon, "push", target, ok=False
        )
        docker(daemon, "rmi", target)


def test_daemon_that_is_told_to_end_does_not_wait_for_a_push(own_daemon, lab):
    with registry_in(lab, contents=Contents(separate=True)) as registry:
        target = f"{registry.address}/stuck/busybox:1"
        docker(own_daemon, "tag", IMAGE, target)
        registry.inject(Fault("choke", "/blobs/uploads/", method="PUT", after=1000))
        push = subprocess.Popen(
            own_daemon.docker_command("push", target), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not registry.asked("/blobs/uploads/", "PUT"):
                time.sleep(0.05)
            began = time.monotonic()
            own_daemon.stop()
            assert time.monotonic() - began < 8
        finally:
            push.kill()
            push.wait()


def test_push_publishes_an_event(daemon):
    target = f"{REGISTRY}/pushed/event:1"
    since = int(time.time())
    docker(daemon, "tag", IMAGE, target)
    docker(daemon, "push", "-q", target)
    period = ("--since", str(since), "--until", str(int(time.time()) + 1))
    shown = docker(daemon, "events", *period, "--filter", "event=push", "--format", "{{json .}}")
    events = [json.loads(line) for line in shown.splitlines()]
    (event,) = [event for event in events if event["Actor"]["ID"] == target]
    assert event["Type"] == "image"
    assert event["Actor"]["Attributes"]["name"] == f"{REGISTRY}/pushed/event"
    docker(daemon, "rmi", target)


def test_login_and_search(daemon, lab):
    tokens = Tokens(basic=True, username="user", password="secret")
    with registry_in(lab, tokens=tokens) as registry:
        registry.add_image("team/found", "1", [b"layer"])
        body = {"username": "user", "password": "secret", "serveraddress": registry.address}
        assert daemon.json("POST", "/auth", body)["Status"] == "Login Succeeded"
        status, data = daemon.request("POST", "/auth", {**body, "password": "wrong"})
        assert status == 401
        assert b"unauthorized: " in data


def test_names_without_a_host_lead_to_the_default_registry(elsewhere, other):
    shown = docker(elsewhere, "pull", "team/app:1")
    assert "Downloaded newer image for team/app:1" in shown
    assert docker(elsewhere, "images", "--format", "{{.Repository}}:{{.Tag}}") == "team/app:1\n"
    manifest = hashlib.sha256(other.manifests["team/app", "1"][0]).hexdigest()
    assert repo_digests(elsewhere, "team/app:1") == [f"team/app@sha256:{manifest}"]
    docker(elsewhere, "tag", "team/app:1", "team/copy:5")
    docker(elsewhere, "push", "team/copy:5")
    assert ("team/copy", "5") in other.manifests
    docker(elsewhere, "pull", f"{other.address}/team/copy:5")
    docker(elsewhere, "rmi", "team/copy:5")


def test_docker_hub_has_its_full_name_where_it_is_not_the_default(elsewhere):
    docker(elsewhere, "pull", "-q", "team/app:1")
    docker(elsewhere, "tag", "team/app:1", "registry-1.docker.io/library/hub:1")
    # The docker CLI shortens what it shows by itself.
    names = [name for image in elsewhere.json("GET", "/images/json") for name in image["RepoTags"]]
    assert sorted(names) == ["docker.io/library/hub:1", "team/app:1"]
    docker(elsewhere, "rmi", "registry-1.docker.io/library/hub:1")


@pytest.mark.row("S24")
def test_account_of_docker_hub_is_not_sent_to_the_default_registry(elsewhere, other, tmp_path):
    """A client takes a name without a host for one of Docker Hub's, and sends the account it has there."""
    auth = base64.b64encode(b"me:secret").decode()
    accounts = {"https://index.docker.io/v1/": {"auth": auth}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": accounts}))
    other.tokens = Tokens(basic=True, username="me", password="secret")
    other.seen.clear()
    try:
        shown = docker(elsewhere, "--config", str(tmp_path), "pull", "team/app:2", ok=False)
        assert "no basic auth credentials" in shown
        assert other.seen
        assert all("authorization" not in seen.headers for seen in other.seen)
        accounts[other.address] = {"auth": auth}
        (tmp_path / "config.json").write_text(json.dumps({"auths": accounts}))
        docker(elsewhere, "--config", str(tmp_path), "pull", f"{other.address}/team/app:2")
    finally:
        other.tokens = None


def test_all_tags_of_a_repository(elsewhere):
    docker(elsewhere, "pull", "--all-tags", "team/app")
    tags = docker(elsewhere, "images", "--format", "{{.Tag}}", "team/app").split()
    assert sorted(tags) == ["1", "2"]
    docker(elsewhere, "push", "--all-tags", "team/app")
    found = elsewhere.json("GET", "/images/search?term=app")
    assert "team/app" in found[0]["name"]


def test_manifest_is_described_without_a_pull(elsewhere, other):
    found = elsewhere.json("GET", "/distribution/team/app:2/json")
    assert found["Descriptor"]["size"] == len(other.manifests["team/app", "2"][0])
    assert found["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
