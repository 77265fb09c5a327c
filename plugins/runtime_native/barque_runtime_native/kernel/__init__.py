"""System calls and kernel files."""
