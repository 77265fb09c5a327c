"""`barque login` and `barque logout`."""

from __future__ import annotations

import os
import sys

from barque.cli.context import Context
from barque.cli.errors import CliError, DaemonError
from barque.cli.flags import Command, Values, flag, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.credentials import Credentials, CredentialStore

__all__ = ["LOGIN", "LOGOUT"]

_UNAUTHORIZED = 401


def login(context: Context, values: Values) -> int:
    """Have credentials checked by the registry, and keep them."""
    from barque.cli.credentials import Credentials, CredentialStore

    _check_flags(values)
    server = _server(values)
    store = CredentialStore(context.environ)
    user, password = values.text("username"), values.text("password")
    if values.flag("password-stdin"):
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif values.given("password"):
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if not user and not password and _again(context, store, server):
        return 0
    credentials = Credentials(*_asked(user, password, store.get(server)))
    return _finish(context, store, server, credentials)


def _check_flags(values: Values) -> None:
    if not values.flag("password-stdin"):
        return
    if values.text("password"):
        raise CliError("conflicting options: cannot specify both --password and --password-stdin")
    if not values.text("username"):
        raise CliError("the --password-stdin option requires --username to be set")


def _server(values: Values) -> str:
    from barque.cli.credentials import HUB, hostname

    given = values.arguments[0] if values.arguments else ""
    return HUB if given in ("", "docker.io") else hostname(given)


def _again(context: Context, store: CredentialStore, server: str) -> bool:
    """Try the credentials that are stored; False when there are none or they are good no more."""
    known = store.get(server)
    if known is None:
        return False
    user = f" [Username: {known.username}]" if known.username else ""
    sys.stderr.write(f"Authenticating with existing credentials...{user}\n\n")
    sys.stderr.write(
        " Info -> To login with a different account, run 'barque logout' followed by 'barque login'\n\n\n"
    )
    try:
        _finish(context, store, server, known)
    except DaemonError as error:
        expired = error.status == _UNAUTHORIZED
        reason = (
            "Stored credentials invalid or expired"
            if expired
            else f"Login did not succeed, error: {error.message}"
        )
        sys.stderr.write(f"{reason}\n")
        return False
    return True


def _asked(user: str, password: str, known: Credentials | None) -> tuple[str, str]:
    """What is missing of user name and password, asked of the user. Raises CliError."""
    if user and password:
        return user, password
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CliError("Error: Cannot perform an interactive login from a non TTY device")
    if not user:
        default = known.username if known else ""
        user = _prompt(f"Username ({default}): " if default else "Username: ").strip() or default
    if not user:
        raise CliError("Error: Non-null Username Required")
    if not password:
        from barque.cli.terminal import no_echo

        with no_echo(sys.stdin.fileno()):
            password = _prompt("Password: ")
        sys.stdout.write("\n")
    if not password:
        raise CliError("Error: Password Required")
    return user, password


def _prompt(text: str) -> str:
    sys.stdout.write(text)
    sys.stdout.flush()
    return sys.stdin.readline().removesuffix("\n")


def _finish(context: Context, store: CredentialStore, server: str, credentials: Credentials) -> int:
    answer = context.client.post("/auth", (), credentials.document(server)) or {}
    if token := str(answer.get("IdentityToken") or ""):
        credentials.password, credentials.identity_token = "", token
    if store.store(server, credentials):
        sys.stderr.write(
            f"\nWARNING! Your credentials are stored unencrypted in '{os.path.abspath(store.path)}'.\n"
            "Configure a credential helper to remove this warning. See\n"
            "https://docs.docker.com/go/credential-store/\n\n"
        )
    sys.stdout.write(f"{answer.get('Status') or 'Login Succeeded'}\n")
    return 0


def logout(context: Context, values: Values) -> int:
    """Forget what `login` has stored, under whatever spelling of the registry's address."""
    from barque.cli.credentials import HUB, CredentialStore

    store = CredentialStore(context.environ)
    server = _server(values)
    given = values.arguments[0] if values.arguments else server
    spellings = (server,) if server == HUB else (given, server, f"http://{server}", f"https://{server}")
    sys.stdout.write(f"Removing login credentials for {server}\n")
    failures: dict[str, CliError] = {}
    for spelling in dict.fromkeys(spellings):
        try:
            store.erase(spelling)
        except CliError as error:
            failures[spelling] = error
    if len(failures) == len(set(spellings)):
        sys.stderr.write("WARNING: could not erase credentials:\n")
        for spelling, failure in failures.items():
            sys.stderr.write(f"{spelling}: {failure.message}\n")
    return 0


LOGIN = Command(
    summary="Authenticate to a registry",
    usage="[OPTIONS] [SERVER]",
    run=login,
    arguments=(0, 1),
    options=(
        text("password", "Password or access token (others can see it: prefer --password-stdin)", short="p"),
        flag("password-stdin", "Take the password from standard input"),
        text("username", "Username", short="u"),
    ),
    examples=(
        "barque login registry.example.com",
        "barque login -u me --password-stdin registry.example.com < token",
    ),
)
LOGOUT = Command(
    summary="Log out from a registry",
    usage="[SERVER]",
    run=logout,
    arguments=(0, 1),
    examples=("barque logout registry.example.com",),
)
