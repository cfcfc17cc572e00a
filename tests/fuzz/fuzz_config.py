"""Feed the config parser with atheris (pip install atheris), guided by coverage, from the corpus on.

    PYTHONPATH=tests python -m fuzz.fuzz_config -max_total_time=60

What it finds belongs in the corpus: tests/fuzz/corpus/config, and options, a NUL between two of them.
"""

from __future__ import annotations

import os
import sys

import atheris

with atheris.instrument_imports(include=["echod.common.config"]):
    from fuzz.inputs import CORPUS, check_file, check_options


def main():
    path = f"/proc/self/fd/{os.memfd_create('echod.conf')}"  # libFuzzer ends the process: a file would be left
    seeds = ",".join(map(str, sorted((CORPUS / "config").iterdir())))

    def one(data):
        if data[:1] == b"-":
            check_options(data[1:])
        else:
            check_file(path, data)

    atheris.Setup([*sys.argv, f"-seed_inputs={seeds}"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
