"""The create request that flags make: each key of it is the one the real docker client sends for the same flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import FakeDaemon

FLAGS = {
    "command": ["img", "sh", "-c", "echo a  b"],
    "dashes after image": ["img", "ls", "-l", "--rm"],
    "interactive": ["-i", "img"],
    "tty": ["-t", "img"],
    "env": ["-e", "A=1", "-e", "EMPTY=", "-e", "TZ", "-e", "NOT_SET_HERE", "img"],
    "labels": ["-l", "a=b", "--label", "c", "-l", "d=e=f", "img"],
    "user": ["-u", "1000:1000", "-w", "/srv", "-h", "box", "--domainname", "example.com", "img"],
    "entrypoint": ["--entrypoint", "/bin/sh", "img", "-c", "x"],
    "empty entrypoint": ["--entrypoint", "", "img"],
    "stop": ["--stop-signal", "INT", "--stop-timeout", "3", "img"],
    "memory": ["-m", "512m", "--memory-swap", "1g", "--memory-reservation", "100k", "img"],
    "memory unlimited swap": ["-m", "1.5g", "--memory-swap=-1", "img"],
    "cpus": ["--cpus", "1.5", "-c", "512", "--cpuset-cpus", "0-1", "--cpuset-mems", "0", "img"],
    "cpu quota": ["--cpu-period", "100000", "--cpu-quota", "50000", "--blkio-weight", "300", "img"],
    "pids": ["--pids-limit", "100", "--oom-score-adj", "-500", "--oom-kill-disable", "img"],
    "caps": ["--cap-add", "NET_ADMIN", "--cap-add", "SYS_TIME", "--cap-drop", "ALL", "img"],
    "privileged": ["--privileged", "--read-only", "--init", "img"],
    "tmpfs": ["--tmpfs", "/run:rw,size=64m", "--tmpfs", "/tmp", "img"],
    "ulimit": ["--ulimit", "nofile=1024:2048", "--ulimit", "core=0", "img"],
    "sysctl": ["--sysctl", "net.core.somaxconn=1024", "img"],
    "security": ["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined", "img"],
    "systempaths": ["--security-opt", "systempaths=unconfined", "img"],
    "systempaths that the daemon refuses": ["--security-opt", "systempaths:unconfined", "img"],
    "shm": ["--shm-size", "1g", "img"],
    "storage": ["--storage-opt", "size=10G", "img"],
    "log": ["--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=2", "img"],
    "modes": ["--ipc", "host", "--pid", "host", "--uts", "host", "--runtime", "runc", "img"],
    "hosts": ["--add-host", "a:1.2.3.4", "--add-host", "b=::1", "img"],
    "dns": ["--dns", "8.8.8.8", "--dns-search", "example.com", "--dns-option", "ndots:1", "img"],
    "groups": ["--group-add", "10", "--cgroup-parent", "/x", "img"],
    "network none": ["--network", "none", "img"],
    "net host": ["--net=host", "img"],
    "network alias": ["--network", "n1", "--network-alias", "web", "--ip", "10.0.0.9", "img"],
    "network long": ["--network", "name=n1,alias=a,alias=b,ip=10.0.0.3", "img"],
    "networks": ["--network", "n1", "--network", "n2", "img"],
    "mac": ["--network", "n1", "--mac-address", "92:d0:c6:0a:29:33", "img"],
    "ports": ["-p", "80", "-p", "8080:80", "-p", "127.0.0.1:8443:443/tcp", "-p", "53:53/udp", "img"],
    "port ranges": ["-p", "7000-7002:7000-7002", "-p", "[::1]:9000-9001:9000-9001", "-p", "127.0.0.1::22", "img"],
    "one port of a host range": ["-p", "9000-9010:80", "img"],
    "expose": ["--expose", "80", "--expose", "90-92/udp", "-P", "img"],
    "volumes": ["-v", "/a:/b", "-v", "/a:/c:ro", "-v", "named:/d", "-v", "/anonymous", "-v", "./x:/y", "img"],
    "bind mount": ["--mount", "type=bind,source=/a,target=/b,readonly", "img"],
    "bind propagation": ["--mount", "type=bind,src=/a,dst=/b,bind-propagation=rshared", "img"],
    "bind recursive": ["--mount", "type=bind,src=/a,dst=/b,bind-recursive=disabled", "img"],
    "tmpfs mount": ["--mount", "type=tmpfs,destination=/t,tmpfs-size=64m,tmpfs-mode=1770", "img"],
    "volume mount": ["--mount", "source=v,target=/t,volume-nocopy,volume-label=a=b", "img"],
    "restart": ["--restart", "on-failure:3", "img"],
    "restart always": ["--restart", "always", "img"],
    "device": ["--device", "/dev/null:/dev/n:r", "--device", "/dev/zero", "img"],
    "rm": ["--rm", "img"],
    "name and platform": ["--name", "web", "--platform", "linux/arm64", "img"],
    "clustered": ["-itu", "1", "-eA=1", "-e=B=2", "-w=/x", "--rm=true", "--read-only=false", "img"],
    "health": ["--health-cmd", "curl -f x", "--health-interval", "1m30s", "--health-timeout=500ms", "--health-retries", "3",
               "--health-start-period", "5s", "--health-start-interval", "1s", "img"],
    "no health": ["--no-healthcheck", "img"],
    "health without a command": ["--health-interval", "5s", "img"],
    "annotations": ["--annotation", "a=b", "--annotation", "c", "img"],
    "realtime": ["--cpu-rt-period", "1000000", "--cpu-rt-runtime", "950000", "img"],
    "swappiness": ["--memory-swappiness", "0", "--kernel-memory", "50m", "img"],
    "throttles": ["--device-read-bps", "/dev/sda:1mb", "--device-write-bps=/dev/sda:1024", "--device-read-iops",
                  "/dev/sda:100", "--device-write-iops", "/dev/sdb:7", "--blkio-weight-device", "/dev/sda:500", "img"],
    "device rules": ["--device-cgroup-rule", "c 42:* rmw", "--device-cgroup-rule", "a *:* r", "img"],
    "cdi": ["--device", "vendor.com/gpu=0", "--device", "/dev/null", "--device", "vendor.com/gpu=all", "img"],
    "all gpus": ["--gpus", "all", "img"],
    "gpus": ["--gpus", "2", "img"],
    "chosen gpus": ["--gpus", '"device=0,2",capabilities=utility,driver=nvidia,"options=a=b,c=d"', "img"],
    "gpu driver": ["--gpus", "driver=amd", "img"],
    "isolation": ["--isolation", "default", "img"],
    "volumes from": ["--volumes-from", "a", "--volumes-from", "b:ro", "--volume-driver", "local", "img"],
    "links": ["--link", "a", "--link", "b:c", "img"],
    "links of a network": ["--network", "n1", "--link", "b:c", "img"],
    "addresses": ["--network", "n1", "--ip", "10.0.0.9", "--ip6", "fd00::9", "--link-local-ip", "169.254.1.1", "img"],
    "network options": ["--network", "name=n1,ip6=fd00::2,link-local-ip=169.254.3.4,mac-address=02:42:ac:11:00:09,"
                        "driver-opt=a.b=c,driver-opt=d=e,gw-priority=-3", "--network", "name=n2,gw-priority=10", "img"],
    "quoted network": ["--network", 'name=n1,"driver-opt=a=b,c"', "img"],
    "container's network": ["--network", "container:web", "img"],
    "no init": ["--init=false", "img"],
    "image mount": ["--mount", "type=image,source=alpine,target=/i,image-subpath=etc", "img"],
    "volume options": ["--mount", "type=volume,src=v,dst=/t,volume-subpath=a/b,volume-driver=local,volume-opt=type=tmpfs,"
                       "volume-opt=device=x,volume-nocopy=false,ro", "img"],
    "quoted mount": ["--mount", 'type=volume,dst=/t,"volume-opt=o=size=1m,uid=1000",volume-opt=type=tmpfs', "img"],
    "recursive bind": ["--mount", "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate", "img"],
    "writable bind": ["--mount", "type=bind,src=./a,dst=/b,ro,bind-recursive=writable,consistency=cached", "img"],
    "pid of another": ["--pid", "container:web", "--ipc", "container:web", "img"],
    "long port": ["-p", "published=8080,target=80,protocol=udp", "img"],
    "unless stopped": ["--restart", "unless-stopped", "img"],
    "on failure": ["--restart", "on-failure", "img"],
    "ulimits unlimited": ["--ulimit", "memlock=-1:-1", "--ulimit", "rtprio=5", "img"],
    "apparmor": ["--security-opt", "apparmor=docker-default", "--security-opt", "label=disable",
                 "--security-opt", "label:type:x", "--security-opt", "no-new-privileges:true", "img"],
    "old bind option": ["--mount", "type=bind,src=/a,dst=/b,bind-nonrecursive", "img"],
    "namespaces": ["--cgroupns", "private", "--userns", "host", "img"],
}  # fmt: skip


def _subset(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Differences in what we send; what only they send must be a zero value, i.e. what leaving it out means."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [
            f"{where}.{key}: {theirs[key]!r} is missing"
            for key in theirs
            if key not in ours and _says(theirs[key])
        ]
        for key in ours:
            if key not in theirs:
                found += [f"{where}.{key}: {ours[key]!r} is too much"] if _says(ours[key]) else []
            else:
                found += _subset(ours[key], theirs[key], f"{where}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            line
            for i, pair in enumerate(zip(ours, theirs, strict=True))
            for line in _subset(*pair, f"{where}[{i}]")
        ]
    return (
        []
        if ours == theirs or not (_says(ours) or _says(theirs))
        else [f"{where}: {ours!r}, docker: {theirs!r}"]
    )


def _says(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_says(item) for item in value.values())
    return bool(value) and value not in ("no", "default", [0, 0], -1)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_create_sends_what_docker_sends(
    quick: Any, docker: Any, daemon: FakeDaemon, flags: list[str]
) -> None:
    daemon.answer("POST /containers/create", {"Id": "c" * 64, "Warnings": []}, 201)
    ours, theirs = quick("create", *flags), docker("create", *flags)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout) == (0, b"c" * 64 + b"\n"), (
        ours.stderr
    )
    mine, real = daemon.seen("POST /containers/create")
    assert mine.query == real.query
    # The order of variables, limits and binds means nothing.
    for document in (mine.document, real.document):
        document["Env"] = sorted(document.get("Env") or [])
        document["HostConfig"]["Binds"] = sorted(document["HostConfig"].get("Binds") or [])
        document["HostConfig"]["Ulimits"] = sorted(document["HostConfig"].get("Ulimits") or [], key=str)
    differences = _subset(mine.document, real.document)
    assert not differences


@pytest.mark.parametrize(
    "flags", [[], ["-i"], ["-d"], ["-di"], ["-a", "stdout"], ["-i", "-a", "stdin"]], ids=str
)
def test_run_attaches_what_docker_attaches(
    quick: Any, docker: Any, daemon: FakeDaemon, flags: list[str]
) -> None:
    daemon.refuse("POST /containers/create", 400, "enough")
    assert quick("run", *flags, "img").returncode == docker("run", *flags, "img").returncode == 125
    mine, real = daemon.seen("POST /containers/create")
    assert not _subset(mine.document, real.document)


def test_files_of_variables_and_labels(quick: Any, docker: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"\xef\xbb\xbf# comment\n\n  A=1 \nTZ\nNOT_SET_HERE\nB=x=y\n")
    (tmp_path / "labels").write_text("# comment\na=b\nc\n")
    (tmp_path / "seccomp.json").write_text(
        json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "x": [1, 2]}, indent=2)
    )
    daemon.answer("POST /containers/create", {"Id": "c" * 64, "Warnings": []}, 201)
    flags = [
        "--env-file", str(tmp_path / "env"), "-e", "LAST=1", "--label-file", str(tmp_path / "labels"), "-l", "a=z",
        "--security-opt", f"seccomp={tmp_path / 'seccomp.json'}", "img",
    ]  # fmt: skip
    assert quick("create", *flags).returncode == docker("create", *flags).returncode == 0
    mine, real = daemon.seen("POST /containers/create")
    assert not _subset(mine.document, real.document)


REFUSED = {
    "port": ["-p", "a:b", "img"],
    "port range": ["-p", "1-3:1-2", "img"],
    "protocol": ["-p", "80/icmp", "img"],
    "address": ["-p", "1.2.3:80:80", "img"],
    "memory": ["-m", "12x", "img"],
    "cpus": ["--cpus", "much", "img"],
    "env file": ["--env-file", "/nonexistent/env", "img"],
    "mount field": ["--mount", "type=bind,foo=bar", "img"],
    "mount target": ["--mount", "type=bind,src=/x", "img"],
    "ulimit": ["--ulimit", "nofile", "img"],
    "ulimit order": ["--ulimit", "nofile=9:1", "img"],
    "host": ["--add-host", "nothing", "img"],
    "stream": ["-a", "foo", "img"],
    "seccomp file": ["--security-opt", "seccomp=/nonexistent/s", "img"],
    "flag": ["--nonsense", "img"],
    "shorthand": ["-Z", "img"],
    "argument of a flag": ["--name"],
    "boolean": ["--rm=maybe", "img"],
    "health": ["--no-healthcheck", "--health-cmd", "x", "img"],
    "negative health": ["--health-interval", "-1s", "img"],
    "negative retries": ["--health-retries", "-1", "img"],
    "duration": ["--health-timeout", "5", "img"],
    "swappiness": ["--memory-swappiness", "101", "img"],
    "throttle": ["--device-read-bps", "/dev/sda", "img"],
    "throttle path": ["--device-read-bps", "sda:1mb", "img"],
    "throttle rate": ["--device-read-bps", "/dev/sda:x", "img"],
    "throttle operations": ["--device-write-iops", "/dev/sda:1mb", "img"],
    "weight": ["--blkio-weight-device", "/dev/sda:5", "img"],
    "weight number": ["--blkio-weight-device", "/dev/sda:x", "img"],
    "rule": ["--device-cgroup-rule", "x 1:2 r", "img"],
    "gpus": ["--gpus", "x", "img"],
    "gpu key": ["--gpus", "a=b", "img"],
    "gpu twice": ["--gpus", "count=1,count=2", "img"],
    "network twice": ["--network", "a", "--network", "a", "img"],
    "networks mixed": ["--network", "host", "--network", "a", "img"],
    "network field": ["--network", "name=a,colour=b", "img"],
    "network name": ["--network", "alias=b", "img"],
    "network priority": ["--network", "name=a,gw-priority=x", "img"],
    "network option": ["--network", "name=a,driver-opt=x", "img"],
    "alias of default": ["--network-alias", "a", "img"],
    "alias twice": ["--network", "name=a,alias=b", "--network-alias", "c", "img"],
    "address twice": ["--network", "name=a,ip=10.0.0.1", "--ip", "10.0.0.2", "img"],
    "mac": ["--mac-address", "zz", "img"],
    "mac of a network": ["--network", "name=a,mac-address=zz", "img"],
    "pid": ["--pid", "x", "img"],
    "uts": ["--uts", "x", "img"],
    "userns": ["--userns", "x", "img"],
    "cgroupns": ["--cgroupns", "x", "img"],
    "restart and rm": ["--restart", "always", "--rm", "img"],
    "restart count": ["--restart", "on-failure:x", "img"],
    "restart name": ["--restart", ":3", "img"],
    "log options": ["--log-driver", "none", "--log-opt", "a=b", "img"],
    "mount mix": ["--mount", "type=tmpfs,dst=/x,volume-nocopy", "img"],
    "mount mix image": ["--mount", "type=tmpfs,dst=/x,image-subpath=a", "img"],
    "mount pair": ["--mount", "type=bind,foo", "img"],
    "mount readonly": ["--mount", "type=bind,src=/a,dst=/b,ro=maybe", "img"],
    "mount recursion": ["--mount", "type=bind,src=/a,dst=/b,bind-recursive=x", "img"],
    "mount recursion alone": ["--mount", "type=bind,src=/a,dst=/b,bind-recursive=writable", "img"],
    "mount size": ["--mount", "type=tmpfs,dst=/b,tmpfs-size=x", "img"],
    "mount mode": ["--mount", "type=tmpfs,dst=/b,tmpfs-mode=9", "img"],
    "mount empty": ["--mount", "", "img"],
    "storage": ["--storage-opt", "x", "img"],
    "sysctl": ["--sysctl", "x", "img"],
    "volume form": ["-v", ":/b", "img"],
    "link": ["--link", "a:b:c", "img"],
    "device": ["--device", "/dev/a:/dev/b:z", "img"],
    "expose": ["--expose", "x", "img"],
    "add host": ["--add-host", "a:b", "img"],
    "dns": ["--dns", "x", "img"],
    "env": ["-e", "=x", "img"],
    "label": ["-l", "=x", "img"],
    "cidfile": ["--cidfile", "/etc/passwd", "img"],
    "pull": ["--pull", "x", "img"],
    "stop timeout": ["--stop-timeout", "x", "img"],
    "user": ["--shm-size", "x", "img"],
    "domain": ["--hostname", "a", "--pids-limit", "x", "img"],
    "integer": ["--pids-limit", "x", "img"],
}  # fmt: skip


@pytest.mark.parametrize("flags", REFUSED.values(), ids=REFUSED.keys())
def test_wrong_flags_are_refused_in_dockers_words(
    quick: Any, docker: Any, daemon: FakeDaemon, flags: list[str]
) -> None:
    ours, theirs = quick("run", *flags), docker("run", *flags)
    assert ours.returncode == theirs.returncode == 125
    assert ours.stderr.decode() == theirs.stderr.decode().replace("docker", "barque")
    assert not daemon.seen("POST .*")
