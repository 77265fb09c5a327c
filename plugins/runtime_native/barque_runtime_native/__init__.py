"""The built-in OCI runtime: driver `native` of kind `runtime`, and the stand-alone command `barque-runtime`."""
