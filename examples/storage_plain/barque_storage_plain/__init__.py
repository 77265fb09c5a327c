"""A storage driver for Barque as a third party writes one."""
