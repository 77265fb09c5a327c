"""Image source `registry`: the pull side of the OCI distribution spec and of Docker's registry HTTP API v2."""
