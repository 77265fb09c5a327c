"""Storage by plain copies, for file systems on which overlayfs cannot work."""
