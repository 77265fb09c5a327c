"""Log driver `journald`: to systemd's journal."""
