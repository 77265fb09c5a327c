"""Each failpoint of the engine is one at which some test kills the daemon (row R3), and no test waits for one that is gone."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [path for place in ("core", "plugins") for path in (ROOT / place).rglob("*.py")]


def calls():
    """Each call of `failpoints.hit`."""
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if "failpoints.hit(" in text:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.hit":
                    yield path, node


def hit():
    return [node.args[0].value for _, node in calls()]


def tried():
    """The words of the tests that set failpoints, less what they do there."""
    for path in (ROOT / "tests" / "e2e").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "BARQUE_FAILPOINT" in text:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value.partition(":")[0]


def test_each_has_a_literal_name_of_its_own():
    for path, node in calls():
        assert [type(arg) for arg in node.args] == [ast.Constant], f"{path}:{node.lineno}"
    assert len(hit()) == len(set(hit()))


def test_each_is_tried():
    assert set(hit()) - set(tried()) == set()


def test_the_operations_of_the_row_have_some():
    operations = {name.partition(".")[0] for name in hit()}
    assert operations >= {
        "create",
        "start",
        "exit",
        "remove",
        "rename",
        "pull",
        "image",
        "commit",
        "network",
        "volume",
    }
