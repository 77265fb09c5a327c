"""The commands of `barque-runtime`, one module each; start at `line`."""
