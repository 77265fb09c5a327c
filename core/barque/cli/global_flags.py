"""The flags before the command."""

from __future__ import annotations

from barque.cli.flags import flag, repeated, text

__all__ = ["GLOBAL_OPTIONS"]

GLOBAL_OPTIONS = (
    text(
        "config",
        "Location of client config files: credentials and contexts (also BARQUE_CONFIG, DOCKER_CONFIG)",
    ),
    text(
        "context",
        "Name of the context to use to connect to the daemon (also BARQUE_CONTEXT, DOCKER_CONTEXT)",
        short="c",
    ),
    flag("debug", "Enable debug mode (taken for docker's sake: there is nothing to show)", short="D"),
    repeated("host", "Daemon socket to connect to (also BARQUE_HOST, DOCKER_HOST)", short="H"),
    text(
        "log-level",
        "Set the logging level (taken for docker's sake: nothing is logged)",
        short="l",
        default="info",
    ),
    text("profile", "Engine profile of a daemon that has to be started (also BARQUE_PROFILE)"),
    flag("tls", "Use TLS; implied by --tlsverify"),
    text("tlscacert", "Trust certs signed only by this CA (default ca.pem of DOCKER_CERT_PATH or ~/.docker)"),
    text("tlscert", "Path to TLS certificate file (default cert.pem there)"),
    text("tlskey", "Path to TLS key file (default key.pem there)"),
    flag("tlsverify", "Use TLS and verify the remote (also DOCKER_TLS_VERIFY)"),
    flag("version", "Print version information and quit", short="v"),
)
