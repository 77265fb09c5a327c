"""docs/reference/runtime-fields.md: what `native_fields` and `native_refusals` say, as a page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from native_fields import REPOSITORY, keys, shown, verdict_of
from native_refusals import ON_V1_ONLY, ON_V2_ONLY, REFUSED, refused_word

DOCUMENT = REPOSITORY / "docs/reference/runtime-fields.md"
INTEGRATION = "tests/integration"
RESCTRL = "tests/unit/runtime_native/test_native_resctrl.py"
IDMAP = f"{INTEGRATION}/test_native_idmap.py"
NOTIFY = f"{INTEGRATION}/test_native_seccomp_run.py"
PROCESS = f"{INTEGRATION}/test_native_process.py"
PARTS = "tests/unit/runtime_native/test_native_process_parts.py"
RDMA = "tests/unit/runtime_native/test_native_cgroup_settings.py"
# Key -> test of another file that shows it.
ELSEWHERE: dict[str, str] = {
    "process.execCPUAffinity.initial": f"{PROCESS}::test_initial_affinity_holds_before_the_cgroup_is_entered",
    "process.execCPUAffinity.final": f"{PROCESS}::test_exec_runs_where_the_container_says",
    "linux.memoryPolicy.nodes": f"{PROCESS}::test_memory_policy_in_init_and_exec",
    "linux.netDevices.*.name": f"{INTEGRATION}/test_native_netdev.py"
    "::test_interface_moves_with_name_and_addresses_and_is_up",
    "linux.seccomp.listenerPath": f"{NOTIFY}::test_agent_gets_the_listener_and_answers",
    "linux.seccomp.listenerMetadata": f"{NOTIFY}::test_agent_gets_the_listener_and_answers",
    "linux.seccomp.syscalls[].action=SCMP_ACT_NOTIFY": f"{NOTIFY}::test_agent_gets_the_listener_and_answers",
    "linux.seccomp.defaultAction=SCMP_ACT_NOTIFY": f"{NOTIFY}::test_every_call_may_be_notified",
    "linux.seccomp.flags[]=SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": f"{NOTIFY}"
    "::test_flags_are_taken_by_the_kernel[WAIT_KILLABLE_RECV]",
    "mounts[].options[]=idmap": f"{IDMAP}::test_owners_in_a_user_namespace",
    "mounts[].options[]=ridmap": f"{IDMAP}::test_owners_in_a_user_namespace",
    **{
        f"mounts[].{kind}Mappings[].{field}": f"{IDMAP}::test_owners_without_a_user_namespace"
        for kind in ("uid", "gid")
        for field in ("containerID", "hostID", "size")
    },
    "linux.intelRdt.closID": f"{RESCTRL}::test_class_that_is_there_is_joined_and_stays",
    "linux.intelRdt.schemata[]": f"{RESCTRL}::test_without_a_class_the_container_gets_one_of_its_own",
    "linux.intelRdt.l3CacheSchema": f"{RESCTRL}::test_without_a_class_the_container_gets_one_of_its_own",
    "linux.intelRdt.memBwSchema": f"{RESCTRL}::test_without_a_class_the_container_gets_one_of_its_own",
    "linux.intelRdt.enableMonitoring": f"{RESCTRL}::test_without_schemata_none_is_written",
    "linux.resources.rdma.*.hcaHandles": f"{RDMA}::test_network_and_devices_of_v1",
    "linux.resources.rdma.*.hcaObjects": f"{RDMA}::test_rdma_is_the_same_on_v2",
    "process.apparmorProfile": "tests/vm/test_vm_machine.py::test_apparmor_profile_confines_run_and_exec",
    "process.selinuxLabel": f"{PARTS}::test_label_goes_to_its_attribute_of_the_kernels_procfs",
    "linux.mountLabel": "tests/unit/runtime_native/test_native_mount_options.py"
    "::test_mount_label_is_for_new_file_systems_without_one",
    "linux.resources.memory.checkBeforeUpdate": f"{INTEGRATION}/test_native_update.py"
    "::test_check_before_update",
}
# Tests that run in the virtual machine with cgroup v2 alone (make vm), and are skipped on other hosts.
IN_VM = {ELSEWHERE[key] for key in ("process.apparmorProfile", "linux.resources.memory.checkBeforeUpdate")}
# Prefix of keys (each with a dot behind it) -> what a host must have for them; a configuration is refused by name where it is missing.
NEEDS = {
    "process.apparmorProfile": "AppArmor; tested in the virtual machine",
    "process.selinuxLabel": "SELinux; tested with a file in place of the attribute",
    "linux.mountLabel": "SELinux; tested on the planned options",
    "linux.intelRdt": "a CPU with RDT and /sys/fs/resctrl; tested with a directory in its place",
    "linux.resources.rdma": "the rdma controller; tested on the planned writes",
    "linux.resources.hugepageLimits": "the hugetlb controller",
    "linux.resources.network.classID": "the net_cls controller",
    "linux.resources.network.priorities": "the net_prio controller",
    "linux.resources.blockIO.weight.": "weights of block devices in the kernel (BFQ, io.cost)",
    "linux.resources.blockIO.weightDevice": "weights of block devices in the kernel (BFQ, io.cost)",
    "linux.resources.blockIO.leafWeight": "blkio.leaf_weight, of kernels before 5.0",
    "linux.resources.cpu.realtime": "a kernel with real-time groups",
    "linux.resources.memory.kernel.": "a kernel that heeds it (before 5.16)",
    "linux.resources.memory.checkBeforeUpdate": "cgroup v2 to mean anything; tested in the virtual machine",
    "linux.memoryPolicy": "a kernel with NUMA",
}
HEAD = """\
# Fields of `config.json`

