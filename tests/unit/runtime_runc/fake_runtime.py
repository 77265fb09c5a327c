#!/usr/bin/env python3
"""A runtime that does what the file `behaviour` beside it says: for tests of the driver without containers."""

import json
import os
import pathlib
import signal
import socket
import sys
import time

here = pathlib.Path(__file__).parent
behaviour = json.loads((here / "behaviour").read_text())
args = sys.argv[1:]
verb = next((word for word in args if word in behaviour.get("verbs", {})), "")
behaviour |= behaviour.get("verbs", {}).get(verb, {})
for name, directory in (("dump.log", "--work-path"), ("pages.img", "--image-path")):
    if name in behaviour.get("files", {}):
        (pathlib.Path(args[args.index(directory) + 1]) / name).write_text(behaviour["files"][name])
with open(here / "calls", "a") as file:
    file.write(
        json.dumps(
            {
                "args": args,
                "env": sorted(os.environ),
                "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            }
        )
        + "\n"
    )
if behaviour.get("sleep"):
    time.sleep(behaviour["sleep"])
if "error" in behaviour:
    with open(args[args.index("--log") + 1], "a") as log:
        log.write(json.dumps({"level": "error", "msg": behaviour["error"]}) + "\n")
    sys.exit(1)
if "--pid-file" in args:
    pathlib.Path(args[args.index("--pid-file") + 1]).write_text(str(behaviour.get("pid", 4242)))
if "--console-socket" in args and "console" in behaviour:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(args[args.index("--console-socket") + 1])
        files = [os.open(path, os.O_RDWR) for path in behaviour["console"]]
        socket.send_fds(connection, [b"console"], files)
for document in ("process", "resources"):
    if f"--{document}" in args:
        (here / document).write_text(pathlib.Path(args[args.index(f"--{document}") + 1]).read_text())
sys.stdout.write(behaviour.get("stdout", ""))
