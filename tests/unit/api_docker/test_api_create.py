"""Create requests: what Docker clients send to what the engine is asked for."""

import contextlib
import json

import pytest
from api_client import Client
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.common import Platform
from barque.spi.errors import BarqueError, Conflict, Unavailable
from barque.spi.frontend import (
    BindMount,
    ContainerConfig,
    EndpointConfig,
    Healthcheck,
    Resources,
    RestartPolicy,
    Ulimit,
)
from barque.spi.network import PortBinding
from barque_api_docker.fields import Fields
from barque_api_docker.translate.create import container_config

# What docker CLI 28 sends for `docker run bb:1 echo hi`: every default, spelled out.
CLI_BODY = json.loads(
    '{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,'
    '"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["echo","hi"],"Image":"bb:1","Volumes":{},"WorkingDir":"",'
    '"Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"",'
    '"Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},'
    '"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[24,80],"CapAdd":null,"CapDrop":null,'
    '"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"",'
    '"Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,'
    '"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,'
    '"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],'
    '"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,'
    '"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,'
    '"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],'
    '"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},'
    '"NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"",'
    '"DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,'
    '"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}}}}'
)


@pytest.fixture
def config(api, engine):
    """config(body fields) creates a container and gives the ContainerConfig the engine got."""

    def create(host=None, query="", **fields) -> ContainerConfig:
        api.json(
            "POST", f"/containers/create{query}", {"Image": "bb:1", "HostConfig": host or {}, **fields}, 201
        )
        return engine.calls[-1][2]

    return create


@pytest.fixture
def refused(api: Client, engine):
    """refused(status, body fields) gives the message; nothing was created."""

    def create(status, host=None, **fields):
        message = api.message(
            "POST", "/containers/create", {"Image": "bb:1", "HostConfig": host or {}, **fields}, status
        )
        assert not engine.containers
        return message

    return create


def test_all_of_the_clis_defaults_pass_and_ask_for_nothing(api, engine):
    answer = api.json("POST", "/v1.50/containers/create?name=xx", CLI_BODY, 201)
    assert answer == {"Id": next(iter(engine.containers)), "Warnings": ["a warning"]}
    _, name, config = engine.calls[-1]
    assert name == "xx"
    assert config.document == {
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "LogConfig": {"Type": "", "Config": {}},
            "NetworkMode": "default",
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": True,
            "ConsoleSize": [24, 80],
            "MemorySwappiness": -1,
        },
    }
    assert config == ContainerConfig(
        image="bb:1",
        command=("echo", "hi"),
        auto_remove=True,
        console_size=(24, 80),
        document=config.document,
    )


def test_config_fields(config):
    got = config(
        query="?platform=linux/arm64/v8",
        Cmd=["a", "b"],
        Env=["A=1", "B"],
        WorkingDir="/w",
        User="1:2",
        Hostname="h",
        Domainname="d",
        Labels={"k": "v"},
        Tty=True,
        OpenStdin=True,
        StdinOnce=True,
        StopSignal="SIGINT",
        StopTimeout=0,
        ExposedPorts={"80/tcp": {}, "90-91/udp": {}},
        MacAddress="02-42-AC-11-00-09",
    )
    assert (got.command, got.env, got.working_dir, got.user) == (("a", "b"), ("A=1", "B"), "/w", "1:2")
    assert (got.hostname, got.domainname, got.labels) == ("h", "d", {"k": "v"})
    assert (got.tty, got.open_stdin, got.stdin_once) == (True, True, True)
    assert (got.stop_signal, got.stop_timeout) == ("SIGINT", 0)
    assert got.exposed_ports == ("80/tcp", "90/udp", "91/udp")
    assert got.networks[got.network].mac == "02:42:ac:11:00:09"
    assert got.platform == Platform("linux", "arm64")


