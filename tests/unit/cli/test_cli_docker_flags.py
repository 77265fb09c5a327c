"""Every command and flag of the docker client's that is about what the engine has is one of ours, of the same kind."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from barque.cli import tree
from barque.cli.global_flags import GLOBAL_OPTIONS

# Commands of docker's for what this engine is not: a builder, a swarm, a notary; and docker's own plugins.
NOT_OURS = {
    "build", "builder", "image build", "buildx", "checkpoint", "manifest", "trust", "compose", "config", "node", "secret",
    "service", "stack", "swarm", "plugin",
}  # fmt: skip
# Flags of docker's that ours have not, with the reason.
LACKING = {
    "run --use-api-socket": "it gives a container the daemon and the user's credentials",
    "create --use-api-socket": "the same",
    "pull --disable-content-trust": "there is no notary; `run` and `create` take it, for scripts",
    "push --disable-content-trust": "there is no notary",
    "images --tree": "docker calls it experimental",
    "ls --tree": "the same",
    "rmi --platform": "the engine keeps one platform of an image",
    "rm --platform": "the same",
    "start --checkpoint": "checkpoints are those of barque-runtime",
    "start --checkpoint-dir": "the same",
}
KINDS = {"list": "list", "strings": "list", "map": "list", "mount": "list", "network": "list", "filter": "list", "ulimit": "list",
         "gpu-request": "list", "stringToString": "list"}  # fmt: skip


def docker_help(*words: str) -> str:
    program = shutil.which("docker")
    if program is None:
        pytest.skip("the docker command line is not installed")
    environment = {"HOME": "/nonexistent", "PATH": "/usr/bin"}
    done = subprocess.run(
        [program, *words, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def commands(shown: str) -> list[str]:
    sections = re.findall(r"^(?:\w+ )?Commands:\n((?:  .*\n)+)", shown, re.MULTILINE)
    return [name for section in sections for name in re.findall(r"^  ([a-z]+)\*? ", section, re.MULTILINE)]


def flags(shown: str) -> dict[str, tuple[str, str]]:
    """(short, value's type) by the long name."""
    found = re.findall(
        r"^ +(?:-(\w), )? ?--([a-z0-9-]+)(?: ([a-zA-Z0-9-]+))?(?: {2,}|$)", shown, re.MULTILINE
    )
    return {name: (short, kind) for short, name, kind in found if name != "help"}


def test_every_command_is_ours() -> None:
    missing = []
    for name in commands(docker_help()):
        if name in NOT_OURS:
            continue
        if name not in tree.GROUPS:
            missing += [name] if name not in tree.COMMANDS else []
            continue
        below = [f"{name} {one}" for one in commands(docker_help(name))]
        missing += [path for path in below if path not in tree.COMMANDS and path not in NOT_OURS]
    assert missing == []


@pytest.mark.parametrize("path", [
    path for path in sorted(tree.COMMANDS)
    if path.split()[0] not in ("plugin", "profile", "completion") and path != "system check"
])  # fmt: skip
def test_every_flag_is_ours(path: str) -> None:
    ours = {
        name.removeprefix("--"): option
        for name, option in tree.load(path).by_name.items()
        if name.startswith("--")
    }
    wrong = []
    for name, (short, kind) in flags(docker_help(*path.split())).items():
        if (
            f"{path.rpartition(' ')[2] if path.startswith(('container ', 'image ')) else path} --{name}"
            in LACKING
        ):
            continue
        option = ours.get(name)
        if option is None:
            wrong.append(f"--{name} is missing")
        elif option.short != short:
            wrong.append(f"--{name} is -{option.short}, docker's -{short}")
        elif (option.kind == "bool") != (kind == "") or (option.kind == "list") != (
            KINDS.get(kind) == "list"
        ):
            wrong.append(f"--{name} is {option.kind}, docker's {kind or 'bool'}")
    assert wrong == []


def test_every_global_flag_is_ours() -> None:
    theirs = flags(docker_help().partition("Global Options:")[2])
    ours = {option.name: option.short for option in GLOBAL_OPTIONS}
    assert {name: short for name, (short, _) in theirs.items()}.items() <= ours.items()
