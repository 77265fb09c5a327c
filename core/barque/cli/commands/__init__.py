"""The commands: each module declares one or a few (flags, arguments, help) beside the function that runs them."""
