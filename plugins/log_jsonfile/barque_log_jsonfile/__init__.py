"""The log drivers `json-file` (Docker's format, rotated) and `none`."""
