"""Help, by typer, made from the commands' own declarations.

Only here are typer and rich loaded: what runs commands is `flags.parse`, from the same declarations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from barque.cli import tree
from barque.cli.flags import Command, Option
from barque.cli.global_flags import GLOBAL_OPTIONS

__all__ = ["application", "show"]

_ANNOTATIONS: dict[str, Any] = {
    "bool": bool,
    "int": str | None,
    "string": str | None,
    "list": list[str] | None,
}


def show(path: str) -> None:
    """Print the help of a command or a group; of everything for an empty path."""
    words = tree.ALIASES.get(path, path).split()
    application()([*words, "--help"], prog_name="barque", standalone_mode=False)


def application() -> typer.Typer:
    """The whole command line as a typer application."""
    app = _group("Docker's commands for Barque, a container engine in Python.")
    app.callback()(_function(GLOBAL_OPTIONS))
    for name, summary in tree.GROUPS.items():
        below = _group(summary)
        for path in tree.paths(name):
            _add(below, path)
        app.add_typer(below, name=name, rich_help_panel=tree.MANAGEMENT)
    for path in tree.paths():
        _add(app, path)
    return app


def _group(summary: str) -> typer.Typer:
    return typer.Typer(
        help=summary,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help"]},
    )


def _add(app: typer.Typer, path: str) -> None:
    command = tree.load(path)
    app.command(
        hidden=path in tree.HIDDEN,
        name=path.rpartition(" ")[2],
        help=command.summary,
        epilog=_examples(command),
        options_metavar=command.usage,
    )(_function(command.options))


def _examples(command: Command) -> str | None:
    """The examples as a paragraph each: typer joins the lines of one."""
    if not command.examples:
        return None
    return "\n\n".join(["[bold]Examples[/bold]", *(_literal(example) for example in command.examples)])


def _literal(text: str) -> str:
    """Text that rich shall not read as markup."""
    return text.replace("[", "\\[")


def _function(options: tuple[Option, ...]) -> Callable[..., None]:
    """A function whose signature declares the options, as typer wants them."""

    def nothing(**_values: Any) -> None:
        """Never called: the commands are run by barque.cli.main."""

    parameters = [_parameter(option) for option in options]
    nothing.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    nothing.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return nothing


def _parameter(option: Option) -> inspect.Parameter:
    names = [f"--{name}" for name in (option.name, *option.aliases)]
    names += [f"-{option.short}"] if option.short else []
    shown = option.default if option.default not in (None, "", -1, 0) else None
    declared = typer.Option(
        False if option.kind == "bool" else shown,
        *names,
        help=_literal(option.help) + (" (default true)" if shown is True else ""),
        metavar=None if option.kind == "bool" else option.metavar,
        show_default=option.kind != "bool",
    )
    return inspect.Parameter(
        f"flag_{option.name.replace('-', '_')}",  # `--from` would be a keyword
        inspect.Parameter.KEYWORD_ONLY,
        default=declared,
        annotation=_ANNOTATIONS[option.kind],
    )
