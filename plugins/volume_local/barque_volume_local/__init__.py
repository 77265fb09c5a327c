"""Volume driver `local`: directories of this host, or what mount(8) can mount."""
