"""The flags that say what a container shall be: those of `run` and `create`."""

from __future__ import annotations

from barque.cli.flags import flag, number, repeated, text
from barque.cli.resource_flags import RESOURCE_OPTIONS, RESTART
from barque.cli.units import duration_ns, memory

__all__ = ["CONTAINER_OPTIONS"]


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
    repeated(
        "annotation", "Add an annotation to the container (passed through to the OCI runtime)", metavar="map"
    ),
    text("cidfile", "Write the container ID to the file"),
    text("platform", "Set platform if server is multi-platform capable"),
    text(
        "pull",
        "Pull image before running ('always', 'missing', 'never')",
        default="missing",
    ),
    flag("quiet", "Suppress the pull output", short="q"),
    flag("disable-content-trust", "Skip image verification", default=True),
    flag("rm", "Automatically remove the container and its associated anonymous volumes when it exits"),
    RESTART,
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
    repeated("device-cgroup-rule", "Add a rule to the cgroup allowed devices list"),
    repeated("gpus", "GPU devices to add to the container ('all' to pass all GPUs)", metavar="gpu-request"),
    repeated("volumes-from", "Mount volumes from the specified container(s)"),
    text("volume-driver", "Optional volume driver for the container"),
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
    text("ip6", "IPv6 address (e.g., 2001:db8::33)"),
    repeated("link", "Add link to another container"),
    repeated("link-local-ip", "Container IPv4/IPv6 link-local addresses"),
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
_HEALTH = (
    text("health-cmd", "Command to run to check health"),
    number(
        "health-interval", "Time between running the check (ms|s|m|h)", metavar="duration", check=duration_ns
    ),
    number("health-retries", "Consecutive failures needed to report unhealthy"),
    number(
        "health-start-interval",
        "Time between running the check during the start period (ms|s|m|h)",
        metavar="duration",
        check=duration_ns,
    ),
    number(
        "health-start-period",
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)",
        metavar="duration",
        check=duration_ns,
    ),
    number(
        "health-timeout",
        "Maximum time to allow one check to run (ms|s|m|h)",
        metavar="duration",
        check=duration_ns,
    ),
    flag("no-healthcheck", "Disable any container-specified HEALTHCHECK"),
)
_KERNEL = (
    flag("oom-kill-disable", "Disable OOM Killer"),
    number("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)"),
    repeated("ulimit", "Ulimit options", metavar="ulimit"),
    text("cgroup-parent", "Optional parent cgroup for the container"),
    text("isolation", "Container isolation technology"),
)

CONTAINER_OPTIONS = (
    *_PROCESS,
    *_IDENTITY,
    *_HEALTH,
    *_STORAGE,
    *_NETWORK,
    *_SECURITY,
    *RESOURCE_OPTIONS,
    *_KERNEL,
)
