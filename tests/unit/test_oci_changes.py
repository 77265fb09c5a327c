"""`--change`: Dockerfile instructions applied to a run config. Expected values were compared with dockerd 20.10's."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.oci.changes import apply_changes
from barque.spi.errors import InvalidArgument


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b"]', {"Cmd": ["a", "b"]}),
        ('CMD echo $HOME  "x y"', {"Cmd": ["/bin/sh", "-c", 'echo $HOME  "x y"']}),
        ('cmd [ "a"', {"Cmd": ["/bin/sh", "-c", '[ "a"']}),
        ("CMD", {"Cmd": ["/bin/sh", "-c"]}),
        ("CMD a \\\n  b", {"Cmd": ["/bin/sh", "-c", "a   b"]}),
        ('ENTRYPOINT ["x"]', {"Entrypoint": ["x"], "Cmd": None}),
        ("ENTRYPOINT []", {"Entrypoint": None, "Cmd": None}),
        ("ENTRYPOINT b\nCMD a", {"Entrypoint": ["/bin/sh", "-c", "b"], "Cmd": ["/bin/sh", "-c", "a"]}),
        ("CMD a\nENTRYPOINT b", {"Entrypoint": ["/bin/sh", "-c", "b"], "Cmd": ["/bin/sh", "-c", "a"]}),
        ('ENV a=1 b="x y" c=x\\ y', {"Env": ["a=1", "b=x y", "c=x y"]}),
        ("ENV a hello   world", {"Env": ["a=hello   world"]}),
        ("ENV a=1\n# comment\n\nENV b=2", {"Env": ["a=1", "b=2"]}),
        ("ENV a=1 \\\n# within\n  b=2", {"Env": ["a=1", "b=2"]}),
        ("ENV a=1\nENV a=2 b=$a", {"Env": ["a=2", "b=1"]}),
        ("ENV a=$X b=${a:-d} c=${a:+e} d=$ f='$a'", {"Env": ["a=", "b=d", "c=", "d=$", "f=$a"]}),
        ('ENV a="\\$x \\q \\" \\\\"', {"Env": ['a=$x \\q " \\']}),
        ("LABEL a b c", {"Labels": {"a": "b c"}}),
        ('LABEL "a b"=c d=\'e f\' g=""', {"Labels": {"a b": "c", "d": "e f", "g": ""}}),
        ("EXPOSE 80", {"ExposedPorts": {"80/tcp": {}}}),
        ("EXPOSE 53/udp 80-81", {"ExposedPorts": {"53/udp": {}, "80/tcp": {}, "81/tcp": {}}}),
        ("EXPOSE 1.2.3.4:99:98", {"ExposedPorts": {"98/tcp": {}}}),
        ('ENV P="80 81"\nEXPOSE $P', {"Env": ["P=80 81"], "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}}),
        ("onbuild   run x", {"OnBuild": ["run x"]}),
        ("STOPSIGNAL SIGTERM", {"StopSignal": "SIGTERM"}),
        ("STOPSIGNAL 9", {"StopSignal": "9"}),
        ("STOPSIGNAL SIGRTMIN+3", {"StopSignal": "SIGRTMIN+3"}),
        ("USER bob:staff", {"User": "bob:staff"}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ('VOLUME ["/a b"]', {"Volumes": {"/a b": {}}}),
        ("WORKDIR /a\nWORKDIR b", {"WorkingDir": "/a/b"}),
        ("WORKDIR x", {"WorkingDir": "/x"}),
        ("WORKDIR /a\nWORKDIR ../../../etc", {"WorkingDir": "/etc"}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        ("HEALTHCHECK CMD a b", {"Healthcheck": {"Test": ["CMD-SHELL", "a b"]}}),
        (
            'HEALTHCHECK --interval=5s --retries=3 --timeout=1m30s --start-period=1.5s CMD ["a"]',
            {
                "Healthcheck": {
                    "Test": ["CMD", "a"], "Interval": 5_000_000_000, "Retries": 3,
                    "Timeout": 90_000_000_000, "StartPeriod": 1_500_000_000,
                }
            },
        ),
    ],
)  # fmt: skip
def test_instruction(change, expected):
    assert apply_changes({}, [change]) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("FOO bar", "foo is not a valid change command"),
        ("RUN rm -rf /", "run is not a valid change command"),
        ("ENV a=1\nFROM x", "from is not a valid change command"),
        ("", "file with no instructions"),
        ("# nothing", "file with no instructions"),
        ("CMD [1, 2]", "arrays must be comprised of strings only"),
        ("CMD --foo x", "Unknown flag: foo"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV =x", "ENV names can not be blank"),
        ("ENV a=1 b", 'can\'t find = in "b". Must be of the form: name=value'),
        ("ENV a='x", "looking for matching single-quote"),
        ('ENV a="x', "looking for matching double-quote"),
        ("ENV a=${}", "bad substitution"),
        ("ENV a=${x:=y}", "unsupported modifier (=) in substitution"),
        ("ENV a=" + "${a:-" * 2000, "too many substitutions"),
        ("LABEL =c", "LABEL names can not be blank"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("EXPOSE foo", "Invalid containerPort: foo"),
        ("EXPOSE 80/foo", "Invalid proto: foo"),
        ("EXPOSE 99999", "Invalid containerPort: 99999"),
        ("EXPOSE 90-80", "Invalid containerPort: 90-80"),
        ("EXPOSE " + "9" * 5000, "Invalid containerPort"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("STOPSIGNAL foo", "Invalid signal: foo"),
        ("STOPSIGNAL 99", "Invalid signal: 99"),
        ("USER", "USER requires exactly one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ('WORKDIR ""', "cannot normalize nothing"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK FOO x", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --foo=1 CMD x", "Unknown flag: foo"),
        ("HEALTHCHECK --interval CMD x", "Missing a value on flag: interval"),
        ("HEALTHCHECK --interval=5 CMD x", 'missing unit in duration "5"'),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --interval=1s --interval=2s CMD x", "Duplicate flag specified: interval"),
        ("HEALTHCHECK --retries=x CMD x", 'parsing "x": invalid syntax'),
    ],
)
def test_refused(change, message):
    with pytest.raises(InvalidArgument) as caught:
        apply_changes({}, [change])
    assert message in caught.value.message


def test_what_is_not_changed_stays_and_the_given_config_too():
    config = {
        "Env": ["A=1", "PATH=/bin"],
        "Cmd": ["x"],
        "Labels": {"a": "b"},
        "User": "u",
        "Shell": ["/bin/bash", "-c"],
    }
    before = {key: value.copy() if hasattr(value, "copy") else value for key, value in config.items()}
    changed = apply_changes(config, ["ENV A=2", "LABEL c=$PATH", "CMD run"])
    assert changed == {
        "Env": ["A=2", "PATH=/bin"], "Cmd": ["/bin/bash", "-c", "run"], "Labels": {"a": "b", "c": "/bin"},
        "User": "u", "Shell": ["/bin/bash", "-c"],
    }  # fmt: skip
    assert config == before


def test_no_change_is_a_copy():
    config = {"Env": ["A=1"]}
    copy = apply_changes(config, [])
    assert copy == config
    copy["Env"].append("B=2")
    assert config == {"Env": ["A=1"]}


_NAMES = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8).filter(
    lambda name: not name[0].isdigit()
)
_VALUES = st.text(st.characters(blacklist_characters="\n\r\x00", blacklist_categories=("Cs",)), max_size=20)


@given(st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=5))
def test_single_quotes_keep_every_character(variables):
    quoted = " ".join(f"{name}='{value}'" for name, value in variables.items() if "'" not in value)
    expected = {name: value for name, value in variables.items() if "'" not in value}
    if expected:
        assert apply_changes({}, [f"LABEL {quoted}"])["Labels"] == expected


@given(_NAMES, _VALUES)
def test_double_quotes_with_escapes_keep_every_character(name, value):
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert apply_changes({}, [f'ENV {name}="{escaped}"'])["Env"] == [f"{name}={value}"]


@given(st.lists(st.sampled_from("CMD ENV LABEL EXPOSE VOLUME WORKDIR USER ONBUILD HEALTHCHECK ENTRYPOINT".split()), min_size=1, max_size=3),
       st.text(st.sampled_from("ab=\"'$\\{}[]:- \t\n#/,1é\ud800"), max_size=40))  # fmt: skip
def test_any_text_is_applied_or_refused(instructions, rest):
    # Nothing but InvalidArgument may come out, whatever the text.
    with contextlib.suppress(InvalidArgument):
        assert isinstance(apply_changes({}, [f"{name} {rest}" for name in instructions]), dict)
