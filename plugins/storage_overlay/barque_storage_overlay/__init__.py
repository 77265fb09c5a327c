"""Storage driver `overlay`: layers unpacked side by side, snapshots stacked over them with overlayfs."""
