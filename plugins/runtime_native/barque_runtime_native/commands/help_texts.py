"""The words of `barque-runtime --help`."""

from __future__ import annotations

from typing import NamedTuple

OVERVIEW = """\
   It makes containers of OCI bundles: a directory with a config.json and a root file system. It has the commands,
   options, output and exit codes of runc, and stands wherever runc can: under podman, dockerd, containerd, or alone.

       # mkdir -p box/rootfs && tar -C box/rootfs -xf rootfs.tar && cd box
       # barque-runtime spec
       # barque-runtime run mine
"""

GLOBAL_TEXTS = {
    "debug": "also tell each step that is planned and done",
    "log": "file to append messages to, besides standard error",
    "log-format": "'text' (default) or 'json': one object a line, with level, msg and time",
    "root": "directory of the containers' state (default /run/barque-runtime; for users $XDG_RUNTIME_DIR/barque-runtime)",
    "criu": "program for checkpoint and restore (default criu)",
    "systemd-cgroup": "have systemd make the cgroup: cgroupsPath is then SLICE:PREFIX:NAME",
    "rootless": "do without a cgroup where there is no permission for one: true, false or auto (default)",
    "version": "print the version and that of the specification",
}

CONSOLE = "Unix socket that is sent the master side of the terminal"
OPTION_TEXTS = {
    "bundle": "directory of the bundle (default: the working directory)",
    "console-socket": CONSOLE,
    "pid-file": "file to write the process id to",
    "pidfd-socket": "Unix socket that is sent a pidfd of the process",
    "no-pivot": "do not use pivot_root: for a root file system on a ramdisk",
    "no-new-keyring": "keep the caller's session keyring",
    "preserve-fds": "hand this many more descriptors on, from 3 up",
    "detach": "do not wait for the process",
    "no-subreaper": "do not become the reaper of orphans while waiting",
    "image-path": "directory of the image files (default ./checkpoint)",
    "work-path": "directory of CRIU's work files and logs (default: that of the image; a temporary one for restore)",
    "tcp-established": "keep established TCP connections",
    "ext-unix-sk": "allow Unix sockets whose other end is outside",
    "shell-job": "allow a terminal that was opened outside",
    "lazy-pages": "not supported",
    "file-locks": "keep locks of files",
    "manage-cgroups-mode": "'soft' (default), 'full', 'strict' or 'ignore': see criu(8)",
    "empty-ns": "'network': restore the namespace, without its content",
    "auto-dedup": "drop memory pages from parent images when newer ones are written",
}


class Text(NamedTuple):
    """One command's: `summary` on a line, `arguments` after the options, and texts of options of its own."""

    summary: str
    arguments: str = "<container-id>"
    description: str = ""
    examples: tuple[str, ...] = ()
    options: dict[str, str] = {}  # noqa: RUF012 - never changed


_RESOURCES = {
    "resources": "file with OCI linux.resources to set, or - for standard input; other options are then ignored",
    "blkio-weight": "block input/output weight, 10 to 1000",
    "cpu-period": "CPU period in microseconds",
    "cpu-quota": "CPU time per period in microseconds; -1 for no limit",
    "cpu-burst": "unused CPU time that may be saved up, in microseconds",
    "cpu-rt-period": "period of realtime scheduling in microseconds",
    "cpu-rt-runtime": "realtime CPU time per period in microseconds",
    "cpu-share": "relative weight of CPU time",
    "cpuset-cpus": "CPUs to use, as 0-3,5",
    "cpuset-mems": "memory nodes to use, as 0,1",
    "kernel-memory": "taken and without effect: kernels have no such limit any more",
    "kernel-memory-tcp": "memory of TCP buffers in bytes (cgroup v1)",
    "memory": "memory in bytes",
    "memory-reservation": "memory in bytes that is left alone under pressure",
    "memory-swap": "memory and swap together in bytes; -1 for no limit",
    "pids-limit": "number of processes; -1 for no limit",
    "l3-cache-schema": "Intel RDT L3 cache schema",
    "mem-bw-schema": "Intel RDT memory bandwidth schema",
    "cpu-idle": "1: run only when nothing else wants the CPU",
}
_EXEC = {
    "cwd": "working directory in the container",
    "env": "variable to set, as NAME=VALUE; again for more",
    "tty": "give the program a terminal",
    "user": "user and group, as UID[:GID]",
    "additional-gids": "further group; again for more",
    "process": "file with an OCI process object to run",
    "process-label": "SELinux label of the process",
    "apparmor": "AppArmor profile of the process",
    "no-new-privs": "set no_new_privs: the program can gain nothing by set-user-id files",
    "cap": "capability to add to the sets of the process; again for more",
    "cgroup": "existing cgroup below the container's to run in, as [CONTROLLER:]PATH; again for more",
    "ignore-paused": "also in a paused container, where the program then waits",
}
_LIST = {"format": "'table' (default) or 'json'", "quiet": "only ids"}
_ONE_ID = "The id is a name of your choice: letters, digits and _+-. and unique below --root."

