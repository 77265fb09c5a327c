"""The engine: containers, execs, images, networks, events, over drivers. `engine.Engine` is what frontends see."""
