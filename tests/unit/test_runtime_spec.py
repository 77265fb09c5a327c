"""The OCI config the engine makes: Docker's default profile in values (row S17 at the source)."""

import pytest

from barque.oci import capabilities as caps
from barque.oci.merging import merge_image
from barque.oci.process import exec_process
from barque.oci.seccomp import resolve_profile
from barque.oci.spec import NETNS, SpecInputs, runtime_spec
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import BindMount, ContainerConfig, ExecConfig, Resources

ALL = frozenset(caps.ALL)


def inputs(**changes):
    values = {
        "id": "c1", "rootfs": "/r", "args": ("true",), "hostname": "h", "cgroups_path": "/barque/c1", "network": "sandbox",
        "pid_namespace": None, "ipc_namespace": None, "files": (("/s/hosts", "/etc/hosts"),), "bounding": ALL, "cgroup_v2": False,
    }  # fmt: skip
    return SpecInputs(**{**values, **changes})


def spec(config=None, **changes):
    return runtime_spec(config or ContainerConfig("x"), inputs(**changes))


@pytest.mark.row("S12")
def test_default_capabilities_are_dockers_and_nothing_is_inheritable():
    sets = spec()["process"]["capabilities"]
    mask = sum(1 << caps.ALL.index(name) for name in sets["effective"])
    assert mask == 0xA80425FB
    assert sets["bounding"] == sets["permitted"] == sets["effective"]
    assert "inheritable" not in sets
    assert "ambient" not in sets


def test_namespaces_are_dockers():
    kinds = {n["type"]: n.get("path") for n in spec()["linux"]["namespaces"]}
    assert kinds == {"mount": None, "network": NETNS, "uts": None, "pid": None, "ipc": None}
    assert {n["type"] for n in spec(cgroup_v2=True)["linux"]["namespaces"]} >= {"cgroup"}
    assert "network" not in {n["type"] for n in spec(network="host")["linux"]["namespaces"]}


def test_masked_and_readonly_paths_are_dockers():
    linux = spec()["linux"]
    assert {
        "/proc/kcore",
        "/proc/keys",
        "/proc/interrupts",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    } <= set(linux["maskedPaths"])
    assert linux["readonlyPaths"] == [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]


def test_mounts_are_dockers():
    by_target = {m["destination"]: m for m in spec()["mounts"]}
    assert by_target["/proc"]["options"] == ["nosuid", "noexec", "nodev"]
    assert "ro" in by_target["/sys"]["options"]
    assert "ro" in by_target["/sys/fs/cgroup"]["options"]
    assert f"size={64 << 20}" in by_target["/dev/shm"]["options"]
    assert by_target["/etc/hosts"]["source"] == "/s/hosts"


def test_privileged_lifts_masks_seccomp_and_read_only_mounts():
    document = spec(ContainerConfig("x", privileged=True))
    assert document["linux"]["maskedPaths"] == document["linux"]["readonlyPaths"] == []
    assert "seccomp" not in document["linux"]
    assert document["process"]["capabilities"]["effective"] == list(caps.ALL)
    assert {d["path"] for d in document["linux"]["devices"]} >= {"/dev/null"}


def test_seccomp_refuses_namespaces_unless_sys_admin_is_added():
    def allows(capabilities, call):
        rules = resolve_profile("default", capabilities)["syscalls"]
        return any(
            call in r["names"] and r["action"] == "SCMP_ACT_ALLOW" and not r.get("args") for r in rules
        )

    assert not allows(caps.DEFAULT, "unshare")
    assert allows((*caps.DEFAULT, "CAP_SYS_ADMIN"), "unshare")
    assert resolve_profile("unconfined", caps.DEFAULT) is None
    with pytest.raises(InvalidArgument, match="seccomp"):
        resolve_profile("{", ())


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (("ALL",), ("NET_RAW",), set(caps.ALL) - {"CAP_NET_RAW"}),
        (("net_admin",), ("ALL",), {"CAP_NET_ADMIN"}),
        ((), ("CAP_CHOWN",), set(caps.DEFAULT) - {"CAP_CHOWN"}),
    ],
)
def test_cap_add_and_drop(add, drop, expected):
    assert set(caps.resolve(add, drop, ALL)) == expected


def test_unknown_capability_is_named():
    with pytest.raises(InvalidArgument, match='unknown capability: "CAP_FLY"'):
        caps.resolve(("fly",), (), ALL)


def test_memory_swap_doubles_memory_and_cpus_become_a_quota():
    resources = spec(ContainerConfig("x", resources=Resources(memory=1 << 28, nano_cpus=1_500_000_000)))[
        "linux"
    ]["resources"]
    assert resources["memory"] == {"limit": 1 << 28, "swap": 1 << 29}
    assert resources["cpu"] == {"quota": 150_000, "period": 100_000}


def test_binds_are_sorted_by_depth_and_replace_the_engines_own():
    config = ContainerConfig(
        "x", binds=(BindMount("/a", "/x/y"), BindMount("/b", "/x"), BindMount("/h", "/etc/hosts", True))
    )
    mounts = spec(config)["mounts"]
    targets = [m["destination"] for m in mounts]
    assert targets.index("/x") < targets.index("/x/y")
    assert targets.count("/etc/hosts") == 1
    assert "rro" in next(m for m in mounts if m["destination"] == "/etc/hosts")["options"]


def test_environment_later_values_win():
    env = spec(ContainerConfig("x", env=("A=1", "PATH=/x", "A=2")))["process"]["env"]
    assert env == ["PATH=/x", "HOSTNAME=h", "A=2"]


def test_exec_has_the_containers_confinement():
    config = ContainerConfig("x", cap_drop=("ALL",), no_new_privileges=True, env=("A=1",))
    process = exec_process(config, ExecConfig(("sh",), env=("B=2",)), ALL, "h")
    assert process["capabilities"]["effective"] == []
    assert process["noNewPrivileges"] is True
    assert {"A=1", "B=2"} <= set(process["env"])


@pytest.mark.parametrize(
    ("command", "entrypoint", "expected"),
    [
        (None, None, (("c",), ("e",))),
        (("x",), None, (("x",), ("e",))),
        (None, ("f",), (None, ("f",))),
        (("x",), ("f",), (("x",), ("f",))),
    ],
)
def test_command_and_entrypoint_merge_as_in_docker(command, entrypoint, expected):
    merged = merge_image(
        ContainerConfig("x", command=command, entrypoint=entrypoint), {"Cmd": ["c"], "Entrypoint": ["e"]}
    )
    assert (merged["command"], merged["entrypoint"]) == expected
