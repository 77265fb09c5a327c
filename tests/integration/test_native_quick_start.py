"""`barque-runtime` started by the program and the bundle that its first call leaves behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from barque.testing import need
from barque_runtime_native import command
from barque_runtime_native.command import interpreter
from barque_runtime_native.interpreter import bundle, quick_start
from barque_runtime_native.interpreter.trampoline import program

pytestmark = pytest.mark.root

SCRIPT = Path(command.__file__).parents[1] / "scripts/barque-runtime"


def execute(data, path, *arguments, **options):
    path.write_bytes(data)
    path.chmod(0o700)
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=30, **options)


def test_arguments_and_environment_arrive(tmp_path):
    show = "import os, sys; print(sys.argv[1:], os.environ['WORD'], sys.flags.isolated)"
    done = execute(
        program(interpreter(show), ["/bin/false"]), tmp_path / "go", "a b", "", "-c", env={"WORD": "here"}
    )
    assert done.stdout == "['a b', '', '-c'] here 1\n", done.stderr


def test_without_arguments(tmp_path):
    done = execute(program(interpreter("import sys; print(sys.argv)"), ["/bin/false"]), tmp_path / "go")
    assert done.stdout == "['-c']\n"


@pytest.mark.row("S1")
def test_the_interpreter_cannot_be_written_through_its_own_exe(tmp_path):
    host = tmp_path / "busybox"
    shutil.copy(need.tool("busybox"), host)
    # held open, then written to when it runs no more: before that the kernel says ETXTBSY
    attack = ["sh", "-c", "exec 9</proc/self/exe; exec /bin/dash -c ': >/proc/self/fd/9'"]
    done = execute(program([str(host), *attack], ["/bin/false"]), tmp_path / "go")
    assert "Read-only file system" in done.stderr
    assert host.stat().st_size > 0
    subprocess.run([host, *attack], check=True)
    assert host.stat().st_size == 0, (
        "the attack does not work without the protection: this test proves nothing"
    )


def test_an_interpreter_that_is_gone(tmp_path):
    go = program(["/nothing/python", "-c", "x"], ["/bin/echo", "--started-as=me"])
    assert execute(go, tmp_path / "go", "list").stdout == "--started-as=me list\n"


@pytest.fixture
def installed(tmp_path):
    """A script with what it calls first, and a directory for what that leaves behind; `call(…)` runs the script."""
    binary, left = tmp_path / "bin", tmp_path / "run"
    binary.mkdir()
    script = binary / "barque-runtime"
    script.write_text(SCRIPT.read_text().replace(quick_start.DIRECTORY, str(left)))
    script.chmod(0o755)
    package = tmp_path / "package"
    shutil.copytree(Path(command.__file__).parent, package / "barque_runtime_native")
    source = package / "barque_runtime_native/interpreter/quick_start.py"
    source.write_text(source.read_text().replace(quick_start.DIRECTORY, str(left)))
    first = binary / "barque-runtime-first"
    paths = [str(package), *command.import_paths()]
    first.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = {paths}\nprint('first')\nsys.stdout.flush()\n"
        "from barque_runtime_native.command import main\nmain()\n"
    )
    first.chmod(0o755)

    def call(*arguments, script=script):
        done = subprocess.run([script, *arguments], capture_output=True, text=True, timeout=60)
        assert not done.stderr
        assert not done.returncode
        return done.stdout

    call.script, call.left, call.package = script, left, package
    return call


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the trampoline is x86-64 code")
def test_the_second_call_starts_by_the_trampoline(installed):
    assert installed("--version").startswith("first\nbarque-runtime version ")
    assert installed("--version").startswith("barque-runtime version ")
    name = str(installed.script).replace("/", ",")
    assert {path.name for path in installed.left.iterdir()} == {name, f"{name}.code"}
    assert installed.left.stat().st_mode & 0o777 == 0o700
    assert installed("--root", str(installed.left / "none"), "list", "-q") == ""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the trampoline is x86-64 code")
def test_a_changed_module_is_loaded_anew(installed):
    installed("--version")
    module = installed.package / "barque_runtime_native/commands/line.py"
    module.write_text(module.read_text().replace("def run(", "print('changed')\n\n\ndef run("))
    assert installed("--version").startswith("changed\nbarque-runtime version ")
    assert installed("--version").startswith("first\nchanged\nbarque-runtime version ")
    assert installed("--version").startswith("changed\nbarque-runtime version ")


def test_a_light_os_is_as_good_as_the_whole(monkeypatch):
    light_then_whole = """
import sys
sys.path += {paths!r}
from barque_runtime_native.interpreter import loader
sys.modules.pop("os", None), sys.modules.pop("os.path", None)
loader.use_light_os()
import os
assert type(os) is loader.LightOs
assert os.fsdecode(os.fsencode("\\udcff")) == "\\udcff" and os.environ["WORD"] == "here"
assert os.path.join("a", "b") == "a/b" and os.open("/", os.O_RDONLY) > 2
assert "walk" not in vars(os) and not hasattr(os, "__nothing__")
from os import walk, makedirs
import os as again, subprocess
assert again is os and os.walk is walk and "PathLike" in vars(os)
os.environ["WORD"] = "there"
print(subprocess.run(["/bin/sh", "-c", "echo $WORD"], capture_output=True, text=True).stdout, end="")
"""
    monkeypatch.setenv("WORD", "here")
    code = light_then_whole.format(paths=command.import_paths())
    done = subprocess.run(
        ["/usr/bin/env", sys.executable, "-ISE", "-c", code], capture_output=True, text=True
    )
    assert done.stdout == "there\n", done.stderr


def test_an_order_has_each_module_after_what_it_imports():
    sources = dict(bundle.modules(command.import_paths()))
    order = bundle.order_of([bundle.LINE, bundle.ORDERED["run"]], sources)
    assert order.index("barque.spi.errors") < order.index("barque_runtime_native.plan")
    assert order.index("barque_runtime_native.kernel") < order.index("barque_runtime_native.kernel.syscalls")
    assert order[-1] == bundle.ORDERED["run"]
    assert "barque_runtime_native.cgroup.systemd" not in order  # imported in a function


def test_a_link_to_the_script_has_a_start_of_its_own(installed, tmp_path):
    link = tmp_path / "runc"
    link.symlink_to(installed.script)
    assert installed("--version", script=link).startswith("first\n")
    assert installed("--version", script=link).startswith("barque-runtime version ")


@pytest.mark.parametrize(("owner", "mode"), [(65534, 0o700), (0, 0o770), (0, 0o777)])
def test_a_directory_that_others_can_write_to_is_not_used(tmp_path, owner, mode):
    directory = tmp_path / "start"
    directory.mkdir()
    directory.chmod(mode)
    os.chown(directory, owner, owner)
    script = tmp_path / "barque-runtime"
    first = tmp_path / "barque-runtime-first"
    first.touch(0o755)
    quick_start.prepare(str(script), str(directory))
    assert list(directory.iterdir()) == []
