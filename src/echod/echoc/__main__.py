"""`python -m echod.echoc` is echoc."""

import sys

from echod.echoc.cli import main

sys.exit(main())