def test_host_config_fields(config):
    got = config(
        {
            "Binds": ["/a/../b:/c", "/d:/e:ro,rslave,z"],
            "Mounts": [
                {"Type": "bind", "Source": "/s", "Target": "/t", "ReadOnly": True, "BindOptions": {"NonRecursive": True}},
                {"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o1777}},
            ],
            "Tmpfs": {"/run": "rw,size=1m"},
            "PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": ""}],
                "53/udp": [{"HostPort": "5353-5353"}],
                "9/tcp": None,
            },
            "PublishAllPorts": True,
            "NetworkMode": "own",
            "CapAdd": ["NET_ADMIN"],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined", "label=disable"],
            "MaskedPaths": [],
            "ReadonlyPaths": ["/x"],
            "GroupAdd": ["1", "audio"],
            "OomScoreAdj": -500,
            "CgroupParent": "/p",
            "Memory": 64 << 20,
            "MemorySwap": -1,
            "NanoCpus": 1500000000,
            "PidsLimit": 10,
            "BlkioWeight": 300,
            "Ulimits": [{"Name": "NOFILE", "Soft": 10, "Hard": -1}],
            "Sysctls": {"net.ipv4.ip_forward": "1"},
            "ExtraHosts": ["a:1.2.3.4"],
            "Dns": ["1.1.1.1"],
            "DnsSearch": ["x.y"],
            "DnsOptions": ["ndots:1"],
            "PidMode": "host",
            "IpcMode": "shareable",
            "UTSMode": "host",
            "UsernsMode": "host",
            "CgroupnsMode": "host",
            "Init": True,
            "Runtime": "runc",
            "ShmSize": 4096,
            "StorageOpt": {"size": "1.5G"},
            "Privileged": True,
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        },
        NetworkingConfig={"EndpointsConfig": {"own": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}, "MacAddress": "02:00:00:00:00:01"}}},
    )  # fmt: skip
    assert got.binds == (
        BindMount("/b", "/c", create_source=True),
        BindMount("/d", "/e", True, "rslave", create_source=True),
        BindMount("/s", "/t", read_only=True, recursive=False),
    )
    assert got.tmpfs == {"/run": "rw,size=1m", "/m": "mode=1777,size=4096"}
    assert got.ports == (
        PortBinding(80, "tcp", "", 8080),
        PortBinding(80, "tcp", "::1"),
        PortBinding(53, "udp", "", 5353),
    )
    assert got.exposed_ports == ("80/tcp", "53/udp", "9/tcp")
    assert got.network == "own"
    assert got.networks == {"own": EndpointConfig(ipv4="10.0.0.9", mac="02:00:00:00:00:01")}
    assert (got.cap_add, got.cap_drop) == (("NET_ADMIN",), ("ALL",))
    assert (got.no_new_privileges, got.seccomp) == (True, "unconfined")
    assert (got.masked_paths, got.readonly_paths) == ((), ("/x",))
    assert got.resources == Resources(
        memory=64 << 20, memory_swap=-1, nano_cpus=1500000000, pids_limit=10, blkio_weight=300
    )
    assert got.ulimits == (Ulimit("nofile", 10, -1),)
    assert (got.pid_mode, got.ipc_mode, got.uts_mode) == ("host", "shareable", "host")
    assert (got.init, got.runtime, got.shm_size, got.privileged, got.read_only) == (
        True,
        "runc",
        4096,
        True,
        True,
    )
    assert (got.log_driver, got.log_options) == ("json-file", {"max-size": "1m"})
    assert (got.group_add, got.oom_score_adj, got.cgroup_parent) == (("1", "audio"), -500, "/p")
    assert (got.dns, got.dns_search, got.dns_options, got.extra_hosts) == (
        ("1.1.1.1",),
        ("x.y",),
        ("ndots:1",),
        ("a:1.2.3.4",),
    )
    assert got.publish_all
    assert got.storage_size == 3 << 29


@pytest.mark.parametrize("size", ["", "x", "-1", "1Z", "1e3", "9" * 30])
def test_a_size_that_is_none_is_refused(refused, size):
    assert f"invalid size: '{size}'" in refused(400, {"StorageOpt": {"size": size}})


def test_an_unknown_storage_option_is_refused(refused):
    assert "'speed'" in refused(400, {"StorageOpt": {"speed": "1"}})


@pytest.mark.parametrize(
    ("fields", "command", "entrypoint"),
    [
        ({}, None, None),
        ({"Cmd": [], "Entrypoint": None}, None, None),
        ({"Cmd": "sh"}, ("sh",), None),
        ({"Cmd": ["a"], "Entrypoint": ["e"]}, ("a",), ("e",)),
        ({"Entrypoint": "e"}, (), ("e",)),
        ({"Entrypoint": [""]}, (), ()),
        ({"Entrypoint": []}, None, ()),
    ],
)
def test_command_and_entrypoint(config, fields, command, entrypoint):
    got = config(**fields)
    assert (got.command, got.entrypoint) == (command, entrypoint)


def test_what_cannot_be_honoured_is_refused_by_name(refused):
    assert refused(501, OnBuild=["RUN x"]) == 'OnBuild ["RUN x"] is not implemented by barque yet'


