"""The files of containers: cp, export, and the workers that do it."""
