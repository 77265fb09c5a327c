"""Cgroups: where a container's are, what limits it there, what it uses (`linux.cgroupsPath`, `linux.resources`)."""
