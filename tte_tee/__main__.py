"""``python -m tte_tee``."""

import sys


def main() -> None:
    """Runs a command line; an interrupt is one line even while the command line itself is being imported."""
    try:
        from tte_tee import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("tte_tee: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
