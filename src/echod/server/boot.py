"""The first file of the server's image, run with `python -I -S`."""

import sys

sys.path.append(__file__.rpartition("/echod/server/")[0])  # the package: the module `site`, which -S leaves out, would

from echod.server.lean import heap

heap.reserve()  # before the imports: their objects take the blocks that are free here and there

from echod.server.main import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
