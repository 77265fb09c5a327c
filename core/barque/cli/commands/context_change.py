"""`barque context create`, `update`, `use` and `rm`."""

from __future__ import annotations

import os
import sys

from barque.cli import context_store
from barque.cli.commands.context_show import default_host, warn_of_host
from barque.cli.context import Context
from barque.cli.contexts import DEFAULT, TLS_FILES, NamedContext, Store, check_name
from barque.cli.csvfields import csv_fields
from barque.cli.errors import CliError
from barque.cli.flags import FALSE_WORDS, TRUE_WORDS, Command, Values, flag, repeated, text
from barque.cli.host import parse_address

__all__ = ["CREATE", "RM", "UPDATE", "USE"]

_FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
_KEYS = ("from", "host", *_FILES, "skip-tls-verify")
_LIMIT = 1024 * 1024


def create(context: Context, values: Values) -> int:
    """Create a context of an address, or after another context."""
    name, store = values.arguments[0], Store(context.environ)
    check_name(name)
    if name in store.names():
        raise CliError(f'context "{name}" already exists')
    said = _endpoint(values)
    original = values.text("from") or said.get("from", "")
    if original and values.given("docker") and values.text("from"):
        raise CliError("cannot use --docker flag when --from is set")
    description = values.text("description")
    if original or not values.given("docker"):
        host, skip, tls, former = _copied(context, store, original or context.name)
        description = description or (former if not said else "")
    else:
        host, skip, tls = said.get("host", ""), False, {}
    _save(store, name, description, said, host=host, skip=skip, tls=tls)
    _done(name, "created")
    return 0


def update(context: Context, values: Values) -> int:
    """Change a context's description or address."""
    name, store = values.arguments[0], Store(context.environ)
    try:
        found = store.find(name)
    except CliError as error:
        raise CliError(f'context "{name}" does not exist') from error
    _check_own(store, found)
    said = _endpoint(values)
    description = values.text("description") if values.given("description") else found.description
    host, skip, tls = found.host, found.skip_verify, _certificates(found)
    if "from" in said:
        host, skip, tls, _ = _copied(context, store, said["from"])
    elif said:
        # What is said replaces all that was.
        host, skip, tls = said.get("host", ""), False, {}
    _save(store, name, description, said, host=host, skip=skip, tls=tls)
    _done(name, "updated")
    return 0


def _endpoint(values: Values) -> dict[str, str]:
    """`--docker host=…,ca=…`. Raises CliError."""
    said: dict[str, str] = {}
    for value in values.all("docker"):
        for part in csv_fields(value):
            key, equals, setting = part.partition("=")
            if not equals:
                raise CliError(
                    f'invalid argument "{value}" for "--docker" flag: {part} must be formatted as key=value'
                )
            if key not in _KEYS:
                raise CliError(f"unable to create docker endpoint config: unrecognized config key: {key}")
            said[key] = setting
    return said


def _copied(context: Context, store: Store, name: str) -> tuple[str, bool, dict[str, bytes], str]:
    """(address, whether certificates are not verified, the files, description) of a context."""
    if name == DEFAULT:
        return default_host(context), False, {}, "Current BARQUE_HOST based configuration"
    found = store.find(name)
    return found.host, found.skip_verify, _certificates(found), found.description


def _certificates(found: NamedContext) -> dict[str, bytes]:
    return {name: _read(os.path.join(found.tls, name)) for name in found.tls_files()}


def _save(
    store: Store, name: str, description: str, said: dict[str, str], *, host: str, skip: bool, tls: dict[str, bytes]
) -> None:  # fmt: skip
    host = said.get("host", host)
    if word := said.get("skip-tls-verify"):
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise CliError(
                f"unable to create docker endpoint config: skip-tls-verify: invalid boolean {word!r}"
            )
        skip = word in TRUE_WORDS
    for key, file in _FILES.items():
        if said.get(key):
            tls[file] = _read(os.path.expanduser(said[key]))
    try:
        if host:
            parse_address(host)
    except CliError as error:
        raise CliError(f"unable to create docker endpoint config: unable to apply docker endpoint options: {error.message}",
                       hint=error.hint) from None  # fmt: skip
    context_store.save(store, context_store.metadata(name, description, host, skip_verify=skip), tls)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LIMIT)
    except OSError as error:
        why = f"open {path}: {(error.strerror or '').lower()}"
        raise CliError(f"unable to create docker endpoint config: {why}") from error


def _done(name: str, what: str) -> None:
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Successfully {what} context "{name}"\n')


def use(context: Context, values: Values) -> int:
    """Make a context the one that counts when nothing else is said."""
    name = values.arguments[0]
    if name != DEFAULT:
        Store(context.environ).find(name)
    context_store.use(context.environ, name)
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Current context is now "{name}"\n')
    if name != DEFAULT and (context.environ.get("BARQUE_HOST") or context.environ.get("DOCKER_HOST")):
        warn_of_host(context, f'"{name}"')
    return 0


def remove(context: Context, values: Values) -> int:
    """Remove contexts of ours; the one in use only with --force, and then `default` is used."""
    store, failures = Store(context.environ), []
    used = context.name
    for name in values.arguments:
        try:
            _remove(context, store, name, used=name == used, force=values.flag("force"))
        except CliError as error:
            failures.append(error.message)
        else:
            sys.stdout.write(f"{name}\n")
    if failures:
        raise CliError("\n".join(failures))
    return 0


def _remove(context: Context, store: Store, name: str, *, used: bool, force: bool) -> None:
    if name == DEFAULT:
        raise CliError('context "default" cannot be removed')
    if used and not force:
        raise CliError(f'context "{name}" is in use, set -f flag to force remove')
    if name not in store.names():
        if force:
            return
        raise CliError(f'context "{name}" does not exist')
    found = store.find(name)
    _check_own(store, found)
    if used:
        context_store.use(context.environ, DEFAULT)
    context_store.delete(store, found)


def _check_own(store: Store, found: NamedContext) -> None:
    if not store.is_own(found):
        raise CliError(
            f'context "{found.name}" is docker\'s',
            hint=f"change it with `docker context`: it is in {found.meta}",
        )


_DOCKER = repeated(
    "docker",
    f"Set the endpoint: {', '.join(f'{key}=' for key in _KEYS)} ({', '.join(TLS_FILES)} are files in PEM)",
    metavar="stringToString",
)
_DESCRIPTION = text("description", "Description of the context")

CREATE = Command(
    summary="Create a context",
    usage="[OPTIONS] CONTEXT",
    run=create,
    arguments=(1, 1),
    options=(_DESCRIPTION, _DOCKER, text("from", "Create context from a named context")),
    examples=(
        "barque context create far --docker host=ssh://me@far.example.com",
        "barque context create lab --description 'The lab' "
        "--docker host=tcp://lab:2376,ca=ca.pem,cert=cert.pem,key=key.pem",
    ),
)
UPDATE = Command(
    summary="Update a context",
    usage="[OPTIONS] CONTEXT",
    run=update,
    arguments=(1, 1),
    options=(_DESCRIPTION, _DOCKER),
    examples=("barque context update far --description 'The far one'",),
)
USE = Command(
    summary="Set the current barque context",
    usage="CONTEXT",
    run=use,
    arguments=(1, 1),
    examples=("barque context use far", "barque context use default"),
)
RM = Command(
    summary="Remove one or more contexts",
    usage="CONTEXT [CONTEXT...]",
    run=remove,
    arguments=(1, None),
    options=(flag("force", "Force the removal of a context in use", short="f"),),
    examples=("barque context rm far",),
)
