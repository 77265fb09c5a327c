"""A `DockerFrontend` over the engine in memory, on a real socket."""

import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_client import Client
from api_fake_engine import FakeEngine

from barque.spi.frontend import Listener
from barque_api_docker.plugin import DockerFrontend


@pytest.fixture
def engine():
    engine = FakeEngine()
    yield engine
    engine.close()


@pytest.fixture
def serve(engine, tmp_path):
    """serve(**limits) starts a frontend and gives a client of it."""
    running = []

    def start(**limits):
        path = str(tmp_path / f"api{len(running)}.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1024)
        frontend = DockerFrontend("docker", DockerFrontend.Config(**limits))
        frontend.frontend_start(engine, (Listener(listener.fileno(), f"unix://{path}"),))
        running.append((frontend, listener))
        client = Client(path)
        client.frontend = frontend
        return client

    yield start
    for frontend, listener in running:
        frontend.frontend_stop(2.0)
        listener.close()


@pytest.fixture
def api(serve):
    """A client of a frontend with the default limits."""
    return serve()
