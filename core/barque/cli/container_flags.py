"""The flags that say what a container shall be: those of `run` and `create`."""

from __future__ import annotations

from barque.cli.flags import flag, number, repeated, text
from barque.cli.units import cpus, memory, memory_or_unlimited

__all__ = ["CONTAINER_OPTIONS"]


def _pull_policy(value: str) -> str:
    if value not in ("always", "missing", "never"):
        raise ValueError("must be one of always, missing, never")
    return value


_PROCESS = (
    repeated("attach", "Attach to STDIN, STDOUT or STDERR", short="a"),
    repeated("env", "Set environment variables", short="e"),
    repeated("env-file", "Read in a file of environment variables"),
    text("entrypoint", "Overwrite the default ENTRYPOINT of the image"),
    text("hostname", "Container host name", short="h"),
    text("domainname", "Container NIS domain name"),
    flag("init", "Run an init inside the container that forwards signals and reaps processes"),
    flag("interactive", "Keep STDIN open even if not attached", short="i"),
    flag("tty", "Allocate a pseudo-TTY", short="t"),
    text("user", "Username or UID (format: <name|uid>[:<group|gid>])", short="u"),
    repeated("group-add", "Add additional groups to join"),
    text("workdir", "Working directory inside the container", short="w"),
    text("stop-signal", "Signal to stop the container"),
    number("stop-timeout", "Timeout (in seconds) to stop a container"),
)
_IDENTITY = (
    text("name", "Assign a name to the container"),
    repeated("label", "Set meta data on a container", short="l"),
    repeated("label-file", "Read in a line delimited file of labels"),
    text("cidfile", "Write the container ID to the file"),
    text("platform", "Set platform if server is multi-platform capable"),
    text(
        "pull",
        "Pull image before running ('always', 'missing', 'never')",
        default="missing",
        check=_pull_policy,
    ),
    flag("quiet", "Suppress the pull output", short="q"),
    flag("rm", "Automatically remove the container when it exits"),
    text("restart", "Restart policy to apply when a container exits", default="no"),
    text("runtime", "Runtime to use for this container"),
    text("log-driver", "Logging driver for the container"),
    repeated("log-opt", "Log driver options"),
)
_STORAGE = (
    repeated("volume", "Bind mount a volume", short="v"),
    repeated("mount", "Attach a filesystem mount to the container", metavar="mount"),
    repeated("tmpfs", "Mount a tmpfs directory"),
    flag("read-only", "Mount the container's root filesystem as read only"),
    number("shm-size", "Size of /dev/shm", metavar="bytes", check=memory),
    repeated("device", "Add a host device to the container"),
    repeated("storage-opt", "Storage driver options for the container"),
)
_NETWORK = (
    repeated("network", "Connect a container to a network", metavar="network", aliases=("net",)),
    repeated("network-alias", "Add network-scoped alias for the container", aliases=("net-alias",)),
    repeated("publish", "Publish a container's port(s) to the host", short="p"),
    flag("publish-all", "Publish all exposed ports to random ports", short="P"),
    repeated("expose", "Expose a port or a range of ports"),
    repeated("add-host", "Add a custom host-to-IP mapping (host:ip)"),
    repeated("dns", "Set custom DNS servers"),
    repeated("dns-option", "Set DNS options", aliases=("dns-opt",)),
    repeated("dns-search", "Set custom DNS search domains"),
    text("ip", "IPv4 address (e.g., 172.30.100.104)"),
    text("mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
)
_SECURITY = (
    repeated("cap-add", "Add Linux capabilities"),
    repeated("cap-drop", "Drop Linux capabilities"),
    flag("privileged", "Give extended privileges to this container"),
    repeated("security-opt", "Security Options"),
    repeated("sysctl", "Sysctl options", metavar="map"),
    text("ipc", "IPC mode to use"),
    text("pid", "PID namespace to use"),
    text("uts", "UTS namespace to use"),
    text("userns", "User namespace to use"),
    text("cgroupns", "Cgroup namespace to use (host|private)"),
)
_RESOURCES = (
    number("memory", "Memory limit", short="m", metavar="bytes", check=memory),
    number(
        "memory-swap",
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
        metavar="bytes",
        check=memory_or_unlimited,
    ),
    number("memory-reservation", "Memory soft limit", metavar="bytes", check=memory),
    number("cpus", "Number of CPUs", metavar="decimal", check=cpus),
    number("cpu-shares", "CPU shares (relative weight)", short="c"),
    number("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
    number("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    number("blkio-weight", "Block IO (relative weight), between 10 and 1000, or 0 to disable"),
    number("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
    flag("oom-kill-disable", "Disable OOM Killer"),
    number("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)"),
    repeated("ulimit", "Ulimit options", metavar="ulimit"),
    text("cgroup-parent", "Optional parent cgroup for the container"),
)

CONTAINER_OPTIONS = (*_PROCESS, *_IDENTITY, *_STORAGE, *_NETWORK, *_SECURITY, *_RESOURCES)
