"""Images of real servers, made of Debian packages and dressed as Docker Hub's: entrypoint, environment, exposed port, volume, user.

The daemons of tests have no network. The packages come from a signed archive on this host, which this host's apt fills.
"""

import io
import re
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from barque.testing import need
from barque.testing.debs import DebRepository

_URI = re.compile(r"'[^']+' (\S+\.deb) \d+ ")
_PGDATA = "/var/lib/postgresql/data"

REDIS_ENTRYPOINT = """#!/bin/sh
set -e
case "$1" in -*) set -- redis-server "$@" ;; esac
exec "$@" --protected-mode no
"""

POSTGRES_ENTRYPOINT = """#!/bin/sh
set -e
case "$1" in -*) set -- postgres "$@" ;; esac
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "${POSTGRES_PASSWORD:?}" > /tmp/password
  initdb --username="${POSTGRES_USER:=postgres}" --pwfile=/tmp/password --auth=scram-sha-256 \\
    --no-sync --locale=C.UTF-8
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  [ "${POSTGRES_DB:=$POSTGRES_USER}" = postgres ] ||
    echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single postgres
fi
exec "$@" -c listen_addresses='*'
"""

# What base-passwd, adduser and the maintainer scripts of the packages would have done.
_POSTGRES_SETUP = f"""set -e
echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' >> /etc/passwd
echo 'postgres:x:999:' >> /etc/group
install -d -o postgres -g postgres -m 700 {_PGDATA}
install -d -o postgres -g postgres /run/postgresql
ln -s /usr/lib/postgresql/*/bin /usr/local/pgsql
"""


def download_debs(directory, *packages):
    """The .debs of `packages` and of all they depend on, below `directory`, which keeps them for the next time."""
    (directory / "partial").mkdir(parents=True, exist_ok=True)
    wanted = [match[1] for match in map(_URI.match, _apt("/nonexistent", "--print-uris", *packages)) if match]
    paths = [directory / name for name in wanted]
    if not all(path.exists() for path in paths):
        _apt(directory, "--download-only", *packages)
    return paths


def _apt(archives, *arguments):
    """The lines that apt-get install prints, asked as if nothing were installed."""
    options = ["Dir::State::status=/dev/null", f"Dir::Cache::archives={archives}", "APT::Sandbox::User=root"]
    options += ["APT::Install-Recommends=false", "Debug::NoLocking=true"]
    command = [need.tool("apt-get"), "install", "-q", "-y"]
    command += [word for option in options for word in ("-o", option)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=90, check=False)
    if done.returncode:
        need.unavailable(f"needs a Debian mirror: {done.stderr.strip()[-300:]}")
    return done.stdout.splitlines()


@contextmanager
def debian_archive(directory, debs):
    """A signed archive with the files `debs`."""
    repository = DebRepository(directory, "bookworm")
    try:
        repository.add_files(debs)
        repository.publish()
        yield repository
    finally:
        repository.close()


def packages_image(daemon, *packages):
    """Pull the image of `packages`; its id."""
    name = "deb:" + ",".join(sorted(packages))
    status, told = daemon.request("POST", f"/images/create?fromImage={quote(name)}", timeout=100)
    assert status == 200, told
    assert b'"error"' not in told, told
    return daemon.json("GET", f"/images/{quote(name)}/json")["Id"]


def redis_image(daemon):
    """What `redis` is on Docker Hub; its name."""
    base = packages_image(daemon, "redis-server", "bash")
    changes = [
        'ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["redis-server"]', "EXPOSE 6379", "VOLUME /data", "WORKDIR /data",
    ]  # fmt: skip
    return _dressed(daemon, base, "redis:debian", REDIS_ENTRYPOINT, changes)


def postgres_image(daemon):
    """What `postgres` is on Docker Hub; its name."""
    base = packages_image(daemon, "postgresql", "bash", "coreutils")
    path = "/usr/local/pgsql:/usr/local/bin:/usr/bin:/bin"
    changes = [
        'ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["postgres"]', "EXPOSE 5432", "USER postgres",
        f"ENV PATH={path} PGDATA={_PGDATA}", f"VOLUME {_PGDATA}", "STOPSIGNAL SIGINT",
    ]  # fmt: skip
    return _dressed(daemon, base, "postgres:debian", POSTGRES_ENTRYPOINT, changes, _POSTGRES_SETUP)


def script_image(daemon, base, name, script, *command):
    """`base` with `script` as /script and `command` as what it runs; its name."""
    return _dressed(daemon, base, name, script, [f"CMD {list(command)}".replace("'", '"')], path="/script")


def _dressed(daemon, base, name, script, changes, setup="", path="/usr/local/bin/docker-entrypoint.sh"):
    """Commit a container of `base` in which `setup` ran, with `script` at `path`, as `name`."""
    program = ["sh", "-c", setup] if setup else ["true"]
    container = _docker(daemon, "create", "--network", "none", base, *program)
    if setup:
        _docker(daemon, "start", "-a", container)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo(Path(path).name)
        info.mode, info.size = 0o755, len(script)
        tar.addfile(info, io.BytesIO(script.encode()))
    _docker(daemon, "cp", "-", f"{container}:{Path(path).parent}", stdin=archive.getvalue())
    _docker(daemon, "commit", *(word for change in changes for word in ("--change", change)), container, name)
    _docker(daemon, "rm", container)
    return name


def _docker(daemon, *arguments, stdin=None):
    done = daemon.docker(*arguments, stdin=stdin)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.strip()
