"""The same session with dockerd and with Barque: whatever differs is in `api_differences.toml` with its reason, or a failure."""

import contextlib
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from api_compare import Allowed, differences, plain
from api_differences import LIST, PAGE, page
from api_parity_session import session
from api_recorder import Recorder
from peers import Place, wait_for

from barque.testing import need
from barque.testing.daemon import Daemon

VERSION = "1.41"  # the newest that Debian's dockerd speaks


def test_the_page_shows_the_list():
    assert PAGE.read_text() == page(), "run `python tests/e2e/api_differences.py`"


def test_each_difference_has_a_reason_and_no_more():
    for entry in tomllib.loads(LIST.read_text())["difference"]:
        assert set(entry) <= {"step", "place", "reason"}, entry
        assert entry["reason"].endswith(".")
        assert entry["place"]


@contextlib.contextmanager
def dockerd():
    """Debian's, in namespaces of its own; its socket and the names of its directories."""
    for tool in ("dockerd", "containerd", "iptables"):
        need.tool(tool)
    place = Place("parity")
    try:
        data, run = place.directory / "data", place.directory / "exec"
        sock = place.directory / "docker.sock"
        process = place.start(
            "dockerd", "--data-root", data, "--exec-root", run, "-p", place.directory / "pid", "-H", f"unix://{sock}",
            "--live-restore", "--cgroup-parent", place.cgroup, "--log-level", "warn", log="dockerd.log",
        )  # fmt: skip
        try:
            wait_for(lambda: process.poll() is not None or answers(sock), seconds=60)
            assert process.poll() is None, (place.directory / "dockerd.log").read_text()[-3000:]
            yield sock, {str(data): "<root>", str(run): "<run>"}
        finally:
            process.terminate()
            process.wait(30)
    finally:
        place.close()


def answers(sock):
    with contextlib.suppress(OSError):
        return Recorder(sock).ask("GET", "/_ping").status == 200
    return False


@contextlib.contextmanager
def barque(lab, workspace):
    daemon = Daemon(Path(tempfile.mkdtemp(dir=workspace)), lab)
    try:
        daemon.start()
        yield daemon.socket, {str(daemon.base / "root"): "<root>", str(daemon.base / "run"): "<run>"}
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def recorded(lab, workspace):
    """Both sessions, held at the same time: (recorder, names of directories) of dockerd, and of Barque."""
    with dockerd() as theirs, barque(lab, workspace) as ours:
        recorders = [Recorder(sock, VERSION) for sock, _ in (theirs, ours)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(session, recorders))
    return [(recorder, places) for recorder, (_, places) in zip(recorders, (theirs, ours), strict=True)]


@pytest.mark.root
@pytest.mark.timeout(180)
def test_barque_answers_as_dockerd(recorded):
    (theirs, their_places), (ours, our_places) = recorded
    assert list(theirs.answers) == list(ours.answers)
    allowed = Allowed(tomllib.loads(LIST.read_text())["difference"])
    surprising, compared, different = [], 0, 0
    blind = {step for step, answer in theirs.answers.items() if is_blind(step, answer)}
    for step, answer in theirs.answers.items():
        if step in blind:
            continue
        expected = plain(answer, theirs.names, their_places)
        found, count = differences(expected, plain(ours.answers[step], ours.names, our_places))
        compared, different = compared + count, different + len(found)
        surprising += [
            f"{step} | {place}\n    dockerd: {a[:300]}\n    barque:  {b[:300]}"
            for place, a, b in found
            if not allowed.covers(step, place)
        ]
    print(
        f"\n{len(theirs.answers)} requests, {compared} values compared, {different} differ for {len(allowed.entries)} reasons:"
    )
    for count, entry in sorted(zip(allowed.used, allowed.entries, strict=True), key=lambda pair: -pair[0]):
        print(f"{count:5} {entry['reason']}")
    assert not surprising, "\n".join([f"{len(surprising)} differences", *surprising])
    unused = [entry for entry in allowed.unused() if not (blind and "stats" in str(entry))]
    assert not unused, "entries that nothing needs any more"


def is_blind(step, answer):
    """Whether containerd could not read a container's cgroups: it cannot while there is a hierarchy that nothing has mounted, as tests
    of the runtime make them for a moment (`cgroups: cannot find cgroup mount destination`). dockerd's stats are empty then."""
    return "/stats" in step and b'"read":"0001-' in answer.body[:80] and unmounted_hierarchies() != []


def unmounted_hierarchies():
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    named = [line.split(":")[1].removeprefix("name=") for line in lines if not line.startswith("0:")]
    return [name for name in named if not Path("/sys/fs/cgroup", name.partition(",")[0]).is_dir()]
