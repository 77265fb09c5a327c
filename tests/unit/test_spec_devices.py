"""Devices in the OCI config: Docker's rules, and vendors' descriptions (CDI)."""

import json

import pytest

from barque.oci.cdi import Devices
from barque.oci.devices import check_rule, given_devices
from barque.oci.limits import resource_limits
from barque.oci.requests import grant_requests
from barque.spi.container import ContainerConfig, DeviceMapping, DeviceRate, DeviceRequest, Resources
from barque.spi.errors import Internal, InvalidArgument


def config(**fields):
    return ContainerConfig("x", **fields)


def spec():
    return {
        "process": {"env": ["PATH=/bin", "A=old"], "user": {"uid": 0, "gid": 0}},
        "mounts": [],
        "linux": {"resources": {"devices": []}},
    }


@pytest.fixture
def describe(tmp_path):
    """describe(file, document): write a CDI file; a version and a kind unless given."""

    def describe(name, **document):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "v.com/c", **document}))
        return str(path.parent)

    return describe


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("c 10:* rwm", {"allow": True, "type": "c", "major": 10, "access": "rwm"}),
        ("a *:* r", {"allow": True, "type": "a", "access": "r"}),
        ("b 8:0 mw", {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "mw"}),
    ],
)
def test_device_rules(text, rule):
    assert check_rule(text) == rule


@pytest.mark.parametrize(
    "text", ["", "c 1:3", "c 1:3 x", "d 1:3 r", "c -1:3 r", "c 1:3 rwmr", "c 1:3 rwm\n", "c ١:3 r"]
)
def test_what_is_no_device_rule(text):
    with pytest.raises(InvalidArgument, match="invalid device cgroup rule format"):
        check_rule(text)


def test_a_device_has_a_node_and_a_rule():
    nodes, rules = given_devices(config(devices=(DeviceMapping("/dev/null", "/dev/mine", "r"),)))
    assert [(n["path"], n["type"], n["major"], n["minor"]) for n in nodes] == [("/dev/mine", "c", 1, 3)]
    assert rules == [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}]


def test_privileged_keeps_the_hosts_names_and_adds_others():
    mappings = (DeviceMapping("/dev/null", "/dev/null"), DeviceMapping("/dev/null", "/dev/other"))
    nodes, rules = given_devices(config(privileged=True, devices=mappings))
    paths = [node["path"] for node in nodes]
    assert paths.count("/dev/null") == 1
    assert paths.count("/dev/other") == 1
    assert rules == []


def test_block_devices_are_told_by_their_numbers():
    limits = Resources(blkio_weight=20, blkio_read_bps=(DeviceRate("/dev/null", 9),), memory_swappiness=0)
    found = resource_limits(limits)
    assert found["blockIO"] == {"weight": 20, "throttleReadBpsDevice": [{"major": 1, "minor": 3, "rate": 9}]}
    assert found["memory"] == {"swappiness": 0}
    with pytest.raises(InvalidArgument, match="stat /dev/nope: no such file or directory"):
        resource_limits(Resources(blkio_write_iops=(DeviceRate("/dev/nope", 1),)))


def test_edits_of_devices_and_their_file_each_once(describe):
    directory = describe(
        "a/v.json",
        devices=[
            {"name": "1", "containerEdits": {"env": ["A=new"], "deviceNodes": [{"path": "/dev/null"}]}},
            {
                "name": "2",
                "containerEdits": {
                    "deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/zero", "fileMode": 384}]
                },
            },
        ],
        containerEdits={"mounts": [{"hostPath": "/h", "containerPath": "/c", "options": ["ro"]}]},
    )
    document = spec()
    Devices([directory]).inject(document, ["v.com/c=1", "v.com/c=2", "v.com/c=1"])
    assert document["process"]["env"] == ["PATH=/bin", "A=new"]
    assert [(d["path"], d["minor"]) for d in document["linux"]["devices"]] == [
        ("/dev/null", 3),
        ("/dev/x", 5),
    ]
    assert document["linux"]["devices"][1]["fileMode"] == 0o600
    assert len(document["linux"]["resources"]["devices"]) == 2
    assert document["mounts"] == [
        {"destination": "/c", "source": "/h", "type": "bind", "options": ["rbind", "ro"]}
    ]


def test_later_directories_count_more_and_twice_is_nobodys(describe):
    first = describe("a/v.json", devices=[{"name": "1", "containerEdits": {"env": ["B=first"]}}])
    second = describe("b/v.json", devices=[{"name": "1", "containerEdits": {"env": ["B=second"]}}])
    document = spec()
    Devices([first, second]).inject(document, ["v.com/c=1"])
    assert "B=second" in document["process"]["env"]
    describe("b/w.json", devices=[{"name": "1"}])
    assert Devices([second]).names == ()


@pytest.mark.parametrize(
    "document",
    [
        {"cdiVersion": "9.0.0", "devices": [{"name": "1"}]},
        {"devices": [{}]},
        {"devices": 3},
        {"devices": [{"name": "1", "containerEdits": {"fly": 1}}]},
        {"devices": [{"name": "1", "containerEdits": {"hooks": [{"hookName": "never", "path": "/x"}]}}]},
    ],
)
def test_a_file_that_is_none_costs_its_own_devices_only(describe, document, tmp_path):
    describe("a/bad.json", **document)
    (tmp_path / "a" / "worse.json").write_text("{")
    directory = describe("a/good.json", kind="w.com/c", devices=[{"name": "1"}])
    assert Devices([directory]).names == ("w.com/c=1",)


def test_gpus_come_by_cdi(describe):
    directory = describe(
        "a/n.json", kind="nvidia.com/gpu",
        devices=[{"name": name, "containerEdits": {"env": [f"G{name}=1"]}} for name in ("0", "1", "all")],
    )  # fmt: skip

    def granted(**request):
        document = spec()
        grant_requests(document, [DeviceRequest(capabilities=(("gpu",),), **request)], [directory])
        return document["process"]["env"][2:]

    assert granted(count=-1) == ["Gall=1"]
    assert granted(count=2) == ["G0=1", "G1=1"]
    assert granted(ids=("1",), driver="nvidia") == ["G1=1"]
    with pytest.raises(Internal, match=r"unresolvable CDI devices nvidia\.com/gpu=2"):
        granted(count=3)
    with pytest.raises(Internal) as caught:
        grant_requests(spec(), [DeviceRequest("amd", -1, (), (("gpu", "x"), ("y",)))], [directory])
    assert str(caught.value) == 'could not select device driver "amd" with capabilities: [[gpu x] [y]]'
