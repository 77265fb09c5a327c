"""From a request to its operation: version, policy, routing, and the answer to what goes wrong."""

from __future__ import annotations

import logging
import re

from barque.spi.errors import BarqueError, InvalidArgument, NotFound, NotImplemented
from barque.spi.frontend import Engine
from barque_api_docker.admission import Admission
from barque_api_docker.call import Call, error_response, exhausted
from barque_api_docker.connection import Connection, Disconnected
from barque_api_docker.http import ProtocolError, Request, Response
from barque_api_docker.limits import Limits
from barque_api_docker.router import Router
from barque_api_docker.routes import ROUTES, UNIMPLEMENTED
from barque_api_docker.version import API_VERSION, MIN_API_VERSION

__all__ = ["Dispatcher"]

_logger = logging.getLogger(__name__)
_VERSION = re.compile(r"/v(\d{1,4})\.(\d{1,4})(/.*)", re.DOTALL)
_DRAIN = 64 << 10
_SHOWN = 200


class Dispatcher:
    """Answers the requests of one connection after the other; shared by all connections."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._admission = Admission(engine, limits)
        self._router = Router(ROUTES)
        self._unimplemented = Router(UNIMPLEMENTED)
        self._common = (
            f"Api-Version: {API_VERSION[0]}.{API_VERSION[1]}\r\nDocker-Experimental: false\r\nOstype: linux\r\n"
            f"Server: Barque/{engine.info().version} (linux)\r\n"
        )

    def serve(self, connection: Connection) -> None:
        """Until the client leaves, a request asks to close, or the connection was handed over. Errors: Disconnected."""
        keep = True
        while keep and not connection.aborted:
            try:
                request = connection.read_request()
            except ProtocolError as error:
                self._refuse(connection, error)
                return
            if request is None:
                return
            keep = self._exchange(connection, request)

    def _exchange(self, connection: Connection, request: Request) -> bool:
        """Answer one request; True when another may follow on the connection."""
        call = Call(self._engine, connection, request, self._common, self._limits)
        try:
            response = self._run(call)
            if connection.switched:
                return False
            drained = _drain(request)
        except ProtocolError as error:
            self._refuse(connection, error)
            return False
        keep = request.keep_alive and drained and not call.last
        if response is not None:
            if (
                connection.answered
            ):  # failed within a stream: all that is left is to cut it, so that the client notices
                return False
            connection.respond(response, self._common, head_only=request.method == "HEAD", close=not keep)
        if not drained:
            connection.linger()
        return keep

    def _run(self, call: Call) -> Response | None:
        try:
            path = self._unversioned(call)
            self._admission.check_origin(call.connection, call.request)
            handler, call.params = self._router.find(call.request.method, path) or (None, {})
            if handler is None:
                raise self._unknown(call.request.method, path)
            self._admission.authorize(call.connection, call.request, path)
            return handler(call)
        except BarqueError as error:
            return error_response(error)
        except (Disconnected, ProtocolError):
            raise
        except Exception as error:
            what = call.request.method, call.request.path[:_SHOWN]
            if exhausted(error):
                _logger.error("%s %s: %s", *what, error)
            else:
                _logger.exception("%s %s", *what)
            return error_response(error)

    def _unversioned(self, call: Call) -> str:
        path = call.request.path
        match = _VERSION.fullmatch(path)
        if match is None:
            return path
        version = (int(match[1]), int(match[2]))
        text = f"client version {version[0]}.{version[1]} is too"
        if version < MIN_API_VERSION:
            raise InvalidArgument(
                f"{text} old. Minimum supported API version is {MIN_API_VERSION[0]}.{MIN_API_VERSION[1]}, "
                "please upgrade your client to a newer version"
            )
        if version > API_VERSION:
            raise InvalidArgument(
                f"{text} new. Maximum supported API version is {API_VERSION[0]}.{API_VERSION[1]}"
            )
        call.api_version = version
        return match[3]

    def _unknown(self, method: str, path: str) -> BarqueError:
        if found := self._unimplemented.find(method, path):
            return NotImplemented(f"barque does not implement {method} {path} yet", hint=found[0])
        return NotFound("page not found")

    def _refuse(self, connection: Connection, error: ProtocolError) -> None:
        if connection.answered:
            return
        response = error_response(error)
        connection.respond(response, self._common, head_only=False, close=True)
        connection.linger()


def _drain(request: Request) -> bool:
    """Read the rest of a body nobody asked for, if that is cheap; False when the connection must end instead."""
    if request.body.done:
        return True
    if request.body.withheld:
        return False
    try:
        request.body.read(_DRAIN)
    except ProtocolError:
        return False
    return True
