"""`python -m echod.echoc` is echoc."""

import sys
from importlib import import_module

sys.exit(import_module("echod.__main__").echoc())
