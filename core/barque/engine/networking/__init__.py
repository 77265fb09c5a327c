"""Networks and endpoints, names, and the files in /etc that tell of them."""
