"""The command line: the one place where errors become one line and an exit code.

Exit codes: 0 done, 2 bad input (one line on standard error says what and how to cure it), 130 interrupted.
"""

import importlib
import logging
import sys
from collections.abc import Sequence

from novq import __version__

USAGE = """\
usage: novq COMMAND …

Autoregressive generation on continuous tokens, without vector quantization.

commands:
  train PRESET --out DIR     train a model, or resume a training; Ctrl-C saves
  sample MODEL --out FILE    generate images with a trained model
  info MODEL|PRESET          parameters, tokens and FLOPs of a model

novq COMMAND --help lists the options of a command, novq --version the version.
"""

_COMMANDS = ("train", "sample", "info")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0 if args else 2
    if args[0] == "--version":
        sys.stdout.write(f"novq {__version__}\n")
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("novq").setLevel(logging.INFO)
    try:
        if args[0] not in _COMMANDS:
            raise ValueError(f"unknown command {args[0]!r}: use one of {', '.join(_COMMANDS)}")
        return importlib.import_module(f"novq.cli.{args[0]}").run(args[1:])
    except (ValueError, OSError) as error:
        sys.stderr.write(f"novq: error: {' '.join(str(error).split())}\n")
        return 2
    except ModuleNotFoundError as error:
        sys.stderr.write(f"novq: error: {error.name} is not installed: pip install 'novq[train]'\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nnovq: interrupted, nothing more was written\n")
        return 130
