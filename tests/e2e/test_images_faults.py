"""Pulls by the docker CLI from a registry that is slow, broken or hostile: what the daemon shows, keeps and gives away."""

import base64
import gzip
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from images_lab import (
    becomes,
    below,
    bytes_stored,
    in_lab,
    memory_grows_less,
    registry_in,
    stored,
    write_profile,
)

from barque.testing.daemon import Daemon
from barque.testing.layers import LayerTar
from barque.testing.registry import CONFIG, INDEX, LAYER, MANIFEST, Fault, Tokens

pytestmark = pytest.mark.root
QUICK = {"idle_timeout": 1.0, "backoff": 0.05}


@pytest.fixture(scope="module")
def daemon(lab, workspace):
    base = Path(tempfile.mkdtemp(dir=workspace))
    profile = write_profile(base / "quick.toml", registry=QUICK, overlay={"max_layer_bytes": 32 << 20})
    daemon = Daemon(base, lab, profile)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def registry(lab):
    with registry_in(lab) as registry:
        yield registry


@pytest.fixture
def other(lab):
    """Somebody else's host."""
    with registry_in(lab) as registry:
        yield registry


@pytest.fixture
def nothing_new(daemon):
    """Whatever the test pulled in vain has left nothing."""
    before, images = stored(daemon) | {"tmp": set(), "trash": set()}, daemon.docker("images", "-aq").stdout
    yield
    assert daemon.docker("images", "-aq").stdout == images
    becomes(before, lambda: stored(daemon))


@pytest.fixture
def clean(daemon):
    """Remove what the test pulled."""
    yield
    for image in set(daemon.docker("images", "-aq").stdout.split()):
        daemon.docker("rmi", "-f", image)
    for name in below(daemon, "content/ingest"):
        (daemon.base / "root/content/ingest" / name).unlink()


def layer(number=0, size=100_000):
    return LayerTar().file(f"file{number}", os.urandom(size)).content()


def pull(daemon, registry, name="app:1", **options):
    return daemon.docker("pull", f"{registry.address}/{name}", **options)


def refused(daemon, registry, pattern, name="app:1"):
    """A pull that must fail, and say why without an `Internal`."""
    result = pull(daemon, registry, name)
    assert result.returncode == 1, result.stdout
    assert re.search(pattern, result.stderr), result.stderr
    assert "defect" not in result.stderr
    return result


# R28: what is wrong never becomes visible


@pytest.mark.row("R28")
@pytest.mark.parametrize(
    ("kind", "text"), [("corrupt", "digest|verification"), ("extra", "bytes announced|bytes")]
)
def test_wrong_bytes_leave_nothing(daemon, registry, nothing_new, kind, text):
    added = registry.add_image("app", "1", [layer()])
    registry.inject(Fault(kind, f"/blobs/{added.layers[0]}"))
    refused(daemon, registry, text)


@pytest.mark.row("R28")
def test_truncated_layer_is_never_visible(daemon, registry, clean):
    added = registry.add_image("app", "1", [layer()])
    before = stored(daemon) | {"tmp": set(), "trash": set()}
    registry.inject(Fault("truncate", f"/blobs/{added.layers[0]}", after=1000))
    refused(daemon, registry, "EOF|unexpected end")
    becomes(before | {"partial": before["partial"] | {added.layers[0][7:]}}, lambda: stored(daemon))
    registry.heal()
    assert pull(daemon, registry).returncode == 0
    assert (
        registry.asked(added.layers[0])[-1].headers["range"] == "bytes=5000-"
    )  # five tries, a thousand bytes each
    assert below(daemon, "content/ingest") == before["partial"]