What the native runtime does with each field of the OCI configuration for Linux, and with each word a field may hold.
*Honoured*: the test named shows the effect; where a host lacks what it needs, the error names the field. *Refused*: a
configuration that sets it gets this error before anything is changed. *The kernel's error*: it is passed to the kernel, which
has no such thing (yet), and what that says is an error that names the field. Unknown fields are ignored, as the
specification demands. A value of a wrong type, or a number out of range, is an error that names the field.

This page is written by `tests/integration/test_native_fields.py` (with `UPDATE_DOCS=1`); do not edit it.

"""


def nodes_of(key: str) -> list[str]:
    """The tests that show what `key` does; a field whose words are all shown is shown by these."""
    found = [*shown().get(key, ()), *([ELSEWHERE[key]] if key in ELSEWHERE else [])]
    words = [each for each in keys() if each.startswith(f"{key}=")]
    if found or not words or not all(word in shown() or word in ELSEWHERE for word in words):
        return found
    return sorted({node.partition("[")[0] for word in words for node in nodes_of(word)})


def render(rootfs: Path) -> str:
    """The page."""
    rows = [(key, *_verdict(key, rootfs)) for key in keys()]
    verdicts = Counter(verdict for _, verdict, _ in rows)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    lines = [HEAD, f"{len(rows)} rows: {counts}.\n"]
    chapter = ""
    for key, verdict, proof in rows:
        top = _chapter(key)
        if top != chapter:
            lines.append(f"\n## {top}\n\n| field | verdict | shown by, or the error |\n|---|---|---|\n")
            chapter = top
        lines.append(f"| `{key.replace('=', '` = `')}` | {verdict} | {proof} |\n")
    return "".join(lines)


def _chapter(key: str) -> str:
    parts = key.partition("=")[0].replace("[]", "").split(".")
    if parts[0] == "linux" and len(parts) > 1:
        return ".".join(parts[: 3 if parts[1] == "resources" and len(parts) > 3 else 2])
    return parts[0]


def _verdict(key: str, rootfs: Path) -> tuple[str, str]:
    if key in REFUSED:
        return "refused", escape(refused_word(key, rootfs))
    proof = ", ".join(f"`{node.removeprefix(INTEGRATION + '/')}`" for node in nodes_of(key))
    proof += "".join(f"; needs {what}" for start, what in NEEDS.items() if f"{key}.".startswith(start))
    for version, keys_, other in (("v2", ON_V1_ONLY, "v1"), ("v1", ON_V2_ONLY, "v2")):
        if key in keys_:
            return (
                f"{verdict_of(key)} on {other}",
                f"{proof}; on {version}: {escape(refused_word(key, rootfs, version))}",
            )
    return verdict_of(key), proof


def escape(text: str) -> str:
    """For a cell of a table."""
    return text.replace("|", "\\|")
