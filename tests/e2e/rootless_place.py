"""Ordinary users for tests of the rootless profile, in a mount and a network namespace of their own.

Nothing of the host is changed: /etc/passwd, /etc/subuid and /etc/subgid are covered by files of the test, /dev/net/tun by a
node that everybody may open (as udev makes it), and the network is a veth pair with a default route.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from barque.testing import need

CORE = str(Path(__import__("barque").__file__).parents[1])
PROFILES = Path(CORE, "barque/profiles/builtin")
OUTSIDE = "10.8.0.1"  # an address of the "host" that pasta does not copy into the namespace
SUBORDINATE = {7101: 710100000, 7102: 710200000}
_TOOLS = ("docker", "newuidmap", "pasta", "slirp4netns", "setpriv", "nsenter", "ip")

_OWN_USER_NAMESPACE = os.stat("/proc/self/ns/user").st_ino
_SET_UP = """set -e
mount -t tmpfs -o mode=755 none "$1/cover"
cd "$1/cover"
mknod -m 666 tun c 10 200; mount --bind tun /dev/net/tun
{ cat /etc/passwd; for uid in 7101 7102; do echo "bq$uid:x:$uid:$uid::/nonexistent:/bin/sh"; done; } > passwd
echo "bq7101:710100000:65536" > sub; echo "7102:710200000:65536" >> sub
chmod 644 passwd sub
mount --bind passwd /etc/passwd; mount --bind sub /etc/subuid; mount --bind sub /etc/subgid
ip link set lo up; ip link add e0 type veth peer name e1
ip addr add 10.7.0.2/24 dev e0; ip addr add 10.8.0.1/24 dev e1
ip link set e0 up; ip link set e1 up; ip route add default via 10.7.0.1
echo up
exec sleep 99999
"""


class Place:
    """The namespaces. `users` are made in it; close it at the end."""

    def __init__(self):
        for tool in _TOOLS:
            need.tool(tool)
        self.base = Path(tempfile.mkdtemp(prefix="bqr-", dir="/tmp"))
        self.base.chmod(0o755)
        (self.base / "cover").mkdir()
        command = ["unshare", "--mount", "--net", "--propagation", "private"]
        self._holder = subprocess.Popen(
            [*command, "sh", "-c", _SET_UP, "sh", str(self.base)], stdout=subprocess.PIPE
        )
        assert self._holder.stdout.readline() == b"up\n"
        self._users = []

    @property
    def enter(self):
        return ["nsenter", f"--target={self._holder.pid}", "--mount", "--net", "--wd=/"]

    def user(self, uid=7101):
        made = User(self, uid)
        self._users.append(made)
        return made

    def close(self):
        for user in self._users:
            if user.home.exists():
                user.close()
        self._holder.kill()
        self._holder.communicate()
        shutil.rmtree(self.base)


class User:
    """An ordinary user with a home, and his daemon."""

    def __init__(self, place, uid):
        self.place, self.uid = place, uid
        self.home = Path(tempfile.mkdtemp(prefix="h", dir=place.base))
        self.run_dir = self.home / "run"
        self.run_dir.mkdir(mode=0o700)
        for path in (self.home, self.run_dir):
            os.chown(path, uid, uid)
        self.home.chmod(0o755)
        self.socket = self.run_dir / "barque/barque.sock"
        self.log = self.home / "barqued.log"
        self.daemon = None

    @property
    def environment(self):
        return {
            "PATH": "/usr/bin:/bin", "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.run_dir),
            "XDG_DATA_HOME": str(self.home / "data"), "DOCKER_HOST": f"unix://{self.socket}", "LANG": "C.UTF-8",
        }  # fmt: skip

    def command(self, *words, cover=()):
        """As this user; `cover` are files that are hidden from him by an empty one that he may not run or open."""
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        if cover:
            empty = self.place.base / "empty"
            empty.touch(mode=0o600)
            lines = [f"mount --bind {empty} {shlex.quote(path)}" for path in cover]
            become = ["unshare", "--mount", "sh", "-ec", "\n".join([*lines, 'exec "$@"']), "sh", *become]
        return [*self.place.enter, *become, *words]

    def run(self, *words, timeout=60, cover=(), **extra):
        return subprocess.run(
            self.command(*words, cover=cover), capture_output=True, text=True, timeout=timeout, check=False,
            stdin=subprocess.DEVNULL, env={**self.environment, **extra},
        )  # fmt: skip

    def docker(self, *words, timeout=60):
        return self.run("docker", *words, timeout=timeout)

    def ok(self, *words, timeout=60):
        done = self.docker(*words, timeout=timeout)
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.log.read_text()[-2000:]}"
        return done.stdout.strip()

    def barqued(self, *words, cover=(), **extra):
        """A daemon that is expected to end by itself."""
        return self.run(sys.executable, "-m", "barque.engine.daemon", *words, cover=cover, **extra)

    def start(self, profile="rootless", cover=()):
        """Start the daemon and wait for its first answer; returns it."""
        command = self.command(
            sys.executable, "-m", "barque.engine.daemon", "--profile", profile, cover=cover
        )
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        deadline = time.monotonic() + 40
        while self.docker("version").returncode != 0:
            waiting = self.daemon.poll() is None and time.monotonic() < deadline
            assert waiting, self.log.read_text()[-3000:]
            time.sleep(0.05)
        return self.daemon

    def kill(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def stop(self):
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(15)

    def processes(self):
        """Living processes that are his or his subordinates': pid -> command line."""
        found = {}
        first = SUBORDINATE[self.uid]
        for path in Path("/proc").glob("[0-9]*"):
            try:
                owner = int(
                    next(x for x in (path / "status").read_text().splitlines() if x[:4] == "Uid:").split()[1]
                )
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z" and (owner == self.uid or first <= owner < first + 65536):
                found[int(path.name)] = words
        return found

    def wait_gone(self, patience=10):
        """The processes that are left after a while."""
        deadline = time.monotonic() + patience
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def keeper(self):
        """The keeper's pid."""
        keepers = [pid for pid, words in self.processes().items() if '"host_loopback"' in words]
        keepers = [pid for pid in keepers if os.stat(f"/proc/{pid}/ns/user").st_ino == _OWN_USER_NAMESPACE]
        assert len(keepers) == 1, self.processes()
        return keepers[0]

    def profile(self, name, overlay="", **rootless):
        """The built-in profile with other values in [rootless], or a line more in [storage.overlay], in the user's own directory."""
        text = (PROFILES / "rootless.toml").read_text()
        text = text.replace("[storage.overlay]", f"[storage.overlay]\n{overlay}")
        for key, value in rootless.items():
            before = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
            text = text.replace(before, f"{key} = {value}")
        directory = self.home / ".config/barque/profiles"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.toml").write_text(text)
        for path in (self.home / ".config", directory.parent, directory, directory / f"{name}.toml"):
            os.chown(path, self.uid, self.uid)
        return name

    def close(self):
        """Remove all containers, end the daemon and whatever a failed test left."""
        if self.socket.exists() and self.daemon is not None and self.daemon.poll() is None:
            for id in self.docker("ps", "-aq").stdout.split():
                self.docker("rm", "-f", id)
            self.stop()
        if self.wait_gone(3):
            for pid in self.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.wait_gone(5)
        if self.daemon is not None:
            self.daemon.wait(5)
        shutil.rmtree(self.home)
