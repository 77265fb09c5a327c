"""The apt.conf of our apt, and the environment it runs in (apt.conf(5)).

The host's configuration contributes three things only: its sources (see `sources`), its keyrings and credentials, and
the `Acquire` options that make a mirror reachable (proxies, TLS, dates). Hooks of the host's apt.conf are not run.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from barque_image_deb.process import run

__all__ = ["configuration", "environment", "host_options"]

_KEPT_OPTION = re.compile(
    r"Acquire::(?:http|https|Check-Valid-Until|Check-Date|Max-ValidTime|Min-ValidTime|ForceIPv4|ForceIPv6|Send-URI-Encoded)\b"
)
_KEPT_DIRECTORY = re.compile(r"Dir::Etc::(netrc|netrcparts|trusted|trustedparts)$")
_PASSED = (
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


def configuration(state: Path, architecture: str, preferred: str, host: Iterable[str]) -> str:
    """The text of apt.conf for the state directory; `preferred` is the suite to prefer to others or empty, `host` are the lines kept of the
    host's, which ours override."""
    own = {
        "Dir::State": f"{state}/",
        "Dir::State::lists": f"{state}/lists/",
        "Dir::State::status": f"{state}/status",
        "Dir::Cache": f"{state}/cache/",
        "Dir::Cache::archives": f"{state}/archives/",
        # Only of use where the dpkg status changes; ours is empty for ever.
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::sourcelist": f"{state}/barque.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Log": f"{state}/",
        # The state is 0700, so the user _apt could not reach it.
        "APT::Sandbox::User": "root",
        "APT::Architecture": architecture,
        "APT::Default-Release": preferred,
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        "APT::Update::Error-Mode": "any",
        "APT::Get::AllowUnauthenticated": "false",
        # Package names are names: no regular expressions, no globs.
        "APT::Cmd::Pattern-Only": "true",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        "Acquire::ForceHash": "SHA256",
        "Acquire::GzipIndexes": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    lines = [*host, f'#clear APT::Architectures;\nAPT::Architectures:: "{architecture}";']
    lines += [f'{key} "{value}";' for key, value in own.items()]
    return "\n".join(lines) + "\n"


def host_options(apt_get: str, cancelled: Callable[[], bool]) -> list[str]:
    """Lines of the host's configuration that ours keeps: how to reach mirrors, and which keys and credentials there are."""
    config = shutil.which("apt-config", path=os.path.dirname(apt_get))
    if config is None:
        return []
    result = run((config, "dump"), environment(None), cancelled, lambda: None)
    kept = []
    etc = "etc/apt"
    for line in result.output.splitlines():
        key, _, value = line.partition(" ")
        if key == "Dir::Etc":
            etc = value.strip('";')
        elif _KEPT_OPTION.match(key):
            kept.append(line)
        elif match := _KEPT_DIRECTORY.match(key):
            path = os.path.join("/", etc, value.strip('";'))
            kept.append(f'Dir::Etc::{match[1]} "{path}";')
    return kept


def environment(conf: Path | None) -> dict[str, str]:
    """What apt sees: proxies and certificates of this process, nothing else of it. None: the host's configuration."""
    kept = {name: os.environ[name] for name in _PASSED if name in os.environ}
    kept |= {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        "HOME": "/",
    }
    return kept | ({"APT_CONFIG": str(conf)} if conf else {})
