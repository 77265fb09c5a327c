"""Each operation of Docker's description is called on a real daemon, and each answer is held against its schema."""

import collections
import re
import tempfile
from pathlib import Path

import pytest
from api_parity_session import session
from api_recorder import Recorder
from api_schema import Specification
from api_swagger_walk import walk
from images_lab import registry_in

from barque.testing.daemon import Daemon
from barque.testing.registry import Tokens

pytestmark = pytest.mark.root

WALKED = {"Container", "Exec", "Image", "Network", "Volume", "System", "Distribution", "Plugin", "Session"}
SWARM = {"Swarm", "Node", "Service", "Task", "Secret", "Config"}

# Where the description is not what dockerd sends.
CORRECTIONS = {
    "ErrorResponse": {
        "type": "object", "required": ["message"], "additionalProperties": False,
        "properties": {"message": {"type": "string"}, "hint": {"type": "string"}},  # the hint is Barque's
    },
    # For clients from before 1.22, which dockerd goes on to serve.
    "EventMessage.status": {"type": "string"}, "EventMessage.id": {"type": "string"}, "EventMessage.from": {"type": "string"},
    "PushImageInfo.id": {"type": "string"},
    "PushImageInfo.aux": {"type": "object"},
    # A string, `docker.volumedriver/1.0`: the description has its parts.
    "PluginInterfaceType": {"type": "string", "pattern": r"^[a-z]+\.[a-z]+/\d\.\d$"},
}  # fmt: skip
# Members that are null in dockerd's answers, against the description.
NULL = {
    ("ContainerInspect", "HostConfig/MemorySwappiness"): "none was asked for",
    ("ExecInspect", "ExitCode"): "it has not ended",
}
LINES = {"SystemEvents": "EventMessage", "ImageCreate": "CreateImageInfo", "ImagePush": "PushImageInfo"}

OUTSIDE = "outside a swarm only 503 and what is wrong with the request is answered"
NO_MANAGED = "Barque has no managed plugins that could be installed, changed or removed"
# Documented answers that the walk does not meet.
NOT_MET = {
    ("ContainerAttachWebsocket", 200): "an answer of a client that cannot be one of websockets",
    ("ContainerDelete", 400): "dockerd's answer to parameters that do not go together",
    ("ImageBuild", 200): "not built here",
    ("ImageBuild", 400): "not built here",
    ("ImagePush", 404): "told in the stream, as by dockerd",
    ("ImageTag", 409): "a name may always be given to another image",
    ("SystemAuth", 204): "dockerd has not sent it for ten years",
    ("NetworkDisconnect", 403): "for networks of swarms",
    ("VolumeUpdate", 200): OUTSIDE,
    ("VolumeUpdate", 400): OUTSIDE,
    ("VolumeUpdate", 404): OUTSIDE,
    ("GetPluginPrivileges", 200): NO_MANAGED,
    ("PluginPull", 204): NO_MANAGED,
    ("PluginDelete", 200): NO_MANAGED,
    ("PluginEnable", 200): NO_MANAGED,
    ("PluginDisable", 200): NO_MANAGED,
    ("PluginUpgrade", 204): NO_MANAGED,
    ("PluginUpgrade", 404): NO_MANAGED,
    ("PluginCreate", 204): NO_MANAGED,
    ("PluginPush", 200): NO_MANAGED,
    ("PluginSet", 204): NO_MANAGED,
    ("Session", 101): "BuildKit's",
    ("Session", 400): "BuildKit's",
}
# Answers that are not documented: what dockerd answers, too, and a few of ours.
ANYWHERE = {
    400: "a parameter that makes no sense",
    404: "something the request names",
    409: "a state that forbids it",
}
UNDOCUMENTED = {
    ("ContainerLogs", 501): "the log driver cannot be read",
    ("ExecStart", 101): "the protocol was switched, as the request asked",
    ("ImageBuild", 501): "not built here",
    ("Session", 501): "BuildKit's",
    ("ImageCreate", 503): "the registry does not answer",
    ("SwarmInit", 501): OUTSIDE,
    ("SwarmJoin", 501): OUTSIDE,
    **{(f"Plugin{verb}", 501): NO_MANAGED for verb in ("Pull", "Create", "Upgrade", "Push")},
    ("GetPluginPrivileges", 501): NO_MANAGED,
}


