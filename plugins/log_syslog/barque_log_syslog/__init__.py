"""Log driver `syslog`: to a syslog server."""
