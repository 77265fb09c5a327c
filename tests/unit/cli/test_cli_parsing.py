"""The grammar of command lines, and that every command is declared soundly."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cli import tree
from barque.cli.errors import UsageError
from barque.cli.flags import Command, flag, number, repeated, text
from barque.cli.global_flags import GLOBAL_OPTIONS
from barque.cli.parsing import parse

OPTIONS = (
    flag("all", "", short="a"),
    flag("proxy", "", default=True),
    text("name", "", short="n", aliases=("called",)),
    number("count", "", short="c", default=-1),
    repeated("env", "", short="e"),
)


def command(**changes: Any) -> Command:
    declared: dict[str, Any] = {
        "summary": "",
        "usage": "",
        "run": lambda *_: 0,
        "arguments": (0, None),
        "options": OPTIONS,
    }
    return Command(**{**declared, **changes})


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], (False, True, "", -1, [], [])),
        (
            ["-a", "--name", "x", "--count=3", "-e", "A", "--env=B", "rest"],
            (True, True, "x", 3, ["A", "B"], ["rest"]),
        ),
        (["-anx", "-c", "4"], (True, True, "x", 4, [], [])),
        (["-n=x", "-eA=1", "-e=B=2"], (False, True, "x", -1, ["A=1", "B=2"], [])),
        (["--all=false", "--proxy=0", "--called", "y"], (False, False, "y", -1, [], [])),
        (["--name", "--all"], (False, True, "--all", -1, [], [])),
        (["one", "-a", "two"], (True, True, "", -1, [], ["one", "two"])),
        (["-a", "--", "-n", "--nonsense"], (True, True, "", -1, [], ["-n", "--nonsense"])),
        (["--name=", "-"], (False, True, "", -1, [], ["-"])),
        (["--name", "a", "--name", "b"], (False, True, "b", -1, [], [])),
        (["-c-1", "--name=a=b"], (False, True, "a=b", -1, [], [])),
    ],
)
def test_grammar(argv: list[str], expected: tuple[Any, ...]) -> None:
    values = parse(command(), argv)
    found = (
        values.flag("all"),
        values.flag("proxy"),
        values.text("name"),
        values.number("count"),
        values.all("env"),
    )
    assert (*found, values.arguments) == expected


def test_the_first_argument_ends_the_flags_of_run() -> None:
    values = parse(command(interspersed=False), ["-a", "image", "-a", "--nonsense", "--"])
    assert values.arguments == ["image", "-a", "--nonsense", "--"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--nonsense"], "unknown flag: --nonsense"),
        (["--nam", "x"], "unknown flag: --nam"),
        (["-aZ"], "unknown shorthand flag: 'Z' in -aZ"),
        (["--name"], "flag needs an argument: --name"),
        (["-an"], "flag needs an argument: 'n' in -an"),
        (
            ["--all=maybe"],
            'invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            ["-c", "1.5"],
            'invalid argument "1.5" for "-c, --count" flag: strconv.ParseInt: parsing "1.5": invalid syntax',
        ),
    ],
)
def test_complaints(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(command(), argv)
    assert caught.value.message == message
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    ("bounds", "count", "message"),
    [
        ((0, 0), 1, "'barque x' accepts no arguments"),
        ((1, 1), 0, "'barque x' requires 1 argument"),
        ((2, 2), 1, "'barque x' requires 2 arguments"),
        ((1, None), 0, "'barque x' requires at least 1 argument"),
        ((0, 1), 2, "'barque x' requires at most 1 argument"),
    ],
)
def test_numbers_of_arguments(bounds: tuple[int, int | None], count: int, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(command(arguments=bounds), ["word"] * count, "barque x")
    assert caught.value.message == message
    assert caught.value.exit_code == 1


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_command_line_is_read_or_refused(argv: list[str]) -> None:
    try:
        values = parse(command(), argv)
    except UsageError:
        return
    assert len(values.arguments) <= len(argv)


def test_help_is_asked_for_anywhere_before_the_arguments() -> None:
    assert parse(command(), ["-a", "--help", "--nonsense"]).help
    assert parse(command(), ["-h"]).help
    assert not parse(command(interspersed=False), ["image", "--help"]).help


@pytest.mark.parametrize("path", sorted(tree.COMMANDS))
def test_every_command_is_declared_soundly(path: str) -> None:
    declared = tree.load(path)
    names = [name for option in declared.options for name in (option.name, *option.aliases)]
    shorts = [option.short for option in declared.options if option.short]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)
    assert all(len(short) == 1 for short in shorts)
    assert all(option.help and not option.help.endswith(".") for option in declared.options)
    assert declared.summary
    assert declared.examples
    assert all(example.startswith("barque ") for example in declared.examples)


@pytest.mark.parametrize("path", sorted(tree.COMMANDS))
def test_the_examples_of_every_command_parse(path: str) -> None:
    import shlex

    root = Command(
        summary="",
        usage="",
        run=lambda *_: 0,
        arguments=(0, None),
        options=GLOBAL_OPTIONS,
        interspersed=False,
    )
    for example in tree.load(path).examples:
        if "$(" in example:
            continue
        own = re.split(r" [<>|] ", example)[0]  # the rest is the shell's
        words = parse(root, shlex.split(own)[1:]).arguments
        size = 2 if words[0] in tree.GROUPS else 1
        found = " ".join(words[:size])
        declared = tree.load(found)
        parse(declared, words[size:], found)


def test_aliases_lead_to_commands() -> None:
    assert all(target in tree.COMMANDS for target in tree.ALIASES.values())
    assert tree.load("container list") is tree.load("ps")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("rnu", "run"), ("imagess", "images"), ("container lst", "container ls"), ("zzz", "")],
)
def test_suggestions(typed: str, meant: str) -> None:
    assert tree.suggest(typed) == meant
