"""`process`: what the program is and what it may do."""
