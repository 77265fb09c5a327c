"""Checkpoint and restore."""
