"""The same words to one daemon by docker's command line and by ours: the same output, error text and exit code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from our_cli import OURS
from registry_image import IMAGE

pytestmark = pytest.mark.root

# What differs from one run to the next, and is no difference between the programs.
VOLATILE = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "ID64"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID12"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z| \+0000 UTC|\+00:00)?"), "TIME"),
    (re.compile(r"(Less than a second|About a minute|\d+ (second|minute)s?)( ago)?"), "AGO"),
    (re.compile(r"\b(docker|Docker)\b"), "PROGRAM"),
    (re.compile(r"\b(barque|Barque)\b"), "PROGRAM"),
    (re.compile(r"\n*(Hint: .*\n?|exit status \d+\n?)"), "\n"),
    (re.compile(r"\d+\.\d+%"), "PERCENT"),
    (re.compile(r"[\d.]+(B|kB|MB|KiB|MiB|GiB) / [\d.]+(B|kB|MB|KiB|MiB|GiB)"), "AMOUNTS"),
    (re.compile(r"(172\.\d+|10\.89)\.\d+\.\d+|fd[0-9a-f:]+::[0-9a-f]*"), "ADDRESS"),
    (re.compile(r"127\.0\.0\.1 \d+"), "PORT"),
    (re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}"), "MAC"),
    (re.compile(r" +"), " "),
    (re.compile(r"\b\d{3,7}( \d{3,7} \d+ \d\d:\d\d)?(?= |$)"), "PID"),
)

# Each session is told once by each program; {n} is a name of the program's own.
SESSIONS = {
    "network": """
        network create {n}
        network create {n}
        network create --subnet 10.{o}.0.0/24 --gateway 10.{o}.0.1 --label a=b --internal {n}2
        network ls --filter name={n}
        network ls --filter name={n} --format json
        network ls --filter name={n}2 --format "{{{{.Name}}}} {{{{.Driver}}}} {{{{.Scope}}}} {{{{.IPv6}}}} {{{{.Internal}}}} {{{{.Labels}}}}"
        network ls -q --no-trunc -f label=a=b -f name={n}
        network ls --filter nonsense=x
        network inspect {n}2
        network inspect -f "{{{{json .IPAM.Config}}}} {{{{.Driver}}}} {{{{.Options}}}}" {n}2 {n}
        network inspect {n} nothing
        inspect --type network {n}
        run -d --name {n}c --network {n} --network-alias web IMAGE sleep 1000
        network connect --alias other --ip 10.{o}.0.9 {n}2 {n}c
        network connect {n}2 {n}c
        inspect -f "{{{{range $k, $v := .NetworkSettings.Networks}}}}{{{{$v.Aliases}}}} {{{{end}}}}" {n}c
        ps --filter network={n}2 --format "{{{{.Names}}}} {{{{.Networks}}}}"
        network rm {n}2
        network disconnect {n}2 {n}c
        network disconnect {n}2 {n}c
        network rm {n}2
        rm -f {n}c
        network rm {n} nothing
        network rm -f nothing
        network create --subnet nonsense {n}
        network create -d nonsense {n}
        network create --subnet 10.{o}.0.0/24 --gateway 10.99.0.1 {n}
        network rm bridge
    """,
    "volume": """
        volume create {n}
        volume create {n}
        volume create --label a=b {n}2
        volume create -d nonsense {n}3
        volume create -o nonsense=x {n}3
        volume ls --filter name={n}
        volume ls -q --filter name={n} --filter label=a
        volume ls --filter name={n}2 --format json
        volume ls --filter nonsense=x
        volume inspect {n}
        volume inspect -f "{{{{.Name}}}} {{{{.Driver}}}} {{{{.Scope}}}} {{{{.Labels}}}} {{{{.Options}}}}" {n}2
        volume inspect nothing {n}2
        run --rm -v {n}:/data IMAGE touch /data/file
        run --rm --mount type=volume,src={n},dst=/data,ro IMAGE ls /data
        run --rm --mount type=volume,src={n},dst=/data,ro IMAGE touch /data/x
        create --name {n}c -v {n}:/data IMAGE true
        volume rm {n}
        ps -a --filter volume={n} --format "{{{{.Names}}}} {{{{.Mounts}}}} {{{{.LocalVolumes}}}}"
        inspect -f "{{{{.Mounts}}}}" {n}c
        rm {n}c
        volume rm {n} {n}2 nothing
        volume rm -f nothing
        volume update nothing
    """,
    "container": """
        run -d --name {n} --label who={n} -p 127.0.0.1::80 --health-cmd true --restart no IMAGE sleep 1000
        ps --filter label=who={n} --format "{{{{.Names}}}}|{{{{.Image}}}}|{{{{.Command}}}}|{{{{.State}}}}|{{{{.Networks}}}}|{{{{.Labels}}}}"
        ps -q --no-trunc --filter name={n}
        ps --filter nonsense=1
        top {n}
        top {n} -o pid,comm
        port {n} 81
        update --memory 64m --memory-swap 128m {n}
        update --restart always {n}
        inspect -f "{{{{.HostConfig.Memory}}}} {{{{.HostConfig.RestartPolicy}}}}" {n}
        inspect -f "{{{{.HostConfig.LogConfig}}}} {{{{.NetworkSettings.Ports}}}} {{{{.HostConfig.PortBindings}}}}" {n}
        update --restart no {n}
        update {n}
        rename {n} {n}b
        rename {n} other
        rename {n}b {n}
        pause {n}
        ps --filter name={n} --format "{{{{.State}}}}"
        pause {n}
        exec {n} true
        unpause {n}
        unpause {n}
        stats --no-stream {n}
        stats --no-stream nothing
        exec {n} sh -c "echo out; echo err >&2; exit 7"
        exec {n} nonsense
        logs {n}
        restart -t 0 {n}
        kill {n}
        wait {n} nothing
        kill {n}
        start {n}
        stop -t 0 {n}
        attach {n}
        rm nothing
        start {n}
        rm {n}
        rm -f {n}
        inspect {n}
        container inspect {n}
        run --name {n} --rm IMAGE sh -c "exit 3"
        run --rm IMAGE nonsense
        run --rm IMAGE /etc
        run --rm nothing-like-it/nowhere:1
        run --rm --network nothing IMAGE true
        run --rm --restart always IMAGE true
        create --name "bad name" IMAGE
    """,
    "system": """
        version --format "{{{{.Server.APIVersion}}}} {{{{.Server.Os}}}}"
        info --format "{{{{.ServerVersion}}}} {{{{.OSType}}}} {{{{json .Plugins.Volume}}}}"
        system df --format "{{{{.Type}}}}"
        events --since 1 --until 2
        events --filter nonsense=x --until 1
        image ls --format "{{{{.Repository}}}}:{{{{.Tag}}}}" IMAGE
        image inspect -f "{{{{.Os}}}} {{{{.Architecture}}}}" IMAGE
        history --format "{{{{.CreatedBy}}}}" IMAGE
        inspect nothing
        network prune -f --filter label=nothing-has-it
        volume prune -f --filter label=nothing-has-it
        container prune -f --filter label=nothing-has-it
        image prune -f --filter label=nothing-has-it
    """,
}


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_by_each_program_is_the_same(daemon, session):
    lines = [line.strip() for line in SESSIONS[session].strip().splitlines()]
    with ThreadPoolExecutor(2) as both:
        by_docker = both.submit(lambda: [tell(daemon, ["docker"], line, "par-d", 81) for line in lines])
        ours = [tell(daemon, [*OURS], line, "par-b", 82) for line in lines]
        theirs = by_docker.result()
    different = [
        f"{line}\n  docker: {a}\n  barque: {b}"
        for line, a, b in zip(lines, theirs, ours, strict=True)
        if a != b
    ]
    assert not different, "\n".join(different)


def tell(daemon, program, line, name, octet):
    """(exit code, standard output, standard error) without what may differ."""
    words = [IMAGE if word == "IMAGE" else word for word in shlex.split(line.format(n=name, o=octet))]
    environment = {
        **os.environ,
        "DOCKER_HOST": daemon.host,
        "BARQUE_HOST": daemon.host,
        "PYTHONWARNINGS": "error",
    }
    done = subprocess.run(
        [*program, *words], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    return done.returncode, plain(done.stdout, name, octet), plain(done.stderr, name, octet)


def plain(text, name, octet):
    text = text.replace(name, "NAME").replace(f"10.{octet}.", "10.O.")
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return text.strip()


if __name__ == "__main__":  # against a daemon that runs: python test_cli_parity.py unix:///…

    class Running:
        host = sys.argv[1]

    for chosen in sys.argv[2:] or SESSIONS:
        for line in SESSIONS[chosen].strip().splitlines():
            a, b = (
                tell(Running, ["docker"], line.strip(), "par-d", 81),
                tell(Running, [*OURS], line.strip(), "par-b", 82),
            )
            print(
                ("SAME  " if a == b else "DIFFER")
                + f" {line.strip()}"
                + ("" if a == b else f"\n   docker {a}\n   barque {b}")
            )
