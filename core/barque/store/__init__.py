"""Durable state: metadata in SQLite (`database`), content-addressed blobs (`content`)."""