@pytest.mark.row("R28")
@pytest.mark.parametrize("kind", ["diff id", "not a tar", "not a gzip"])
def test_layer_that_is_not_what_the_config_says(daemon, registry, nothing_new, kind):
    content = {"diff id": layer(), "not a tar": os.urandom(2000), "not a gzip": layer()}[kind]
    blob = registry.add_blob(content)
    wrong = "sha256:" + ("0" * 64 if kind == "diff id" else hashlib.sha256(content).hexdigest())
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [wrong]}}
    )
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": registry.add_blob(config.encode()), "size": len(config)},
        "layers": [{"mediaType": LAYER + ("+gzip" if kind == "not a gzip" else ""), "digest": blob, "size": len(content)}],
    }  # fmt: skip
    registry.add_manifest("app", "1", document)
    refused(daemon, registry, "diff id|tar|gzip|not in gzip format|compress")


# R29: going on where it stopped (test_images_killed.py has the kills)


@pytest.mark.row("R29")
def test_registry_that_knows_no_ranges_sends_all_again(daemon, registry, clean):
    added = registry.add_image("app", "1", [layer()])
    registry.inject(Fault("truncate", f"/blobs/{added.layers[0]}", after=1000))
    assert pull(daemon, registry).returncode == 1
    registry.heal()
    registry.inject(Fault("whole", "/blobs/"))
    result = pull(daemon, registry)
    assert result.returncode == 0, result.stderr
    assert "range" in registry.asked(added.layers[0])[-1].headers


