"""For `make coverage`, on PYTHONPATH: have `echod start` and `run` execute the server's image with its lines counted.

Python imports this module in every process that is not isolated: here it reaches the launcher, which has no setting
for it. The server is isolated, and gets coverage from `boot.py` beside this file.
"""

import os
import sys

if any(os.path.basename(arg) == "echod" for arg in sys.orig_argv):
    from echod.cli import daemon, launch

    for module in (daemon, launch):
        vars(module)["BOOT"] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
        vars(module)["INTERPRETER"] = [sys.executable, "-I"]
