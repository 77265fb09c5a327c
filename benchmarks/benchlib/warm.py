"""The native runtime through the launcher, as the daemon uses it: a start pays a fork, not an interpreter."""

import json
import os
import socket
import struct
import sys
import tempfile
import time

from .engine import check


class WarmRuntime:
    """A target of case oci/run. Needs the interpreter that has Barque installed."""

    name = "barque-warm"
    path = ""

    def __init__(self):
        from barque.shim.launching import DriverRef, Launcher

        driver = DriverRef("runtime", "native", "barque_runtime_native.plugin", "NativeRuntime", {})
        self.launcher = Launcher.spawn((driver,), sys.path)

    def __str__(self):
        return self.name

    def version(self):
        return "barque-runtime's driver in a shim of the launcher"

    def run(self, bundle, name):
        """Run the bundle to its end: (milliseconds, exit code, output)."""
        from barque.shim.client import read_event
        from barque.shim.protocol import ClientAttach, ShimConfig

        with open(bundle + "/config.json") as file:
            spec = json.load(file)
        with tempfile.TemporaryDirectory() as state:
            config = ShimConfig(
                id=name,
                state=state,
                bundle=bundle,
                rootfs=spec["root"]["path"],
                mounts=(),
                runtime="native",
                runtime_root=bundle + "/../state-warm",
                spec=spec,
                log="",
                log_directory="",
                clients=(ClientAttach(False, True, True),),
            )
            os.makedirs(config.runtime_root, exist_ok=True)
            ours, theirs = socket.socketpair()
            began = time.perf_counter()
            control = self.launcher.launch(config, None, [theirs.fileno()])
            theirs.close()
            event = read_event(control)
            check(event and event.get("event") == "started", f"{event}")
            while event and event.get("event") != "exit":
                event = read_event(control)
            took = (time.perf_counter() - began) * 1000
            check(event, "the shim ended without a word")
            output = _payload(ours)
            control.close()
            ours.close()
        return took, event["code"], output

    def close(self):
        self.launcher.close()


def _payload(client):
    """What came in Docker's frames."""
    data = b""
    while chunk := client.recv(65536):
        data += chunk
    out = b""
    while len(data) >= 8:
        size = struct.unpack(">BxxxL", data[:8])[1]
        out += data[8 : 8 + size]
        data = data[8 + size :]
    return out.decode()
