"""What `login` left: in the configuration file shared with docker, or with a credential helper that it names."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Mapping

from barque.cli.dockerconfig import DockerConfig
from barque.cli.errors import CliError
from barque.cli.references import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HUB", "CredentialStore", "Credentials", "auth_header", "hostname", "registry_auth"]

HUB = "https://index.docker.io/v1/"


class Credentials:
    """A user's at one registry. An identity token stands for the password."""

    __slots__ = ("identity_token", "password", "registry_token", "username")

    def __init__(
        self, username: str = "", password: str = "", identity_token: str = "", registry_token: str = ""
    ) -> None:
        self.username = username
        self.password = password
        self.identity_token = identity_token
        self.registry_token = registry_token

    def document(self, server: str) -> dict[str, str]:
        """As the API takes them (AuthConfig)."""
        fields = {
            "username": self.username,
            "password": self.password,
            "identitytoken": self.identity_token,
            "registrytoken": self.registry_token,
        }
        return {name: value for name, value in fields.items() if value} | {"serveraddress": server}


class CredentialStore:
    """All that is stored. Raises CliError where the file cannot be understood."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._config = DockerConfig(environ)

    @property
    def path(self) -> str:
        """The configuration file."""
        return self._config.path

    def get(self, server: str) -> Credentials | None:
        """The credentials for a registry (a host, or Docker Hub's HUB). As with docker, a helper that fails has none."""
        if name := self._config.helper(server):
            with contextlib.suppress(CliError):
                return _from_helper(name, server)
            return None
        try:
            return _parsed(self._entry(server))
        except (ValueError, AttributeError, TypeError, binascii.Error) as error:
            raise self._config.malformed(error) from error

    def _entry(self, server: str) -> Any:
        auths = self._config.auths
        if server in auths:
            return auths[server]
        return next((entry for key, entry in auths.items() if hostname(key) == server), None)

    def store(self, server: str, credentials: Credentials) -> bool:
        """Keep them; True when a password is newly in the file, for everyone to read who reads the file. Raises CliError."""
        if name := self._config.helper(server):
            from barque.cli.credential_helper import CredentialHelper

            token = credentials.identity_token
            CredentialHelper(name).store(
                server, credentials.username, token or credentials.password, token=bool(token)
            )
            entry = {}
        else:
            entry = _entry(credentials)
        if self._config.auths.get(server) == entry:
            return False
        self._config.auths[server] = entry
        self._config.save()
        return bool(credentials.password) and bool(entry)

    def erase(self, server: str) -> None:
        """Forget those of a registry; that there are none is no error. Raises CliError."""
        if name := self._config.helper(server):
            from barque.cli.credential_helper import CredentialHelper

            CredentialHelper(name).erase(server)
        if server in self._config.auths:
            del self._config.auths[server]
            self._config.save()


def _from_helper(name: str, server: str) -> Credentials | None:
    from barque.cli.credential_helper import CredentialHelper

    found = CredentialHelper(name).get(server)
    if found is None:
        return None
    user, secret, token = found
    return Credentials(identity_token=secret) if token else Credentials(user, secret)


def _parsed(entry: Any) -> Credentials | None:
    if not entry:
        return None
    user, _, password = base64.b64decode(entry.get("auth") or "", validate=True).decode().partition(":")
    found = Credentials(
        user or entry.get("username") or "",
        password.rstrip("\0") or entry.get("password") or "",
        entry.get("identitytoken") or "",
        entry.get("registrytoken") or "",
    )
    return found if found.document("").keys() - {"serveraddress"} else None


def _entry(credentials: Credentials) -> dict[str, str]:
    secret = f"{credentials.username}:{credentials.password}".encode()
    entry = {"auth": base64.b64encode(secret).decode()}
    return entry | ({"identitytoken": credentials.identity_token} if credentials.identity_token else {})


def hostname(server: str) -> str:
    """The host of a registry's address: `https://reg.example.com/v1/` is stored for `reg.example.com`."""
    return server.removeprefix("http://").removeprefix("https://").partition("/")[0]


def registry_auth(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The X-Registry-Auth header for the registry of repository `name`; empty when nothing is stored for it.

    Raises CliError when the file cannot be understood.
    """
    host = registry(name)
    server = HUB if host in ("docker.io", "index.docker.io") else host
    found = CredentialStore(environ).get(server)
    return auth_header(found.document(server)) if found else {}


def auth_header(document: Mapping[str, str]) -> dict[str, str]:
    """An AuthConfig as the header X-Registry-Auth."""
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(document).encode()).decode()}
