"""The store kept in order: garbage, accounting, checking and repair."""
