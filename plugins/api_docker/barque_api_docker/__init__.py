"""The Docker Engine REST API (1.24 to 1.51) as a frontend of Barque."""
