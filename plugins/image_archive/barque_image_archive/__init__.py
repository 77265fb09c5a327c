"""Images from `docker save` archives: the source `docker-archive:PATH`."""
