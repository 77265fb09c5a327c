"""`linux.seccomp`: compiled, kept, loaded, and its agent."""