@pytest.mark.row("R11")
def test_sigterm_in_a_pull_ends_the_daemon(lab, workspace, registry):
    added = registry.add_image("app", "1", [layer(), layer(1)])
    registry.inject(Fault("stall", f"/blobs/{added.layers[0]}", after=50_000))
    base = Path(tempfile.mkdtemp(dir=workspace))
    daemon = Daemon(base, lab, write_profile(base / "p.toml", registry={"idle_timeout": 60.0}))
    try:
        daemon.start()
        client = subprocess.Popen(
            daemon.docker_command("pull", "-q", f"{registry.address}/app:1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        becomes({added.layers[0][7:]}, lambda: below(daemon, "content/ingest"))
        becomes({added.layers[1][7:]}, lambda: below(daemon, "storage/overlay/layers"))
        began = time.monotonic()
        daemon.process.terminate()
        assert daemon.process.wait(15) == 0
        assert time.monotonic() - began <= 10
        client.communicate(timeout=5)
        assert client.returncode != 0
        children = subprocess.run(
            ["pgrep", "-f", str(base)], capture_output=True, text=True, check=False
        ).stdout
        assert children == ""
        registry.heal()
        daemon.start()
        assert pull(daemon, registry).returncode == 0
    finally:
        daemon.close()


# R30, R31: trouble and silence


@pytest.mark.row("R30")
def test_trouble_is_tried_again_within_limits(daemon, registry, clean):
    added = registry.add_image("app", "1", [layer()])
    registry.inject(Fault("status", "/manifests/", status=429, headers={"Retry-After": "1"}, times=1))
    registry.inject(Fault("status", "/manifests/", status=503, times=2))
    registry.inject(Fault("reset", f"/blobs/{added.layers[0]}", times=3, after=1000))
    began = time.monotonic()
    result = pull(daemon, registry)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - began >= 1


@pytest.mark.row("R30")
@pytest.mark.parametrize(("status", "tries"), [(429, 5), (500, 5), (401, 1), (403, 1), (404, 1)])
def test_at_most_five_tries_and_none_where_it_is_in_vain(daemon, registry, nothing_new, status, tries):
    registry.add_image("app", "1", [layer()])
    registry.inject(Fault("status", "/manifests/", status=status))
    refused(daemon, registry, r"\S")
    assert len(registry.asked("/manifests/")) == tries


@pytest.mark.row("R31")
@pytest.mark.parametrize("kind", ["stall", "drip"])
def test_silence_is_given_up_and_tried_again(daemon, registry, clean, kind):
    added = registry.add_image("app", "1", [layer()])
    registry.inject(Fault(kind, f"/blobs/{added.layers[0]}", times=1, after=1000, pause=0.2))
    began = time.monotonic()
    result = pull(daemon, registry)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - began < 15


@pytest.mark.row("R31")
def test_leaving_client_ends_the_pull_within_a_second(lab, daemon, registry, clean):
    added = registry.add_image("app", "1", [layer()])
    registry.inject(Fault("drip", f"/blobs/{added.layers[0]}", after=1000, pause=0.0005))
    client = _pulling(daemon, registry)
    becomes(True, lambda: added.layers[0][7:] in below(daemon, "content/ingest"))
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=5)
    began = time.monotonic()
    becomes(
        b"", lambda: lab.run("ss", "-Htn", "state", "established", "dport", f"= :{registry.port}").stdout, 5
    )
    assert time.monotonic() - began < 2  # a second, and the look
    assert below(daemon, "storage/overlay/layers") == set()


def _pulling(daemon, registry):
    return subprocess.Popen(
        daemon.docker_command("pull", "-q", f"{registry.address}/app:1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# R32, R33


@pytest.mark.row("R32")
def test_expired_token_is_refreshed_once(lab, daemon, clean):
    with registry_in(lab, tokens=Tokens()) as registry:
        added = registry.add_image("app", "1", [layer(number) for number in range(3)])
        registry.inject(Fault("stall", f"/blobs/{added.layers[2]}", times=1, after=1000))
        client = _pulling(daemon, registry)
        becomes(True, lambda: added.layers[2][7:] in below(daemon, "content/ingest"))
        registry.expire_tokens()
        _, errors = client.communicate(timeout=10)
        assert client.returncode == 0, errors
        assert len(registry.asked("/token")) == 2


@pytest.mark.row("R33")
def test_equal_pulls_share_and_do_not_disturb_each_other(daemon, registry, clean):
    added = registry.add_image("app", "1", [layer(0, 6_000_000), layer(1), layer(2)])
    registry.inject(Fault("drip", f"/blobs/{added.layers[0]}", times=1, after=5_000_000, pause=0.0001))
    leaving = _pulling(daemon, registry)
    others = {digest[7:] for digest in added.layers[1:]}
    becomes(
        True, lambda: others <= below(daemon, "content/blobs/sha256") and bytes_stored(daemon) > 4_000_000
    )
    staying = [_pulling(daemon, registry) for _ in range(3)]
    becomes(4, lambda: len(registry.asked("/manifests/")))
    leaving.send_signal(signal.SIGINT)
    leaving.communicate(timeout=10)
    errors = [client.communicate(timeout=20)[1] for client in staying]
    assert [client.returncode for client in staying] == [0, 0, 0], errors
    assert [len(registry.asked(digest)) for digest in added.layers[1:]] == [1, 1]
    first, second = (seen.headers.get("range") for seen in registry.asked(added.layers[0]))
    assert first is None
    assert int(second.strip("bytes=-")) >= 4_000_000  # another goes on where the one that left had come to


# S22: bombs


@pytest.mark.row("S22")
def test_layer_that_unpacks_to_too_much(daemon, registry, nothing_new):
    tar = LayerTar().file("zeros", bytes(64 << 20)).content()
    blob = gzip.compress(tar, 6)
    registry.add_image("app", "1", [])
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }).encode()  # fmt: skip
    entry = {"mediaType": LAYER + "+gzip", "digest": registry.add_blob(blob), "size": len(blob)}
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [entry],
        "config": {"mediaType": CONFIG, "digest": registry.add_blob(config), "size": len(config)},
    }  # fmt: skip
    registry.add_manifest("app", "1", document)
    with memory_grows_less(daemon, 100 << 20):
        refused(daemon, registry, "more than|larger than|too large")


