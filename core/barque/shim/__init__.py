"""The launcher and the shim: what stands between the daemon and its containers. Standard library and `barque.spi` only."""
