"""The command line of barque-runtime: options as runc's, documents, errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from barque.spi.errors import InvalidArgument, NotImplemented
from barque_runtime_native.commands import help as command_help
from barque_runtime_native.commands import help_texts as command_help_texts
from barque_runtime_native.commands import line as command_line
from barque_runtime_native.commands.control import signal_number
from barque_runtime_native.commands.exec import process_of
from barque_runtime_native.commands.list import lines_about
from barque_runtime_native.commands.log import as_json, as_text
from barque_runtime_native.commands.options import COMMANDS, GLOBAL, SHORT, UsageError, parse
from barque_runtime_native.commands.spec import example, make_rootless
from barque_runtime_native.mounts.options import MountOptions
from barque_runtime_native.plan import Plan
from barque_runtime_native.process.capabilities import NUMBERS
from barque_runtime_native.spec import Section, check_version, refuse_unsupported


def test_as_containerd_calls_create():
    words = "--root /r --log /l --log-format json create --bundle /b --pid-file /p --no-pivot id".split()
    options = parse(words, GLOBAL, SHORT[""])
    assert options.values == {"root": "/r", "log": "/l", "log-format": "json"}
    given = parse(options.words[1:], COMMANDS["create"], SHORT["create"])
    assert given.values == {"bundle": "/b", "pid-file": "/p"}
    assert given.flags == {"no-pivot"}
    assert given.words == ["id"]


def test_forms_of_an_option():
    table, short = COMMANDS["exec"], SHORT["exec"]
    assert parse(["--cwd=/x", "c", "ls", "-l"], table, short).words == ["c", "ls", "-l"]
    assert parse(["-cwd", "/x", "c"], table, short).values == {"cwd": "/x"}
    assert parse(["-e", "A=1", "--env", "B=2", "c"], table, short).many == {"env": ["A=1", "B=2"]}
    assert parse(["--tty=false", "-d", "c"], table, short).flags == {"detach"}
    assert parse(["--", "-c"], table, short).words == ["-c"]


@pytest.mark.parametrize("words", [["--nonsense"], ["--bundle"], ["-x"]])
def test_wrong_option(words):
    with pytest.raises(UsageError):
        parse(words, COMMANDS["create"], SHORT["create"])


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN+1", 35), ("0", 0)]
)
def test_signals(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "NOPE", "65", "-1", "RTMIN+x"])
def test_unknown_signal(text):
    with pytest.raises(InvalidArgument, match="signal"):
        signal_number(text)


def test_exec_takes_the_containers_process_and_changes_it():
    own = {"args": ["sh"], "env": ["A=1"], "cwd": "/", "user": {"uid": 5, "gid": 6}, "terminal": True}
    given = parse(
        ["-u", "7:8", "-e", "B=2", "--cwd", "/x", "-g", "9", "c", "ls", "-l"], COMMANDS["exec"], SHORT["exec"]
    )
    assert process_of(own, given) == {
        "args": ["ls", "-l"],
        "env": ["A=1", "B=2"],
        "cwd": "/x",
        "terminal": False,
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
    }


@pytest.mark.row("S10")
@pytest.mark.parametrize("user", ["root", "-1", "0x0", "1:x", "٠", ""])
def test_exec_user_must_be_a_number(user):
    given = parse([f"--user={user}", "c", "ls"], COMMANDS["exec"], SHORT["exec"])
    if not user:
        assert process_of({"user": {"uid": 5}}, given)["user"] == {"uid": 5}
        return
    with pytest.raises(InvalidArgument, match="parsing"):
        process_of({}, given)


def test_example_can_be_planned(tmp_path):
    (tmp_path / "rootfs").mkdir()
    config = example(terminal=False)
    check_version(Section(config))
    refuse_unsupported(Section(config))
    plan = Plan("id", str(tmp_path), config)
    assert any("mount proc on /proc" in line for line in plan.describe())


# the members of features-linux.json and features-schema.json of the specification, and what may be in them
BOOLEAN = (bool, None)
FEATURES = {
    "ociVersionMin": (str, {"1.0.0"}),
    "ociVersionMax": (str, {"1.2.0"}),
    "hooks": (list, {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}),
    "mountOptions": (list, None),
    "annotations": (dict, None),
    "potentiallyUnsafeConfigAnnotations": (list, None),
    "linux.namespaces": (list, {"mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time"}),
    "linux.capabilities": (list, set(NUMBERS)),
    **{f"linux.cgroup.{name}": BOOLEAN for name in ("v1", "v2", "systemd", "systemdUser", "rdma")},
    "linux.seccomp.enabled": BOOLEAN,
    "linux.seccomp.actions": (list, {
        f"SCMP_ACT_{name}"
        for name in "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP".split()
    }),
    "linux.seccomp.operators": (list, {
        f"SCMP_CMP_{name}" for name in "NE LT LE EQ GE GT MASKED_EQ".split()
    }),
    "linux.seccomp.archs": (list, {
        f"SCMP_ARCH_{name}"
        for name in "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC "
        "PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB".split()
    }),
    "linux.seccomp.knownFlags": (list, {
        f"SECCOMP_FILTER_FLAG_{name}" for name in "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV".split()
    }),
    "linux.seccomp.supportedFlags": (list, {
        f"SECCOMP_FILTER_FLAG_{name}" for name in "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV".split()
    }),
    # not in that version of the schema: runtime-spec 1.3
    "linux.memoryPolicy.modes": (list, {
        f"MPOL_{name}" for name in "DEFAULT BIND INTERLEAVE WEIGHTED_INTERLEAVE PREFERRED PREFERRED_MANY LOCAL".split()
    }),
    "linux.memoryPolicy.flags": (list, {
        f"MPOL_F_{name}" for name in "NUMA_BALANCING RELATIVE_NODES STATIC_NODES".split()
    }),
    **{
        f"linux.{name}.enabled": BOOLEAN
        for name in ("apparmor", "selinux", "intelRdt", "mountExtensions.idmap", "netDevices")
    },
}  # fmt: skip


def leaves(value, path=""):
    """(path, value) of everything that is no section."""
    for key, member in value.items():
        where = f"{path}{key}"
        if isinstance(member, dict) and where != "annotations":
            yield from leaves(member, f"{where}.")
        else:
            yield where, member


@pytest.fixture
def features(capsys):
    assert command_line.run(["features"]) == 0
    return json.loads(capsys.readouterr().out)


def test_features_are_those_of_the_schema(features):
    for path, value in leaves(features):
        assert path in FEATURES, path
        kind, allowed = FEATURES[path]
        assert isinstance(value, kind), path
        if allowed:
            assert set(value if kind is list else [value]) <= allowed, path
    assert {path for path, _ in leaves(features)} >= FEATURES.keys() - {"potentiallyUnsafeConfigAnnotations"}
    assert all(isinstance(value, str) for value in features["annotations"].values())


def test_features_are_what_the_code_takes(features):
    """Each mount option is understood; each section that is enabled is not refused in a configuration."""
    for option in features["mountOptions"]:
        assert not MountOptions([option], "mounts").data, option
    assert {"bind", "rbind", "ro", "rro", "noexec", "rprivate", "tmpcopyup"} <= set(features["mountOptions"])
    assert "size=1m" not in features["mountOptions"]
    for name, value in (("intelRdt", {"closID": "x"}), ("netDevices", {"eth0": {}})):
        try:
            refuse_unsupported(Section({"linux": {name: value}}))
        except NotImplemented:
            assert features["linux"][name] == {"enabled": False}
        else:
            assert features["linux"][name] == {"enabled": True}


@pytest.mark.parametrize(
    ("words", "status"),
    [(["nonsense"], 3), (["--nonsense", "list"], 1), (["state"], 1), (["start", "a", "b"], 1), (["exec"], 1),
     (["kill"], 1), (["--rootless", "perhaps", "list"], 1), (["--log-format", "yaml", "list"], 1)],
)  # fmt: skip
def test_wrong_command_line_fails(words, status, capfd):
    assert command_line.run(words) == status
    assert capfd.readouterr().err


def test_known_options_may_follow_the_words():
    given = parse(["c", "--force"], COMMANDS["delete"], SHORT["delete"], permute=True)
    assert (given.words, given.flags) == (["c"], {"force"})
    given = parse(["c", "-1"], COMMANDS["kill"], SHORT["kill"], permute=True)
    assert given.words == ["c", "-1"]
    given = parse(["c", "--", "--force"], COMMANDS["delete"], SHORT["delete"], permute=True)
    assert (given.words, given.flags) == (["c", "--force"], set())


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(name, capsys):
    """Every command and option is explained, in usage, options and examples."""
    assert command_line.run([name, "--help"] if name else ["--help"]) == 0
    text = capsys.readouterr().out
    assert text == command_help.help_of(name)
    assert text.startswith("NAME:\n   barque-runtime")
    assert "\nUSAGE:\n   barque-runtime " in text
    table = COMMANDS[name] if name else GLOBAL
    for option in table:
        assert re.search(rf"^   --{option}[ ,]", text, re.MULTILINE), option
    if name:
        assert command_line.run(["help", name]) == 0
        assert capsys.readouterr().out == text
        assert f"   {name} " in command_help.help_of("")
        assert (
            name in ("features",)
            or f"   # barque-runtime {name}" in text
            or f"barque-runtime {name} " in text
        )
    else:
        assert command_line.run([]) == 0


def test_every_help_text_has_its_option():
    """None is left of an option that is gone."""
    options = {option for table in COMMANDS.values() for option in table}
    assert set(command_help_texts.OPTION_TEXTS) <= options
    for name, text in command_help_texts.COMMAND_TEXTS.items():
        assert set(text.options) <= set(COMMANDS[name]) | ({"quiet"} if name == "ps" else set())
    assert set(command_help_texts.GLOBAL_TEXTS) | {"help"} == set(GLOBAL)


def test_version_is_what_engines_read(capsys):
    assert command_line.run(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"barque-runtime version \d+\.\d+\.\d+", lines[0])
    assert "spec: 1.2.0" in lines


def test_rootless_example_maps_the_caller():
    document = example()
    make_rootless(document, 1000, 1001)
    assert document["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert document["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 1001, "size": 1}]
    kinds = {each["type"] for each in document["linux"]["namespaces"]}
    assert "user" in kinds
    assert "network" not in kinds
    assert "resources" not in document["linux"]
    assert not [
        option for each in document["mounts"] for option in each.get("options", ()) if "gid=" in option
    ]


def test_ps_lines_are_those_of_the_pids():
    lines = ["UID PID CMD", "0 1 init", "0 12 sh -c 1", "0 123 1"]
    assert lines_about([1, 123], lines) == [lines[0], lines[1], lines[3]]
    with pytest.raises(InvalidArgument, match="PID"):
        lines_about([1], ["UID CMD", "0 1"])


def test_log_lines_cannot_be_forged():
    """A message with a line end or a quote stays one line of one entry."""
    evil = 'x"\ntime="2026" level=info msg="fine'
    assert as_text("error", evil).count("\n") == 0
    assert 'msg="x\\"\\ntime=' in as_text("error", evil)
    assert json.loads(as_json("error", evil))["msg"] == evil


def test_without_a_log_json_goes_to_standard_error(capfd, tmp_path):
    assert command_line.run(["--root", str(tmp_path), "--log-format", "json", "state", "nobody"]) == 1
    assert json.loads(capfd.readouterr().err)["msg"] == "container does not exist: nobody"


def test_a_log_that_cannot_be_written_is_told(capfd, tmp_path):
    log = tmp_path / "no/such/log"
    assert command_line.run(["--root", str(tmp_path), "--log", str(log), "state", "nobody"]) == 1
    error = capfd.readouterr().err
    assert f"--log {log}: No such file or directory" in error
    assert "container does not exist: nobody\n" in error


@pytest.mark.parametrize("kind", ["json", "text"])
def test_error_goes_to_the_log(kind, capsys, tmp_path):
    log = tmp_path / "log"
    root = str(tmp_path / "root")
    assert command_line.run(["--root", root, "--log", str(log), "--log-format", kind, "state", "nobody"]) == 1
    text = log.read_text()
    if kind == "json":
        document = json.loads(text)
        assert document["level"] == "error"
        assert document["msg"] == "container does not exist: nobody"
    else:
        assert 'level=error msg="container does not exist: nobody"' in text


def test_list_of_nothing(capsys, tmp_path):
    assert command_line.run(["--root", str(tmp_path / "none"), "list"]) == 0
    assert capsys.readouterr().out.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert command_line.run(["--root", str(tmp_path / "none"), "list", "-f", "json"]) == 0
    assert capsys.readouterr().out == "null\n"


def test_cold_start_imports_nothing_heavy():
    """What takes milliseconds: argparse, json, re, typing, dataclasses, enum, subprocess, socket."""
    code = (
        "import sys; sys.path[:0] = {paths!r}; from barque_runtime_native.commands import create, exec;"
        "heavy = sorted({{'argparse', 'json', 're', 'typing', 'dataclasses', 'enum', 'subprocess', 'socket', 'signal',"
        " 'contextlib', 'functools', 'collections', 'inspect', 'ctypes', 'types'}} & set(sys.modules)); print(heavy)"
    )
    import barque
    import barque_runtime_native

    paths = [os.path.dirname(os.path.dirname(module.__file__)) for module in (barque, barque_runtime_native)]
    result = subprocess.run(
        [sys.executable, "-ISE", "-c", code.format(paths=paths)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
