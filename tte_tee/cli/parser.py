"""An argparse parser whose complaints are one line."""

import argparse
from typing import NoReturn

from tte_tee.errors import UserError


class Parser(argparse.ArgumentParser):
    """Says what is wrong without the usage that argparse prints first; so do its subcommands."""

    def error(self, message: str) -> NoReturn:
        """Refuses the command line.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; '{self.prog} --help' says more")
