"""`make demo`: the main job on the embedded defaults. Gets an image, runs a web server in a container, fetches its page, cleans up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

BIN = Path(sys.executable).parent
PORT = 18090
PAGE = "Hello from a container that Barque runs.\n"


def main() -> int:
    if os.geteuid() != 0:
        print("make demo needs root: it makes namespaces, cgroups and mounts.", file=sys.stderr)
        return 1
    base = Path(tempfile.mkdtemp(prefix="barque-demo-"))
    host = f"unix://{base}/barque.sock"
    log = (base / "barqued.log").open("wb")
    daemon = subprocess.Popen(
        [BIN / "barqued", "--root", base / "root", "--run-dir", base / "run", "--host", host],
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(base / "barque.sock", daemon)
        demonstrate(host, base)
    except Exception:
        print((base / "barqued.log").read_text(), file=sys.stderr)
        raise
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(base, ignore_errors=True)
    print('\nDone: nothing is left running. Next: README.md, "The first ten minutes".')
    return 0


def wait_for(path: Path, daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
                return
            except OSError:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("barqued does not start") from None
        time.sleep(0.01)


def demonstrate(host: str, base: Path) -> None:
    def barque(*arguments: str) -> str:
        print(f"$ barque {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            [BIN / "barque", "--host", host, *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
        print(done.stdout, end="", flush=True)
        return done.stdout.strip()

    image = get_image(barque)
    site = base / "site"
    site.mkdir()
    (site / "index.html").write_text(PAGE)
    serve = ["busybox", "httpd", "-f", "-p", "80", "-h", "/site"]
    barque(
        "run", "-d", "--name", "web", "-p", f"127.0.0.1:{PORT}:80", "-v", f"{site}:/site:ro", image, *serve
    )
    page = fetch(f"http://127.0.0.1:{PORT}/index.html")
    print(f"$ fetch http://127.0.0.1:{PORT}/index.html\n{page}", end="")
    if page != PAGE:
        raise RuntimeError("that is not the page")
    barque("ps")
    barque("exec", "web", "sh", "-c", "echo inside: pid $$, host $(hostname)")
    barque("rm", "-f", "web")


def get_image(barque) -> str:  # type: ignore[no-untyped-def]
    """From Docker Hub where it can be reached, else made of a Debian package."""
    image = "busybox:latest" if reachable("registry-1.docker.io") else "deb:busybox-static"
    barque("pull", "--quiet", image)
    return image


def reachable(name: str) -> bool:
    try:
        socket.create_connection((name, 443), timeout=3).close()
    except OSError:
        return False
    return True


def fetch(url: str) -> str:
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
