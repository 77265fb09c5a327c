"""The container's root and what is mounted, made and masked in it."""
