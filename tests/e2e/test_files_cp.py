"""`cp` both ways, by the docker CLI and by ours, compared with what dockerd 20.10 did (docker_cp_cases.txt)."""

import os
import subprocess
from pathlib import Path

import pytest

from barque.cli.main import run as barque

pytestmark = pytest.mark.root

CASES = [
    line.split(" => ")
    for line in (Path(__file__).parent / "docker_cp_cases.txt").read_text().splitlines()
    if not line.startswith("#")
]
# The docker CLI itself stumbles over a link and a trailing slash; ours copies the contents, as without the slash.
BETTER = {f"out /s/{source}/. o/ldir/": (0, "", ["./dir/g 2", "./dir/sub/"], []) for source in ("d", "ld")}
BY_DOCKER = [case for number, case in enumerate(CASES) if number % 12 == 0]


def _kinds(cases):
    """Of each kind (way, source, exit code and message, what came and went) the first, and of the rest every third."""
    seen, chosen = set(), []
    for number, (case, outcome) in enumerate(cases):
        kind = (*case.split(" ")[:-1], outcome)
        if kind not in seen or number % 3 == 0:
            chosen.append([case, outcome])
        seen.add(kind)
    return chosen


def observed(root):
    """Path, and content or target, of all below a directory."""
    found = []
    for directory, directories, files in os.walk(root):
        for path in (Path(directory, name) for name in (*directories, *files)):
            name = f"./{path.relative_to(root)}"
            if path.is_symlink():
                found.append(f"{name} -> {path.readlink()}")
            else:
                found.append(f"{name}/" if path.is_dir() else f"{name} {path.read_text().strip()}")
    return sorted(found)


class Place:
    """The local directory the cases speak of, and the container's /t and /s, which are binds: looked at without an exec."""

    def __init__(self, root, container, daemon):
        self.root, self.local, self.daemon = root, root / "w", daemon
        self.local.mkdir()
        self.shell(
            "mkdir -p sd/sub; echo f > sf; echo g > sd/g; ln -s sd lsd; ln -s sf lsf; ln -s nowhere ld"
        )
        for name in ("t", "s"):
            (root / name).mkdir()
        self.shell(
            "mkdir -p d/sub; echo 1 > f; echo 2 > d/g; ln -s d ld; ln -s f lf; ln -s /nope dang; ln -s /s/lf llf",
            "s",
        )
        self.id = container("-v", f"{root}/t:/t", "-v", f"{root}/s:/s", "--name", "CID")

    def shell(self, script, place="w"):
        subprocess.run(["sh", "-c", script], cwd=self.root / place, check=True)

    def reset(self, incoming):
        if incoming:
            self.shell(
                "rm -rf ./*; mkdir dir sub; echo old > file; ln -s dir ldir; ln -s file lfile; ln -s /nope dang; "
                "ln -s /t/newname dang2; ln -s sub/deep dang3",
                "t",
            )
        else:
            self.shell(
                "rm -rf o; mkdir -p o/dir; echo old > o/file; ln -s dir o/ldir; ln -s file o/lfile; "
                "ln -s nope o/dang; ln -s newname o/dang2"
            )

    def watched(self, incoming):
        return observed(self.root / "t" if incoming else self.local / "o")

    def run(self, case, copy):
        """(exit code, message, what is new, what is gone)"""
        direction, *words = case.split(" ")
        incoming = direction == "in"
        self.reset(incoming)
        before = self.watched(incoming)
        flags, (source, target) = words[:-2], words[-2:]
        paths = (source, f"CID:{target}") if incoming else (f"CID:{source}", target)
        code, message = copy([*flags, *paths])
        after = self.watched(incoming)
        message = message.strip().replace(str(self.local), "W")
        return code, message, [x for x in after if x not in before], [x for x in before if x not in after]


@pytest.fixture
def place(tmp_path, container, daemon):
    return Place(tmp_path, container, daemon)


def expected(text):
    code, message, new, gone = text.split(" |")
    listed = [[one for one in part.strip().split("; ") if one] for part in (new, gone)]
    return int(code), message.strip(), *listed


def differing(place, cases, copy):
    wrong = []
    for case, text in cases:
        wanted = BETTER.get(case, expected(text)) if copy is not by_docker else expected(text)
        got = place.run(case, lambda words: copy(place, words))
        if got != wanted:
            wrong.append((case, got, wanted))
    return wrong


def by_docker(place, words):
    command = place.daemon.docker_command("cp", *words)
    done = subprocess.run(command, cwd=place.local, capture_output=True, text=True, check=False, timeout=60)
    # the CLI's own complaints about a pipe it closed itself
    return done.returncode, "\n".join(
        line for line in done.stderr.splitlines() if not line.startswith("time=")
    )


def test_every_kind_of_docker_cp_by_our_command_line(place, monkeypatch, capfd):
    monkeypatch.chdir(place.local)

    def copy(place, words):
        capfd.readouterr()
        return barque(["-H", place.daemon.host, "cp", *words]), capfd.readouterr().err

    assert len(CASES) > 300
    assert differing(place, _kinds(CASES), copy) == []


def test_cases_of_docker_cp_by_the_docker_cli(place):
    assert len(BY_DOCKER) > 25
    assert differing(place, BY_DOCKER, by_docker) == []