@pytest.mark.row("S22")
@pytest.mark.parametrize("kind", ["100 MB", "deep"])
@pytest.mark.parametrize("place", ["manifest", "config", "error"])
def test_documents_that_would_cost_memory(daemon, registry, nothing_new, kind, place):
    data = b'{"x":"' + b"x" * (100 << 20) + b'"}' if kind == "100 MB" else b"[" * 1_000_000
    if place == "manifest":
        registry.add_manifest("app", "1", data)
    elif place == "config":
        config = {"mediaType": CONFIG, "digest": registry.add_blob(data), "size": len(data)}
        registry.add_image("app", "1", [layer()], config=config)
    else:
        registry.inject(Fault("status", "/manifests/", status=404, body=data.decode()))
    with memory_grows_less(daemon, 100 << 20):
        refused(daemon, registry, r"\S")
    assert len(daemon.docker("pull", f"{registry.address}/app:1").stderr) < 5000


# S23: what is not what it says


def _manifest(registry, **changes):
    added = registry.add_image("app", "", [layer()])
    return {**json.loads(registry.manifests["app", added.manifest][0]), **changes}


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../tmp/evil",
        "md5:" + "0" * 32,
        "sha256:" + "A" * 64,
        "sha256:",
        "",
        "sha512:" + "0" * 128,
        5,
    ],
)
@pytest.mark.parametrize("place", ["config", "layer", "index"])
def test_odd_digest_is_refused(daemon, registry, nothing_new, digest, place):
    document, media_type = _manifest(registry), MANIFEST
    if place == "config":
        document["config"]["digest"] = digest
    elif place == "layer":
        document["layers"][0]["digest"] = digest
    else:
        entry = {
            "mediaType": MANIFEST,
            "digest": digest,
            "size": 5,
            "platform": {"os": "linux", "architecture": "amd64"},
        }
        document, media_type = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX
    registry.add_manifest("app", "1", document, media_type)
    refused(daemon, registry, "digest|malformed")


@pytest.mark.row("S23")
@pytest.mark.parametrize("kind", ["both", "media type", "announced"])
def test_ambiguous_manifest_is_refused(daemon, registry, nothing_new, kind):
    if kind == "both":
        registry.add_manifest("app", "1", _manifest(registry, manifests=[]))
    elif kind == "media type":
        registry.add_manifest("app", "1", _manifest(registry), INDEX)
    else:
        registry.add_manifest("app", "1", _manifest(registry))
        wrong = {"Docker-Content-Digest": "sha256:" + "0" * 64}
        registry.inject(Fault("headers", "/manifests/", headers=wrong))
    refused(daemon, registry, r"manifest|does not match|media")


# S24: credentials stay with their registry


