"""Log driver `local`: compact files of its own format."""
