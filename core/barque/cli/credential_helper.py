"""Programs that keep credentials: `docker-credential-NAME ACTION`, asked on stdin and answering on stdout.

Source: the protocol of docker-credential-helpers (get, store, erase, list).
"""

from __future__ import annotations

import json
import subprocess

from barque.cli.errors import CliError

__all__ = ["CredentialHelper"]

_PATIENCE = 60
_TOKEN = "<token>"
_NOT_FOUND = "credentials not found"


class CredentialHelper:
    """One helper, by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, server: str) -> tuple[str, str, bool] | None:
        """(user name, secret, whether the secret is an identity token), or None. Raises CliError."""
        try:
            answer = self._ask("get", server, "getting")
        except _Refused as refused:
            if refused.output.startswith(_NOT_FOUND):
                return None
            raise
        try:
            found = json.loads(answer)
            user, secret = str(found["Username"]), str(found["Secret"])
        except (ValueError, KeyError, TypeError):
            raise CliError(f"docker-credential-{self._name} answers get with what is no credential") from None
        return ("", secret, True) if user == _TOKEN else (user, secret, False)

    def store(self, server: str, user: str, secret: str, *, token: bool) -> None:
        """Keep credentials. Raises CliError."""
        entry = {"ServerURL": server, "Username": _TOKEN if token else user, "Secret": secret}
        self._ask("store", json.dumps(entry), "storing")

    def erase(self, server: str) -> None:
        """Forget credentials; that there are none is no error. Raises CliError."""
        try:
            self._ask("erase", server, "erasing")
        except _Refused as refused:
            if not refused.output.startswith(_NOT_FOUND):
                raise

    def list(self) -> dict[str, str]:
        """User names by registry. Raises CliError."""
        try:
            found = json.loads(self._ask("list", "unused", "listing"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise CliError(f"docker-credential-{self._name} answers list with what is no list")
        return {str(server): str(user) for server, user in found.items()}

    def _ask(self, action: str, text: str, doing: str) -> str:
        try:
            done = subprocess.run(
                [f"docker-credential-{self._name}", action],
                input=text.encode(),
                stdout=subprocess.PIPE,
                timeout=_PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            reason = f'exec: "docker-credential-{self._name}": executable file not found in $PATH'
            raise CliError(f"error {doing} credentials - err: {reason}, out: ``") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CliError(f"error {doing} credentials - err: {error}, out: ``") from error
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode != 0:
            raise _Refused(doing, done.returncode, output.strip())
        return output


class _Refused(CliError):
    """The helper ended with a failure; `output` says why."""

    def __init__(self, doing: str, status: int, output: str) -> None:
        super().__init__(f"error {doing} credentials - err: exit status {status}, out: `{output}`")
        self.output = output
