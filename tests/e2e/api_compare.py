"""What two engines answered to the same session, less what must differ between any two runs: ids, times, addresses."""

import base64
import fnmatch
import io
import json
import re
import tarfile

# Headers that clients read.
HEADERS = (
    "api-version", "builder-version", "cache-control", "connection", "content-type", "docker-experimental", "location",
    "ostype", "pragma", "swarm", "upgrade", "x-docker-container-path-stat",
)  # fmt: skip
_STAT = "x-docker-container-path-stat"
# Numbers that differ from run to run.
_VARYING = frozenset({
    "Created", "MemTotal", "NFd", "NGoroutines", "Pid", "SystemTime", "time", "timeNano", "total_usage", "usage_in_kernelmode",
    "usage_in_usermode", "system_cpu_usage", "percpu_usage", "usage", "max_usage", "limit", "value", "NEventsListener",
})  # fmt: skip
_TIME = re.compile(r"(?!0001)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_PATTERNS = (
    (_TIME, "<time>"),
    (re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
    (re.compile(r"\b172\.\d+\.\d+\.\d+\b"), "<ip>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<short id>"),
    (re.compile(r"\b\d+ (?:seconds?|minutes?)|Less than a second"), "<a moment>"),
    (re.compile(r"\{[\d ]{20,}"), "{<n>"),
)


def plain(answer, names, places):
    """Status, headers and body of an answer, in words that are the same in any run."""
    cover = _Cover(names, places)
    headers = {name: cover.text(answer.headers[name]) for name in HEADERS if name in answer.headers}
    if stat := answer.headers.get(_STAT):
        headers[_STAT] = cover.value(json.loads(base64.b64decode(stat)))
    return {"status": answer.status, "headers": headers, "body": cover.value(_body(answer))}


def _body(answer):
    kind, data = answer.headers.get("content-type", ""), answer.body
    if "tar" in kind or ("/archive" in answer.path and answer.method == "GET" and answer.status == 200):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return [[entry.name, entry.size, oct(entry.mode), entry.type.decode()] for entry in tar]
    if "json" in kind or data.lstrip()[:1] in (b"{", b"["):
        documents = answer.lines
        return documents[0] if len(documents) == 1 else documents
    return data.decode("latin-1")


def _order(value):
    """Networks, volumes and mounts come in no order: put them in the order of their names."""
    if not isinstance(value, dict):
        return ""
    return str(value.get("Destination") or (value.get("Name") if "Names" not in value else ""))


class _Cover:
    """Puts names for what differs from run to run."""

    def __init__(self, names, places):
        self._names = sorted(names.items(), key=lambda pair: -len(pair[0]))
        self._places = places
        self._counting = False

    def _member(self, name, value):
        """Below `memory_stats` all is counted."""
        before, self._counting = self._counting, self._counting or name == "memory_stats"
        covered = self.value(value, name)
        self._counting = before
        return covered

    def value(self, value, key=""):
        if isinstance(value, dict):
            return {self.text(name): self._member(name, one) for name, one in value.items()}
        if isinstance(value, list):
            return sorted((self.value(one, key) for one in value), key=_order)
        if isinstance(value, str):
            return "<varying>" if key in _VARYING and value else self.text(value)
        if isinstance(value, int) and not isinstance(value, bool) and (key in _VARYING or self._counting):
            return "<number>"
        return value

    def text(self, text):
        for place, name in self._places.items():
            text = text.replace(place, name)
        for id, name in self._names:
            text = text.replace(id, name)
            if len(id) == 64:
                text = text.replace(id[:12], f"{name} short")
        for pattern, name in _PATTERNS:
            text = pattern.sub(name, text)
        return text


def differences(theirs, ours):
    """(place, what dockerd has, what Barque has), None for nothing; and the number of values that were compared."""
    found = []
    count = _compare("", theirs, ours, found)
    return found, count


def _compare(place, theirs, ours, found):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        total = 0
        for key in sorted(theirs.keys() | ours.keys()):
            inner = f"{place}.{key}" if place else key
            if key not in ours:
                found.append((inner, _shown(theirs[key]), "(absent)"))
            elif key not in theirs:
                found.append((inner, "(absent)", _shown(ours[key])))
            else:
                total += _compare(inner, theirs[key], ours[key], found)
        return total or 1
    if isinstance(theirs, list) and isinstance(ours, list) and theirs and ours:
        if len(theirs) != len(ours):
            found.append((f"{place}.length", str(len(theirs)), str(len(ours))))
            return 1
        return sum(
            _compare(f"{place}[{n}]", a, b, found) for n, (a, b) in enumerate(zip(theirs, ours, strict=True))
        )
    if theirs != ours or type(theirs) is not type(ours):
        found.append((place, _shown(theirs), _shown(ours)))
    return 1


def _shown(value):
    return json.dumps(value, ensure_ascii=False)


class Allowed:
    """The reviewed list: a difference is allowed where an entry's steps and places (shell patterns, lists or one) fit."""

    def __init__(self, entries):
        self.entries = entries
        self.used = [0] * len(entries)

    def covers(self, step, place):
        for number, entry in enumerate(self.entries):
            if _fits(step, entry.get("step", "*")) and _fits(place, entry["place"]):
                self.used[number] += 1
                return True
        return False

    def unused(self):
        """The entries that covered nothing."""
        return [entry for entry, count in zip(self.entries, self.used, strict=True) if not count]


def _fits(text, patterns):
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
