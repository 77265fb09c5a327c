"""The test suite in a virtual machine that has cgroup v2 alone: `make test-vm`, docs/how-to/test-on-cgroup-v2.md."""
