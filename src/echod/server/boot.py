"""The first file of the server's image, run with `python -I -S`: puts the package on the path, which site would do."""

import sys

sys.path.append(__file__.rpartition("/echod/server/")[0])

from echod.server.main import main

sys.exit(main(sys.argv[1:]))
