"""Small stores with frames of one's own choice; shared by the tests of the store."""

from pathlib import Path

from conftest import draw_frame

from tte_tee.anatomy import TEE
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter

INFO = FrameInfo("a", "p1", "ME4C", "train", "acquired", mask_source="annotated")


def write(path: Path, *infos: FrameInfo, space=TEE, **changes: str) -> EchoStore:
    with StoreWriter(path, space, **{"licence": "CC0-1.0", "command": "a test", **changes}) as writer:
        for seed, info in enumerate(infos):
            writer.append(*draw_frame(len(space.structures), seed), info)
    return EchoStore(path)