@pytest.fixture
def logged_in(daemon, tmp_path):
    """The docker CLI with credentials for a registry, as `docker login` keeps them."""

    def run(registry, *arguments):
        auth = base64.b64encode(b"user:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
        command = ["docker", "--config", str(tmp_path), *daemon.docker_command(*arguments)[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def secrets_seen(registry):
    return [seen for seen in registry.seen if "authorization" in seen.headers or b"secret" in seen.body]


@pytest.mark.row("S24")
@pytest.mark.parametrize("basic", [False, True])
@pytest.mark.parametrize("part", ["/blobs/", "/manifests/"])
def test_redirect_takes_no_credentials_along(lab, daemon, other, logged_in, clean, basic, part):
    with registry_in(lab, tokens=Tokens(username="user", password="secret", basic=basic)) as registry:
        added = registry.add_image("app", "1", [layer()])
        pointer = added.layers[0] if part == "/blobs/" else "1"
        other.blobs.update(registry.blobs)
        other.manifests.update(registry.manifests)
        target = f"{other.url}/v2/app{part}{pointer}"
        registry.inject(Fault("status", part + pointer, status=307, headers={"Location": target}))
        result = logged_in(registry, "pull", f"{registry.address}/app:1")
        assert secrets_seen(registry)
        assert secrets_seen(other) == []
        if part == "/blobs/":
            assert result.returncode == 0, result.stderr
            assert other.asked(added.layers[0])


@pytest.mark.row("S24")
def test_hostile_realm_gets_no_credentials_in_plain(lab, daemon, logged_in, nothing_new):
    """The realm is another host, without TLS, that the user never named."""
    lab.run("ip", "address", "add", "192.0.2.66/32", "dev", "lo")
    heard = []
    server = in_lab(lab, lambda: socket.create_server(("192.0.2.66", 0)))
    threading.Thread(target=_listen, args=(server, heard), daemon=True).start()
    realm = f"http://192.0.2.66:{server.getsockname()[1]}/token"
    with server, registry_in(lab, tokens=Tokens(username="user", password="secret", realm=realm)) as registry:
        registry.add_image("app", "1", [layer()])
        assert logged_in(registry, "pull", f"{registry.address}/app:1").returncode == 1
        server.shutdown(socket.SHUT_RDWR)
    assert not any(b"uthorization" in data or b"GET" in data or b"POST" in data for data in heard)


def _listen(server, heard):
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1)
            heard.append(connection.recv(4096))


@pytest.mark.row("S24")
def test_foreign_layer_is_not_fetched(daemon, registry, other, nothing_new):
    document = _manifest(registry)
    document["layers"][0]["urls"] = [f"{other.url}/v2/x/blobs/{document['layers'][0]['digest']}"]
    registry.add_manifest("app", "1", document)
    refused(daemon, registry, "foreign")
    assert other.seen == []


# S25: TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    return {"certificate": str(directory / "cert.pem"), "key": str(directory / "key.pem")}


@pytest.mark.row("S25")
def test_certificate_nobody_vouches_for_is_refused(lab, daemon, certificate, logged_in, nothing_new):
    with registry_in(lab, **certificate) as registry:
        registry.add_image("app", "1", [layer()])
        result = logged_in(registry, "pull", f"{registry.address}/app:1")
        assert result.returncode == 1
        assert re.search("tls: .*certificate|self.signed", result.stderr), result.stderr
        assert registry.seen == []


@pytest.mark.row("S25")
def test_plain_http_only_on_loopback(lab, daemon, nothing_new):
    lab.run("ip", "address", "add", "192.0.2.65/32", "dev", "lo")
    heard = []
    server = in_lab(lab, lambda: socket.create_server(("192.0.2.65", 0)))
    threading.Thread(target=_listen, args=(server, heard), daemon=True).start()
    with server:
        result = daemon.docker("pull", f"192.0.2.65:{server.getsockname()[1]}/app:1")
        server.shutdown(socket.SHUT_RDWR)
    assert result.returncode == 1
    assert heard
    assert all(data[:1] == b"\x16" for data in heard), heard  # TLS records of a handshake, nothing else


@pytest.mark.row("S24")
@pytest.mark.parametrize("basic", [False, True])
def test_hostile_upload_location_gets_no_credentials(lab, daemon, other, logged_in, clean, basic):
    """The registry sends the layers of a push to somebody else: without the user's credentials, or not at all."""
    with registry_in(lab, tokens=Tokens(username="user", password="secret", basic=basic)) as registry:
        registry.add_image("app", "1", [layer()])
        assert logged_in(registry, "pull", "-q", f"{registry.address}/app:1").returncode == 0
        target = f"{registry.address}/new:1"
        assert daemon.docker("tag", f"{registry.address}/app:1", target).returncode == 0
        assert logged_in(registry, "push", target).returncode == 0
        registry.blobs.clear()
        registry.manifests.clear()
        location = {"Location": f"{other.url}/v2/new/blobs/uploads/5?x=y"}
        registry.inject(Fault("status", "/blobs/uploads/", status=202, headers=location))
        assert logged_in(registry, "push", target).returncode == 1
        assert secrets_seen(registry)
        assert secrets_seen(other) == []
        assert ("new", "1") not in registry.manifests
