"""How containers start, are controlled, end, are restarted, and are taken over by the next daemon."""
