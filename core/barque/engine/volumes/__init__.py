"""Volumes: made, filled, mounted for containers, removed."""
