"""Importers: one native layout each, read with the library that knows it; ``type`` of a recipe names one."""

from importlib import import_module

from tte_tee.data.importers.contract import Importer
from tte_tee.data.section import Section

TYPES = {
    "camus": "camus",
    "cardiac_uda": "cardiac_uda",
    "folder": "folder",
    "dicom": "dicom",
    "echonet_dynamic": "echonet_dynamic",
    "mvseg": "mvseg",
    "nnunet": "nnunet",
}
"""Value of ``type`` in a recipe -> module of this package that has ``parse``."""


def parse_importer(section: Section) -> Importer:
    """The importer that a recipe asks for, with its own keys taken out of the ``section``.

    Raises:
        UserError: the type is unknown, or one of its keys is wrong.
    """
    kind = section.choice("type", tuple(TYPES)) if section.has("type") else section.take("type", str, default="folder")
    return import_module(f"{__name__}.{TYPES[kind]}").parse(section)
