"""Reading of config.json: values are checked, and every error names the field."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import BarqueError, InvalidArgument, NotImplemented
from barque_runtime_native.jsontext import dumps, loads
from barque_runtime_native.process.capabilities import ALL, NUMBERS, CapabilitySets
from barque_runtime_native.process.process import Process
from barque_runtime_native.spec import REFUSED, Section, check_version, refuse_unsupported
from barque_runtime_native.state import check_id


def process(**changes):
    return Process(Section({"args": ["true"], "cwd": "/", **changes}, "process"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"args": []}, "process.args"),
        ({"args": None}, "process.args"),
        ({"args": ["a\0b"]}, "process.args"),
        ({"args": "true"}, "process.args"),
        ({"cwd": ""}, "process.cwd"),
        ({"cwd": "tmp"}, "process.cwd"),
        ({"env": ["NOVALUE"]}, "process.env"),
        ({"env": ["=x"]}, "process.env"),
        ({"user": {"uid": -1}}, "process.user.uid"),
        ({"user": {"uid": 4294967295}}, "process.user.uid"),
        ({"user": {"uid": "0"}}, "process.user.uid"),
        ({"user": {"uid": True}}, "process.user.uid"),
        ({"user": {"gid": 4294967296}}, "process.user.gid"),
        ({"user": {"additionalGids": [4294967295]}}, "process.user.additionalGids"),
        ({"user": []}, "process.user"),
        ({"terminal": 1}, "process.terminal"),
        ({"oomScoreAdj": 1001}, "process.oomScoreAdj"),
        ({"rlimits": [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]}, "process.rlimits[0].type"),
        ({"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}, "process.rlimits[0]"),
        ({"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}, "process.rlimits[1].type"),
        ({"capabilities": {"bounding": "CAP_KILL"}}, "process.capabilities.bounding"),
        ({"capabilities": {"effective": [1]}}, "process.capabilities.effective"),
        ({"apparmorProfile": 5}, "process.apparmorProfile"),
        ({"scheduler": {"policy": "SCHED_NONSENSE"}}, "process.scheduler.policy"),
        ({"scheduler": {"nice": 1}}, "process.scheduler.policy"),
        ({"ioPriority": {"priority": 4}}, "process.ioPriority.class"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "process.ioPriority.priority"),
    ],
)
def test_wrong_value_names_its_field(changes, field):
    with pytest.raises(InvalidArgument) as raised:
        process(**changes)
    assert raised.value.message.startswith(field)


@pytest.mark.row("S10")
def test_uid_minus_one_never_means_root():
    with pytest.raises(InvalidArgument, match="uid"):
        process(user={"uid": 2**32 - 1})


def test_last_of_two_variables_wins():
    assert process(env=["A=1", "B=x=y", "A=2"]).environment() == {"A": "2", "B": "x=y"}


def test_umask_defaults_to_022():
    assert process().umask == 0o022
    assert process(user={"umask": 0}).umask == 0


@pytest.mark.parametrize("path", REFUSED, ids=".".join)
def test_field_that_is_not_honoured_is_refused_by_name(path):
    document = value = {}
    for key in path[:-1]:
        value[key] = value = {}
    value[path[-1]] = "set"
    with pytest.raises(NotImplemented, match=r"\.".join(path)):
        refuse_unsupported(Section(document))


@pytest.mark.parametrize("empty", [None, "", {}, []])
def test_empty_field_is_not_refused(empty):
    refuse_unsupported(
        Section({"windows": empty, "linux": {"intelRdt": empty}, "process": {"user": {"username": empty}}})
    )


@pytest.mark.parametrize("version", ["", "2.0.0", "0.9", None])
def test_other_version_is_refused(version):
    with pytest.raises(InvalidArgument, match="ociVersion"):
        check_version(Section({"ociVersion": version}))


def test_capabilities_unset_means_all_for_root_and_none_for_others():
    assert process().capabilities.effective == ALL
    other = process(user={"uid": 1000}).capabilities
    assert (other.bounding, other.permitted, other.effective) == (ALL, 0, 0)


def test_capability_that_cannot_be_granted_is_left_out():
    names = ["CAP_KILL", "CAP_SYS_RESOURCE"]
    sets = CapabilitySets(Section(dict.fromkeys(("bounding", "permitted", "effective"), names), "c"))
    sets.limit_to(ALL & ~(1 << NUMBERS["CAP_SYS_RESOURCE"]))
    assert sets.effective == sets.permitted == sets.bounding == 1 << NUMBERS["CAP_KILL"]


def test_ambient_capability_that_is_not_inheritable_is_left_out():
    """runc spec writes such a configuration."""
    names = ["CAP_KILL"]
    sets = CapabilitySets(Section({"permitted": names, "effective": names, "ambient": names}, "c"))
    assert (sets.permitted, sets.ambient) == (1 << NUMBERS["CAP_KILL"], 0)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a\n", "é", "x" * 1025])
def test_id_that_is_no_plain_name_is_refused(name):
    with pytest.raises(InvalidArgument):
        check_id(name)


def test_usual_ids_are_taken():
    for name in ("a", "0f" * 32, "a.b-c_d+e"):
        check_id(name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_json_text_is_read_as_the_json_module_reads_it(value):
    assert loads(json.dumps(value).encode()) == value
    assert json.loads(dumps(value)) == value
    assert json.loads(dumps(value, indent=True)) == value


@given(st.binary(max_size=40))
def test_bytes_are_json_or_a_value_error(data):
    try:
        expected = json.loads(data.decode("utf-8"))
    except ValueError:
        expected = None
    try:
        assert loads(data) == expected or expected != expected
    except ValueError:
        assert expected is None or "NaN" in repr(expected) or "inf" in repr(expected) or expected != expected


@pytest.mark.row("R41")
@given(json_values)
def test_any_document_as_process_is_read_or_refused(value):
    try:
        Process(Section({"process": value}).section("process"))
    except BarqueError:
        return
    assert value["args"]
