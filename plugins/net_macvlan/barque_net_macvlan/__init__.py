"""Network drivers `macvlan` and `ipvlan`: interfaces of their own on a network of the host's."""
