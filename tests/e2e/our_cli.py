"""Our command line in a process of its own."""

import sys

OURS = (sys.executable, "-c", "import sys; from barque.cli.main import main; sys.exit(main())")
