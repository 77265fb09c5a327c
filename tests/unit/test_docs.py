"""The documentation says what the code does: hooks, routes, options, links, and an example that runs."""

import inspect
import re
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from barque.cli import tree
from barque.cli.global_flags import GLOBAL_OPTIONS
from barque.engine import daemon
from barque.plugins import discovery
from barque.plugins.configs import describe_config
from barque.plugins.kinds import KINDS, kind_named
from barque.plugins.registry import Registry
from barque.spi import errors
from barque.spi.log import LogSpec
from barque.testing.rows import CHAPTERS
from barque_api_docker.routes import ROUTES, UNIMPLEMENTED
from barque_api_docker.translate import refused
from barque_runtime_native.commands import options as command_options

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
HOOKS = [(kind, name) for kind in KINDS for name in kind.hook_names()]
BUILT_IN = [found for found in discovery.found_drivers() if found.distribution == "barque"]


def read(page):
    return page.read_text(encoding="utf-8")


def section(text, heading):
    """The lines below a heading, to the next one of its level."""
    level = heading.partition(" ")[0]
    below = text.partition(f"\n{heading}\n")[2]
    assert below, f"there is no heading {heading!r}"
    return re.split(rf"\n{level} ", below)[0]


# -- links ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


def anchors(page):
    """The anchors GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ +(.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_index_links_every_page():
    targets = re.findall(r"\]\(([^)\s]+)\)", read(DOCS / "README.md"))
    linked = {(DOCS / target).resolve() for target in targets}
    records = {page for page in PAGES if page.parent == DOCS / "decisions"}
    assert set(PAGES) - records - {DOCS / "README.md", ROOT / "README.md"} <= linked


def test_the_records_are_listed_by_their_titles():
    listed = dict(
        re.findall(r"^\d+\. \[(.+)\]\((\d+.+\.md)\)$", read(DOCS / "decisions/README.md"), re.MULTILINE)
    )
    titles = {
        re.match(r"# \d+\. (.+)", read(page)).group(1): page.name for page in DOCS.glob("decisions/0*.md")
    }
    assert listed == titles


# -- the plugin contract ----------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "hook"), HOOKS, ids=[name for _, name in HOOKS])
def test_every_hook_is_documented_with_its_exact_signature(kind, hook):
    text = section(read(REFERENCE / "plugin-contract.md"), f"### `{kind.name}`")
    signature = str(inspect.signature(vars(kind.hooks())[hook])).replace("'", "")
    documented = re.search(rf"- `{re.escape(hook + signature)}`<br>\n +(\S.+)", text)
    assert documented, f"plugin-contract.md lacks: - `{hook}{signature}`<br> and a sentence below"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_is_documented_with_group_capabilities_and_no_hooks_it_has_not(kind):
    text = section(read(REFERENCE / "plugin-contract.md"), f"### `{kind.name}`")
    assert f"`{kind.group}`" in text
    assert f"`Driver(name, config{', root' if kind.rooted else ''})`" in text
    assert set(re.findall(r"^- `(\w+)\(", text, re.MULTILINE)) == set(kind.hook_names())
    module = sys.modules[kind.hooks().__module__]
    capabilities = getattr(module, f"{kind.name.capitalize()}Capability", ())
    told = re.search(r"^Capabilities: (.+)\.$", text, re.MULTILINE)
    assert told
    assert set(re.findall(r"`([^`]+)`", told.group(1))) == {str(one) for one in capabilities}


@pytest.fixture
def example(monkeypatch):
    """The driver of plugin-contract.md, installed as `log` driver `plain`."""
    code = re.search(r"```python\n(.+?)```", read(REFERENCE / "plugin-contract.md"), re.DOTALL)
    assert code
    module = types.ModuleType("plainlog")
    monkeypatch.setitem(sys.modules, "plainlog", module)
    exec(compile(code.group(1), "plainlog.py", "exec"), module.__dict__)
    point = EntryPoint("plain", "plainlog:PlainLog", "barque.log.v1")
    monkeypatch.setattr(discovery, "_entry_points", lambda: (point,))
    return module


def test_the_example_driver_is_loaded_and_writes(example, tmp_path):
    loaded = Registry().load(kind_named("log"), "plain", "plain", {"file": "out.txt"}, None)
    spec = LogSpec("c1", str(tmp_path))
    writer = loaded.instance.log_open(spec)
    writer.write("stdout", b"one\n", 0)
    writer.close()
    assert (tmp_path / "out.txt").read_bytes() == b"one\n"
    loaded.instance.log_remove(spec)
    assert not list(tmp_path.iterdir())
    with pytest.raises(errors.InvalidArgument, match="unknown log opt 'a' for plain log driver"):
        loaded.instance.log_validate({"a": "b"})


def test_the_example_drivers_option_is_described(example):
    assert describe_config(example.PlainLog)[0]["doc"] == "name of the log in the container's log directory."


# -- options of the built-in drivers ----------------------------------------------------------


@pytest.mark.parametrize("found", BUILT_IN, ids=lambda found: f"{found.kind.name}:{found.name}")
def test_every_option_of_a_built_in_driver_has_a_line_in_its_docstring(found):
    options = describe_config(discovery.load_class(found))
    fields = {option["field"] for option in options}
    unsaid = [option["field"] for option in options if not option["doc"]]
    assert not unsaid, f"Config's docstring has no line `{unsaid[0]}: …` in {found.module}"
    for option in options:  # a line that runs on into the next field's says less than it seems
        swallowed = [other for other in fields if f"`{other}`:" in option["doc"]]
        assert not swallowed, f"the line of {option['field']} runs into that of {swallowed[0]}"


# -- the API ----------------------------------------------------------------------------------


def test_every_served_route_is_documented_and_no_other():
    text = section(read(REFERENCE / "api.md"), "## Served")
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]+)`", text, re.MULTILINE)) == set(map(shown, ROUTES))


def test_every_route_that_answers_501_is_documented_and_no_other():
    text = section(read(REFERENCE / "api.md"), "## Not there yet")
    assert set(re.findall(r"`([A-Z]+ /[^`]+)`", text)) == set(map(shown, UNIMPLEMENTED))


def shown(route):
    """`GET /images/{name}/json`."""
    method, pattern, _ = route
    return f"{method} {pattern.replace('*}', '}')}"


def test_every_create_option_that_is_refused_is_documented():
    text = section(read(REFERENCE / "api.md"), "## Create options")
    for table in (refused._CONFIG, refused._HOST):
        for field in table:
            assert f"`{field}`" in text, f"api.md does not say that {field} is refused"


# -- commands ---------------------------------------------------------------------------------


def test_every_command_is_documented():
    text = read(REFERENCE / "commands.md")
    for path in (*tree.COMMANDS, *tree.ALIASES):
        assert f"`barque {path}`" in text or f"\n### barque {path}\n" in text, path


@pytest.mark.parametrize("heading", re.findall(r"^### barque (.+)$", read(REFERENCE / "commands.md"), re.M))
def test_every_flag_of_a_command_is_documented_and_no_other(heading):
    text = section(read(REFERENCE / "commands.md"), f"### barque {heading}").partition("\n## ")[0]
    declared = {name for name in tree.load(heading).by_name if name.startswith("--")}
    if heading == "create":
        run = tree.load("run").by_name
        missing = {name for name in run if name.startswith("--")} - declared
        assert declared <= set(run)
        assert missing == set(re.findall(r"`(--[a-z-]+)`", text))
    else:
        assert set(re.findall(r"^\|.*?`(--[a-z0-9-]+)`.*?\|", text, re.MULTILINE)) <= declared
        assert declared <= set(re.findall(r"`(--[a-z0-9-]+)`", text))


def test_the_global_flags_are_documented():
    text = section(read(REFERENCE / "commands.md"), "## barque")
    assert all(f"`--{option.name}`" in text for option in GLOBAL_OPTIONS)


def test_every_flag_of_barqued_is_documented(capsys):
    with pytest.raises(SystemExit):
        daemon._options(["--help"])
    text = section(read(REFERENCE / "commands.md"), "## barqued")
    for flag in set(re.findall(r"(--[a-z-]+)", capsys.readouterr().out)):
        assert re.search(rf"`{flag}[ `]", text), flag


def test_every_command_and_flag_of_barque_runtime_is_documented():
    text = section(read(REFERENCE / "commands.md"), "## barque-runtime")
    for name, table in command_options.COMMANDS.items():
        assert re.search(rf"`{name}[ `]", text), name
        for flag in table.keys() - {"help"}:
            assert re.search(rf"`--{flag}[ `]", text), f"{name} --{flag}"
    for flag in command_options.GLOBAL:
        assert re.search(rf"`--{flag}[ `]", text), flag


# -- errors, acceptance rows ------------------------------------------------------------------


def test_every_error_is_documented_with_its_http_status():
    text = read(REFERENCE / "errors.md")
    for name in set(errors.__all__) - {"BarqueError", "from_wire"}:
        row = re.search(rf"^\| .*\b{name}\b.*\| (\d+) \|", text, re.MULTILINE)
        assert row, name
        assert int(row.group(1)) == getattr(errors, name).status


def test_every_acceptance_row_is_listed_with_its_weight():
    rows = re.findall(r"^\| ([RS]\d+) \| (\d) \|", read(REFERENCE / "acceptance.md"), re.MULTILINE)
    assert {row: int(weight) for row, weight in rows} == {**CHAPTERS["R"], **CHAPTERS["S"]}


def test_the_tests_that_acceptance_rows_name_carry_them():
    wrong = []
    for row, cell in re.findall(
        r"^\| ([RS]\d+) \| \d \| [^|]+ \| (.+) \|$", read(REFERENCE / "acceptance.md"), re.MULTILINE
    ):
        for name in re.findall(r"`([^`]+)`", cell):
            path = ROOT / name
            if not path.exists() or not re.search(rf'row\([^)]*"{row}"', read(path)):
                wrong.append(f"{row}: {name}")
    assert not wrong
