"""What a config may do: a class path in a YAML is imported, and what it names is run."""

from typing import Any

from jsonargparse import get_loader, set_loader, set_parsing_settings
from yaml import YAMLError

from tte_tee.files import check_yaml

_yaml = get_loader("yaml")
FLAG = "--allow-code"
ALLOWED = ("tte_tee", "lightning", "torch.optim")
"""This project, Lightning's callbacks, loggers, plugins and strategies, and optimisers. Not the rest of torch, which
can load code from files and from the network."""

HELP = (
    f"Configs may name classes of {', '.join(ALLOWED)}; {FLAG}, given on the command line, "
    "allows those of any package, and with that whatever code they run."
)


def refuse_foreign_code() -> None:
    """From here on, this process imports nothing for a config but what is :data:`ALLOWED`."""
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(ALLOWED))


def plain_configs() -> None:
    """From here on, no config comes from the network, or unfolds to more than a config can be."""
    set_parsing_settings(config_read_mode_fsspec_enabled=False)
    set_loader("yaml", _load, (YAMLError,))


def _load(text: str) -> Any:
    check_yaml(text)
    return _yaml(text)
