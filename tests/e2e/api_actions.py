"""What sessions with a Docker API do again and again."""

import io
import tarfile

from registry_image import IMAGE

SLEEP = ("sleep", "100000")
ALL = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}


def create(api, name, *command, host=None, **config):
    """A container without a network unless `host` says more."""
    body = {"Image": IMAGE, "Cmd": list(command or SLEEP), **config}
    body["HostConfig"] = {"NetworkMode": "none", **(host or {})}
    answer = api.ask("POST", f"/containers/create?name={name}", body)
    if answer.status == 201:
        api.names[answer.json["Id"]] = f"<{name}>"
        return answer.json["Id"]
    return name


def start(api, name, *command, host=None, **config):
    id = create(api, name, *command, host=host, **config)
    api.ask("POST", f"/containers/{name}/start")
    return id


def run(api, name, *command, **config):
    """To its end."""
    id = start(api, name, *command, **config)
    api.ask("POST", f"/containers/{name}/wait")
    return id


def remove(api, *names):
    for name in names:
        api.ask("DELETE", f"/containers/{name}", force=1, v=1)


def layer():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    return out.getvalue()


def network(name, subnet, **more):
    return {"Name": name, "Driver": "bridge", "IPAM": {"Config": [{"Subnet": subnet}]}, **more}
