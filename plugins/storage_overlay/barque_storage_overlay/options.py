"""The options of every overlay mount, whatever the kernel's defaults are (kernel, overlayfs.rst)."""

from __future__ import annotations

__all__ = ["mount_options"]


def mount_options(*, user_namespace: bool) -> tuple[str, ...]:
    """index=off: a layer serves several snapshots. redirect_dir, metacopy: all that a snapshot changed is in its own upper
    directory, in the place where it shows, so that it can be packed as a layer; and no attribute there leads elsewhere."""
    options = ("index=off", "redirect_dir=nofollow", "metacopy=off")
    return (*options, "userxattr") if user_namespace else options
