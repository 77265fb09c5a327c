"""Image source `deb`: images made of Debian packages, fetched and verified by apt, unpacked without running anything."""