COMMAND_TEXTS = {
    "create": Text(
        "make a container",
        description=f"The program of config.json waits until `start`.\n{_ONE_ID}",
        examples=("barque-runtime create --bundle /srv/web web", "barque-runtime start web"),
    ),
    "run": Text(
        "make a container and start it",
        description=f"Without --detach it waits for the program, ends with its exit status and deletes the container.\n{_ONE_ID}",
        examples=("barque-runtime run --bundle /srv/web web", "barque-runtime run --detach --pid-file pid web"),
        options={"keep": "do not delete the container at its end"},
    ),
    "start": Text("execute the program of a created container", examples=("barque-runtime start web",)),
    "state": Text("print the state of a container as JSON", examples=("barque-runtime state web",)),
    "kill": Text(
        "send a signal to a container's init",
        "<container-id> [signal]",
        "A signal is a name, with or without SIG, or a number. Without one it is TERM.",
        ("barque-runtime kill web", "barque-runtime kill --all web KILL"),
        {"all": "send it to every process of the container"},
    ),
    "delete": Text(
        "free what a stopped container holds",
        examples=("barque-runtime delete web", "barque-runtime delete --force web"),
        options={"force": "kill it first if it runs, and succeed if there is none"},
    ),
    "exec": Text(
        "run a further program in a container",
        "<container-id> <command> [arguments...]",
        "Without --detach it waits for the program and ends with its exit status; 255 when exec itself fails.\n"
        "With --process no command is given.",
        ("barque-runtime exec web ps", "barque-runtime exec -t -u 1000:1000 --cwd /tmp web sh"),
        _EXEC,
    ),
    "ps": Text(
        "print the processes of a container",
        "<container-id> [ps options]",
        "The lines of ps(1), with -ef unless other options are given, that are about this container.",
        ("barque-runtime ps web", "barque-runtime ps web -o pid,rss,args", "barque-runtime ps --format json web"),
        _LIST,
    ),
    "pause": Text("stop all processes of a container until `resume`", examples=("barque-runtime pause web",)),
    "resume": Text("let a paused container go on", examples=("barque-runtime resume web",)),
    "update": Text(
        "change the limits of a container",
        examples=("barque-runtime update --memory 268435456 --pids-limit 100 web",
                  """echo '{"cpu": {"quota": 50000}}' | barque-runtime update -r - web"""),
        options=_RESOURCES,
    ),
    "events": Text(
        "print what a container uses, and when it runs out of memory, as JSON",
        examples=("barque-runtime events --stats web", "barque-runtime events --interval 10s web"),
        options={"interval": "time between two prints, as 500ms, 5s or 1m (default 5s)", "stats": "print once and end"},
    ),
    "list": Text(
        "print the containers below --root",
        "",
        examples=("barque-runtime list", "barque-runtime --root /run/other list -q"),
        options=_LIST,
    ),
    "spec": Text(
        "write an example config.json",
        "",
        "It runs `sh` in the directory `rootfs` of the bundle.",
        ("barque-runtime spec", "barque-runtime spec --rootless --bundle box"),
        {"rootless": "for an ordinary user: with a user namespace, and the host's network"},
    ),
    "features": Text("print what the runtime can do as JSON", "", "See runtime-spec, Features Structure."),
    "checkpoint": Text(
        "write the state of a container's processes to files",
        description="The container ends, unless --leave-running. It needs CRIU.",
        examples=("barque-runtime checkpoint --image-path /srv/image web", "barque-runtime delete web"),
        options={
            "parent-path": "directory of an earlier --pre-dump, as a path relative to --image-path",
            "leave-running": "let the container go on",
            "status-fd": "not supported",
            "page-server": "not supported",
            "pre-dump": "write memory only, and let the container go on",
        },
    ),
    "restore": Text(
        "make a container again from what `checkpoint` has written",
        examples=("barque-runtime restore --detach --bundle /srv/web --image-path /srv/image web",),
        options=dict.fromkeys(("console-socket", "lsm-profile", "lsm-mount-context"), "not supported"),
    ),
}  # fmt: skip
