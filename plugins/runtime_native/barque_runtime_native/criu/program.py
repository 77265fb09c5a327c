"""The program `criu`, by its command line (criu(8)). Imported for checkpoint and restore only."""

from __future__ import annotations

import os
import shutil
import subprocess

from barque.spi.errors import BarqueError, FailedPrecondition, Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MODES = ("soft", "full", "strict", "ignore")
MAX_LOG = 1 << 20
LINES = 3


class CriuOptions:
    """What checkpoint and restore have in common; the names are runc's options."""

    def __init__(self, images: str, *, work: str = "", program: str = "criu") -> None:
        self.images = images
        self.work = work or images
        # whether the work directory, with the log, stays after a failure
        self.keeps_log = True
        self.program = program
        self.tcp_established = False
        self.external_unix = False
        self.shell_job = False
        self.file_locks = False
        self.auto_dedup = False
        self.empty_network = False
        self.manage_cgroups = "soft"

    def arguments(self, log: str) -> list[str]:
        """criu's own."""
        words = ["--images-dir", self.images, "--work-dir", self.work, "--log-file", log, "-v4"]
        words.append(f"--manage-cgroups={self.manage_cgroups}")
        for wanted, option in (
            (self.tcp_established, "--tcp-established"),
            (self.external_unix, "--ext-unix-sk"),
            (self.shell_job, "--shell-job"),
            (self.file_locks, "--file-locks"),
            (self.auto_dedup, "--auto-dedup"),
        ):
            if wanted:
                words.append(option)
        return [*words, *(("--empty-ns", "net") if self.empty_network else ())]


def find_criu(program: str) -> str:
    """Its path. Errors: FailedPrecondition when it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise FailedPrecondition(
            f"criu failed: {program}: program not found", hint="install the package criu"
        )
    return path


def run_criu(
    action: str,
    words: Sequence[str],
    options: CriuOptions,
    *,
    prepare: Callable[[], None] | None = None,
    keep: Sequence[int] = (),
) -> None:
    """Run it to its end; `prepare` runs in its process before it is executed, `keep` are descriptors it inherits.

    Errors: FailedPrecondition in criu's own words when this host cannot do it at all; else Internal with the last
    lines that criu calls errors.
    """
    program, log = find_criu(options.program), f"{action}.log"
    result = subprocess.run(
        [program, action, *options.arguments(log), *words], preexec_fn=prepare, pass_fds=tuple(keep),
        stderr=subprocess.PIPE if action != "restore" else None, check=False, cwd=options.work,
    )  # fmt: skip
    if result.returncode:
        raise failure(program, action, options, result.stderr or b"")


def failure(program: str, action: str, options: CriuOptions, stderr: bytes) -> BarqueError:
    """Why criu failed."""
    path = os.path.join(options.work, f"{action}.log")
    if reason := why_not(program):
        return FailedPrecondition(
            f"criu failed: {reason}", hint=f"{program} check tells what the kernel lacks"
        )
    said = errors_in(read_end(path)) or errors_in(stderr.decode("utf-8", "replace"))
    hint = f"log file: {path}" if options.keeps_log else "name a directory for its log with --work-path"
    return Internal(f"criu failed: {'; '.join(said[-LINES:]) or 'without a word'}", hint=hint)


def why_not(program: str) -> str:
    """What `criu check` says this host lacks; empty when it works."""
    result = subprocess.run([program, "check"], capture_output=True, check=False, text=True, errors="replace")
    if not result.returncode:
        return ""
    said = errors_in(result.stderr + result.stdout)
    return said[0] if said else f"{program} check ended with {result.returncode}"


def errors_in(text: str) -> list[str]:
    """The lines that criu marks as errors, without time and place."""
    found = []
    for line in text.splitlines():
        _, marked, message = line.partition("Error (")
        if marked:
            found.append(message.partition("): ")[2].strip() or message.strip())
    return found


def read_end(path: str) -> str:
    """The end of a log; empty without one."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_LOG))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
