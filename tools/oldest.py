"""Run the tests on the oldest versions that setup.cfg declares, in a fresh virtual environment.

    python tools/oldest.py                      # the whole suite
    python tools/oldest.py tests/flows -x       # arguments go to pytest
    python tools/oldest.py --environment DIR    # keep the environment, and use it again

The oldest version of each package is the one behind ``>=`` in setup.cfg. Python is the one that runs this script: use
the oldest that ``python_requires`` allows.
"""

from __future__ import annotations

import argparse
import configparser
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def oldest_requirements(*extras: str) -> list[str]:
    """The declared requirements with ``==`` for ``>=``."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split()
    for extra in extras:
        lines += _lines_of(extra, config["options.extras_require"])
    return [line.replace(">=", "==") for line in lines if ">=" in line]


def _lines_of(extra: str, extras: Mapping[str, str]) -> list[str]:
    """The requirements of an extra and of the extras that it takes in."""
    lines = extras[extra].split()
    taken_in = [name for line in lines for names in re.findall(r"^skcnf\[(.*)\]$", line) for name in names.split(",")]
    return lines + [line for name in taken_in for line in _lines_of(name, extras)]


def make_environment(folder: Path) -> Path:
    """A virtual environment with the oldest packages and this checkout; returns its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *oldest_requirements("test")], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", ROOT], check=True)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, help="folder of the environment (default: a temporary one)")
    args, for_pytest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        python = make_environment((args.environment or Path(temporary)).resolve())
        # Old packages meet newer ones beneath them, which deprecate what they use.
        command = [python, "-m", "pytest", "-W", "ignore::DeprecationWarning", *for_pytest]
        return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
