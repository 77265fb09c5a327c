"""Configs of committed images, beside what dockerd 20.10 made of the same containers."""

from barque.oci.committed import image_config, merged, run_config
from barque.spi.frontend import ContainerConfig

IMAGE = {"Cmd": ["/bin/sh"], "Volumes": {"/v": {}}, "OnBuild": ["RUN x"], "Healthcheck": {"Test": ["NONE"]}}
CONTAINER = ContainerConfig(
    "base:1", command=("hello",), entrypoint=("/bin/echo",), env=("B=2", "PATH=/bin", "A=1"), user="0",
    working_dir="/data", labels={"k": "v", "l": "1"}, exposed_ports=("80/tcp", "81/tcp"), stop_signal="SIGINT",
)  # fmt: skip


def test_run_config_is_the_containers():
    assert run_config(CONTAINER, IMAGE) == {
        "User": "0",
        "ExposedPorts": {"80/tcp": {}, "81/tcp": {}},
        "Env": ["B=2", "PATH=/bin", "A=1"],
        "Cmd": ["hello"],
        "Entrypoint": ["/bin/echo"],
        "WorkingDir": "/data",
        "Labels": {"k": "v", "l": "1"},
        "StopSignal": "SIGINT",
        "Volumes": {"/v": {}},
        "Healthcheck": {"Test": ["NONE"]},
    }
    assert run_config(ContainerConfig("x"), {}) == {}


def test_what_is_chosen_overrules_and_the_rest_stays():
    own = run_config(CONTAINER, IMAGE)
    chosen = {
        "Env": ["C=3", "A=9"],
        "Labels": {"k": "new"},
        "ExposedPorts": {"90/tcp": {}},
        "User": "",
        "Cmd": ["x"],
    }
    found = merged(chosen, own)
    assert found["Env"] == ["C=3", "A=9", "B=2", "PATH=/bin"]
    assert found["Labels"] == {"k": "new", "l": "1"}
    assert sorted(found["ExposedPorts"]) == ["80/tcp", "81/tcp", "90/tcp"]
    assert (found["User"], found["Cmd"], found["Entrypoint"]) == ("0", ["x"], ["/bin/echo"])
    assert merged(own, own) == own


def test_a_chosen_entrypoint_takes_the_command_away():
    own = run_config(CONTAINER, IMAGE)
    assert "Cmd" not in merged({"Entrypoint": ["/init"]}, own)
    assert merged({"Entrypoint": ["/init"], "Cmd": ["a"]}, own)["Cmd"] == ["a"]


def test_the_document_goes_on_from_the_parents():
    parent = {
        "architecture": "arm64", "os": "linux", "variant": "v8", "author": "somebody", "created": "2001",
        "config": IMAGE, "history": [{"created": "2001"}], "container": "x", "rootfs": {"diff_ids": ["sha256:a"]},
    }  # fmt: skip
    step = {"created": "2002", "created_by": "sh", "author": "me"}
    assert image_config(parent, {"Cmd": ["x"]}, ["sha256:a", "sha256:b"], step) == {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "author": "me",
        "created": "2002",
        "config": {"Cmd": ["x"]},
        "history": [{"created": "2001"}, step],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:a", "sha256:b"]},
    }
    assert "author" not in image_config(parent, {}, [], {"created": "2002"})
