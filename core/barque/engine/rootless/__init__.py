"""The engine as an ordinary user: namespaces in which it is root, and a process that keeps them.

`entering.enter` is what the daemon calls. It finds, or starts, the user's `keeper`, is given the descriptors of the
keeper's user, mount and network namespace, and goes in: from then on the daemon is root there and nowhere else, and
the rest of the engine need not know. The keeper stays outside. It holds the namespaces while daemons come and
go (row R1), runs the uplink (`uplink`), listens on the host's published ports (`forwarding`), and ends when neither
a daemon nor a container is left.
"""