def test_restart_policies_and_healthchecks(config):
    assert config({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}).restart == RestartPolicy(
        "on-failure", 3
    )
    assert config({"RestartPolicy": {"Name": "", "MaximumRetryCount": 3}}).restart == RestartPolicy()
    assert config().healthcheck is None
    assert config(Healthcheck={"Test": ["NONE"]}).healthcheck == Healthcheck(("NONE",))
    whole = {
        "Test": ["CMD", "x"], "Interval": 1, "Timeout": 2, "StartPeriod": 3, "StartInterval": 4, "Retries": 5,
    }  # fmt: skip
    assert config(Healthcheck=whole).healthcheck == Healthcheck(("CMD", "x"), 1, 2, 3, 4, 5)


def test_volumes_at_the_targets_of_mounts_pass(config):
    assert config({"Binds": ["/tmp:/t/"]}, Volumes={"/t": {}}).binds == (
        BindMount("/tmp", "/t", create_source=True),
    )


def test_network_disabled_is_network_none(config):
    assert config(NetworkDisabled=True).network == "none"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Image": 3}, "invalid JSON: cannot unmarshal number into field Image of type string"),
        ({"HostConfig": {"Memory": "a"}}, "invalid JSON: cannot unmarshal string into field HostConfig.Memory of type int64"),
        ({"HostConfig": {"Memory": 1 << 63}}, "field HostConfig.Memory of type int64"),
        ({"HostConfig": {"Memory": 1.5}}, "cannot unmarshal number into field HostConfig.Memory"),
        ({"HostConfig": {"Privileged": 1}}, "cannot unmarshal number into field HostConfig.Privileged of type bool"),
        ({"HostConfig": {"OomScoreAdj": True}}, "cannot unmarshal bool into field HostConfig.OomScoreAdj"),
        ({"HostConfig": []}, "cannot unmarshal array into field HostConfig of type object"),
        ({"HostConfig": {"Ulimits": [3]}}, "field HostConfig.Ulimits"),
        ({"HostConfig": {"Ulimits": [{"Name": 3}]}}, "field HostConfig.Ulimits[0].Name of type string"),
        ({"Env": "A=1"}, "cannot unmarshal string into field Env of type []string"),
        ({"Env": [None]}, "cannot unmarshal null into field Env of type string"),
        ({"Labels": {"a": 1}}, "field Labels of type string"),
        ({"Cmd": ["a\0b"]}, "field Cmd holds a character that is not allowed"),
        ({"Cmd": ["\ud800"]}, "field Cmd holds a character that is not allowed"),
        ({"HostConfig": {"Binds": ["a"]}}, "invalid volume specification: 'a'"),
        ({"HostConfig": {"Binds": ["/a:b"]}}, "'b' mount path must be absolute"),
        ({"HostConfig": {"Binds": ["/a:/b:zz"]}}, "invalid mode: zz"),
        ({"HostConfig": {"Binds": ["/a:/b:ro,rw"]}}, "invalid mode: ro,rw"),
        ({"HostConfig": {"Binds": ["/a:/x/.."]}}, "destination can't be '/'"),
        ({"HostConfig": {"Binds": ["/a:/b", "/c:/b/"]}}, "Duplicate mount point: /b"),
        ({"HostConfig": {"Mounts": [{"Type": "warp"}]}}, "mount type unknown"),
        ({"HostConfig": {"PortBindings": {"x/tcp": [{}]}}}, 'invalid port specification: "x/tcp"'),
        ({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}}, 'invalid port specification: "x"'),
        ({"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "x"}]}}}, "invalid IP address: x"),
        ({"ExposedPorts": {"0/tcp": {}}}, "invalid port specification"),
        ({"ExposedPorts": {"70000": {}}}, "invalid port specification"),
        ({"HostConfig": {"SecurityOpt": ["bogus=1"]}}, "invalid --security-opt 2"),
        ({"HostConfig": {"SecurityOpt": ["seccomp={"]}}, "invalid JSON"),
        ({"HostConfig": {"OomScoreAdj": 1001}}, "range for oom score adj is [-1000, 1000]"),
        ({"HostConfig": {"Dns": ["x"]}}, "invalid IP address for DNS server: x"),
        ({"MacAddress": "zz"}, "invalid MAC address: zz"),
        ({"Image": ""}, "no image specified"),
    ],
)  # fmt: skip
def test_nonsense_is_told_with_the_field(api, engine, fields, message):
    assert message in api.message("POST", "/containers/create", {"Image": "bb:1", **fields})
    assert not engine.containers


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "config cannot be empty"),
        (b"{}", "config cannot be empty"),
        (b"null", "config cannot be empty"),
        (b"[]", "must be an object"),
        (b'{"Image":"bb:1"', "invalid JSON"),
        (b'{"Image":"bb:1"} x', "invalid JSON"),
        (b'{"Image":NaN}', "invalid JSON"),
        (b'{"Image":"\xff"}', "invalid JSON"),
        (b"[" * 100000, "invalid JSON"),
        (b'{"x":' + b"9" * 10000 + b"}", "invalid JSON"),
    ],
)
def test_malformed_json(api, body, message):
    code, _, data = api.call("POST", "/containers/create", body, {"Content-Type": "application/json"})
    assert code == 400
    assert message in json.loads(data)["message"]


