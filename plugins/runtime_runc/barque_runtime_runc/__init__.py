"""The runtime driver `runc`: an external OCI runtime (runc, crun, or one with the same command line) as child of the shim."""