@pytest.fixture(scope="module")
def answers(lab, workspace):
    """All there is to judge, by operation."""
    daemon = Daemon(Path(tempfile.mkdtemp(dir=workspace)), lab)
    recorder = Recorder(daemon.socket, "1.51")
    with (
        registry_in(lab) as public,
        registry_in(lab, tokens=Tokens(basic=True, username="me", password="secret")) as private,
    ):
        try:
            daemon.start()
            session(recorder)
            walk(recorder, public, private)
            recorder.ask("GET", "/images/json")
        finally:
            daemon.close()
    return recorder.answers


@pytest.fixture(scope="module")
def specification():
    return Specification(CORRECTIONS)


@pytest.fixture(scope="module")
def by_operation(answers, specification):
    found = collections.defaultdict(list)
    for answer in answers.values():
        if operation := specification.operation(answer.method, answer.path):
            found[operation].append(answer)
    return found


def tag_of(specification, operation):
    return specification.operations[operation][2]["tags"][0]


def test_every_operation_is_walked(by_operation, specification):
    assert set(by_operation) == set(specification.operations)
    assert {tag_of(specification, one) for one in by_operation} == WALKED | SWARM


def test_every_documented_answer_is_met(by_operation, specification):
    met = {(name, answer.status) for name, found in by_operation.items() for answer in found}
    documented = {(name, status) for name in by_operation for status in specification.statuses(name)}
    missing = {
        one for one in documented - met if one[1] != 500 and tag_of(specification, one[0]) not in SWARM
    }
    assert missing == set(NOT_MET), "met, or to be met, or with a reason why not"
    walked = [name for name in by_operation if tag_of(specification, name) in WALKED]
    counted = [one for one in met & documented if one[0] in walked]
    print(
        f"\n{len(by_operation)} operations, {sum(map(len, by_operation.values()))} answers; of the {len(walked)} outside swarms"
    )
    print(f"{len(counted)} documented answers met, {len(missing)} not")


def test_no_operation_answers_what_nobody_expects(by_operation, specification):
    odd = {
        (name, answer.status, answer.step)
        for name, found in by_operation.items()
        for answer in found
        if answer.status not in specification.statuses(name)
        and answer.status not in ANYWHERE
        and (name, answer.status) not in UNDOCUMENTED
    }
    assert not odd


def test_outside_a_swarm_there_are_no_swarms(by_operation, specification):
    for name, found in by_operation.items():
        if tag_of(specification, name) in SWARM:
            assert {answer.status for answer in found} <= {400, 500, 501, 503}, name
            assert {answer.status for answer in found} & {501, 503}, name


def test_every_answer_is_as_the_schema_says(by_operation, specification):
    problems, judged = [], 0
    for name, found in by_operation.items():
        for answer in found:
            for document in documents(name, answer):
                judged += 1
                found_wrong = specification.problems(name, answer.status, document, LINES.get(name, ""))
                known = tuple(place for operation, place in NULL if operation == name)
                problems += [
                    f"{name} {answer.status} ({answer.step}): {one}"
                    for one in found_wrong
                    if not one.startswith(known)
                ]
    print(f"\n{judged} documents judged")
    assert not problems, "\n".join(problems)
    assert judged > 400


def documents(operation, answer):
    """What of an answer has a schema: one document, or each of a stream's."""
    if (
        answer.method == "HEAD"
        or "json" not in answer.headers.get("content-type", "")
        or not answer.body.strip()
    ):
        return []
    many = operation in ("SystemEvents", "ContainerStats", *LINES) and answer.status == 200
    return answer.lines if many else [answer.json]


def test_what_is_not_built_here_is_told_with_a_way_out(answers):
    built = answers["POST /build"]
    assert built.status == 501
    assert "load" in built.json["message"]
    assert answers["POST /session"].status == 501


def test_the_events_of_all_kinds_were_told(answers):
    types = {
        line["Type"]
        for answer in answers.values()
        if answer.path == "/events" and answer.status == 200
        for line in answer.lines
    }
    assert types == {"container", "image", "network", "volume"}


def test_no_answer_is_a_defect_of_ours(answers):
    """What no code expected is told with the name of its exception."""
    defect = re.compile(rb'"message":"[A-Za-z]+(Error|Exception|Interrupt): ')
    assert not [(answer.step, answer.body[:200]) for answer in answers.values() if defect.search(answer.body)]
