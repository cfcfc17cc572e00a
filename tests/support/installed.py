"""A copy of the package that a test may change, as an installation of another version does."""

from __future__ import annotations

import shutil

from support.daemon import SOURCE


class Installed:
    """The package in a directory of its own; `prefix` goes before commands that are to use it."""

    def __init__(self, directory):
        self.root = directory / "installed"
        self.package = self.root / "echod"
        shutil.copytree(SOURCE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.prefix = ["env", f"PYTHONPATH={self.root}"]

    def replace(self, name, old, new):
        """Replace a text in a module."""
        path = self.package / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old, text.count(old))
        path.write_text(text.replace(old, new))

    def on_trial(self, code):
        """Have the trial do something before it begins."""
        with open(self.package / "server" / "successor.py", "a") as file:
            file.write(f"\n\nimport sys\nimport time\nif '--trial' in sys.argv:\n    {code}\n")

    def restore(self):
        """Have it as it was."""
        shutil.rmtree(self.package)
        shutil.copytree(SOURCE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