def test_content_type_must_be_json(api):
    code, _, data = api.call(
        "POST", "/containers/create", b'{"Image":"bb:1"}', {"Content-Type": "text/plain"}
    )
    assert (code, b"unsupported Content-Type header (text/plain)" in data) == (400, True)


@pytest.mark.parametrize("name", ["x", "-a", "a/b", "a%20b", "%C3%A4%C3%A4", "..", "/"])
def test_invalid_names(api, name):
    assert "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed" in api.message(
        "POST", f"/containers/create?name={name}", {"Image": "bb:1"}
    )


def test_errors_of_the_engine_keep_their_status(api, engine):
    assert api.message("POST", "/containers/create", {"Image": "no"}, 404) == "No such image: no"
    engine.fail["container_create"] = Conflict("in use", hint="take another")
    answer = api.json("POST", "/containers/create", {"Image": "bb:1"}, 409)
    assert answer == {"message": "in use", "hint": "take another"}
    engine.fail["container_create"] = Unavailable("no space", hint="make some")
    answer = api.json("POST", "/containers/create", {"Image": "bb:1"}, 503)
    assert answer == {"message": "no space (make some)"}


def test_unknown_fields_are_ignored(config):
    assert config({"Whatever": 1}, Later=[]).image == "bb:1"


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_JSON = st.recursive(
    _LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=5), one, max_size=3)
)
_HOST_NAMES = st.sampled_from([*CLI_BODY["HostConfig"], "Mounts", "Tmpfs", "Sysctls", "Annotations", "Init"])
_MOUNT_NAMES = st.sampled_from(["Type", "Source", "Target", "BindOptions", "TmpfsOptions"])
_MOUNTS = st.lists(
    st.dictionaries(_MOUNT_NAMES, _JSON | st.sampled_from(["bind", "tmpfs", "/a"])), max_size=3
)
_BINDING = st.dictionaries(st.sampled_from(["HostIp", "HostPort"]), _JSON)
_PORTS = st.dictionaries(st.sampled_from(["80", "80/tcp", "1-3/udp", "x"]), _JSON | st.lists(_BINDING))


@pytest.mark.row("R41")
@given(
    config=st.dictionaries(st.sampled_from(sorted(CLI_BODY)), _JSON, max_size=4),
    host=st.dictionaries(_HOST_NAMES, _JSON, max_size=5),
    mounts=_MOUNTS,
    bindings=_PORTS,
)
def test_any_json_is_a_config_or_an_error_of_ours(config, host, mounts, bindings):
    body = {"HostConfig": {"Mounts": mounts, "PortBindings": bindings, **host}, "Image": "bb:1", **config}
    with contextlib.suppress(BarqueError):
        got = container_config(Fields(json.loads(json.dumps(body))), None)
        json.dumps(got.document).encode()
        "".join((*(got.command or ()), *got.env, got.user, *got.labels.values())).encode()


def test_the_size_a_terminal_begins_with(config, api, engine):
    got = config({"ConsoleSize": [24, 80]}, Tty=True)
    assert got.console_size == (24, 80)
    id = next(iter(engine.containers))
    assert api.json("GET", f"/containers/{id}/json")["HostConfig"]["ConsoleSize"] == [24, 80]
    assert config({"ConsoleSize": [0, 0]}).console_size is None
    id = next(iter(engine.containers))
    assert api.json("GET", f"/containers/{id}/json")["HostConfig"]["ConsoleSize"] == [0, 0]


@pytest.mark.parametrize(
    "size", ["24x80", [24], [24, 80, 1], [-1, 80], [24, 70000], [1.5, 2], [True, 2], {"a": 1}]
)
def test_no_size_of_a_terminal(api, size):
    body = {"Image": "bb:1", "HostConfig": {"ConsoleSize": size}}
    assert "ConsoleSize" in api.message("POST", "/containers/create", body, status=400)
