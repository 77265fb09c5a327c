"""`linux.namespaces`: new ones, those of others, ids, and what is moved into them."""
