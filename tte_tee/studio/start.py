"""What stands ready when the page opens: adapters, a shape model, masks to begin from, and who judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tte_tee.anatomy import TEE, LabelSpace, solve
from tte_tee.data.phantom import HeartMasks, study_spec, write_heart_masks, write_phantom
from tte_tee.data.phantom.version import is_of_this_version
from tte_tee.data.shape_model import ShapeModel, fit_shape_model, load_shape_model, save_shape_model
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.models.folders import SHIPPED, Adapter, load_adapter, load_base, save_adapter
from tte_tee.models.maskr2 import MaskR2
from tte_tee.models.segmenter import LoadedSegmenter, load_segmenter
from tte_tee.provenance import provenance
from tte_tee.seen import BASE_SEEN, SEEN, seen_in
from tte_tee.studio.album import Album
from tte_tee.studio.judge import Training, check_segmenter, learnt_elsewhere, read_training
from tte_tee.studio.uploads import check_kind

WORK = Path("runs/studio")
"""Where the page keeps what it makes."""

USUAL = Path("runs/lora_mlp/version_0/adapter")
"""What ``make fit`` leaves the first time."""

UNADAPTED = (
    "**No adapter yet: the unadapted base is drawing**, through MaskR² alone. It has seen transthoracic frames only, "
    "so these are no TEE frames. `make fit` makes an adapter in minutes; then start the page again."
)
_ATLAS, _PATIENTS, _HEARTS = "atlas hearts", "phantom patients", 20


@dataclass(frozen=True)
class Artist:
    """An adapter on the page.

    Attributes:
        name: that the page calls it.
        adapter: that draws.
        training: the frames it learnt from, or None.
        unknown: why they are not known; empty where they are.
    """

    name: str
    adapter: Adapter
    training: Training | None
    unknown: str


@dataclass(frozen=True)
class Studio:
    """All that the page works with; see :func:`open_studio`."""

    artists: Sequence[Artist]
    shapes: ShapeModel
    stores: Mapping[str, EchoStore]
    album: Album
    segmenter: LoadedSegmenter | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def label_space(self) -> LabelSpace:
        """Of all masks."""
        return self.shapes.label_space

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of all frames."""
        return self.shapes.image_size


def open_studio(
    adapters: Sequence[str] = (),
    *,
    segmenter: str | None = None,
    shapes: str | None = None,
    trained_on: str | None = None,
    out: Path = WORK / "saved.h5",
    work: Path = WORK,
    command: str = "",
) -> Studio:
    """Loads what is given, and makes what is not.

    Args:
        adapters: folders; without any the one that ``make fit`` leaves, or the shipped base with MaskR² alone.
        segmenter: folder of one that looks for the masks in the frames.
        shapes: folder of a shape model; without it one of the phantom's adaptation patients, kept in ``work``.
        trained_on: store that the adapters learnt from, for the nearest training frame.
        out: store of the frames that are saved.
        work: folder for what is made here.
        command: to be recorded in ``out``.

    Raises:
        UserError: something cannot be read, or adapters, shape model, segmenter and stores do not fit together.
    """
    loaded, notes = _adapters(adapters, work)
    space, size = _common(loaded)
    stores = _masks_to_begin_from(space, size, work)
    model = load_shape_model(shapes) if shapes else _phantom_shapes(stores, size, work)
    if model.label_space.structures != space.structures or model.image_size != size:
        raise UserError(
            f"--shapes {shapes}: its masks are {_kind(model.label_space, model.image_size)}, the adapters draw "
            f"{_kind(space, size)}; fit one with 'masks fit' on masks of that kind"
        )
    training = EchoStore(trained_on) if trained_on else _usual_training(loaded, adapters)
    if training:
        check_kind(training, size, space)
        stores = {training.path.name: training, **stores}
    judge = load_segmenter(segmenter) if segmenter else None
    if judge:
        for name, adapter in loaded.items():
            check_segmenter(judge, adapter, name)
    album = Album(out, space, size, command)
    return Studio(_artists(loaded, training), model, stores, album, judge, notes)


def _adapters(folders: Sequence[str], work: Path) -> tuple[dict[str, Adapter], list[str]]:
    """Adapters by the name that the page calls them, and what is to be said of them first."""
    if not folders and not USUAL.is_dir():
        return {"unadapted base": _unadapted(work / "maskr2_only")}, [UNADAPTED]
    loaded: dict[str, Adapter] = {}
    for folder in map(Path, folders or [str(USUAL)]):
        place = folder.resolve()
        parts = (place.parent if place.name == "adapter" else place).parts[-2:]
        name = "/".join(parts).strip("/")
        if name in loaded:
            name = f"{name} ({len(loaded) + 1})"
        loaded[name] = load_adapter(folder)
    return loaded, []


def _unadapted(folder: Path) -> Adapter:
    """The shipped base driven by TEE masks through MaskR² alone, as an adapter folder that other commands read."""
    base = load_base(SHIPPED)
    rule = MaskR2(solve(base.denoiser.config.structures, TEE.structures))
    known = sorted(seen_in(base.record))
    record = {**provenance(), "base": SHIPPED, "base_hash": base.hash, SEEN: known, BASE_SEEN: known}
    save_adapter(folder, base.denoiser, rule, "none", TEE, record)
    return load_adapter(folder)


def _common(loaded: Mapping[str, Adapter]) -> tuple[LabelSpace, tuple[int, int]]:
    """Label space and frame size, which all adapters must share."""
    kinds = {name: (a.target, (a.denoiser.config.image_size,) * 2) for name, a in loaded.items()}
    (first, (space, size)), *others = kinds.items()
    for name, (other, other_size) in others:
        if other.structures != space.structures or other_size != size:
            raise UserError(
                f"adapters {first} and {name}: one draws {_kind(space, size)}, the other {_kind(other, other_size)}; "
                "start the page with adapters of one kind"
            )
    return space, size


def _kind(space: LabelSpace, size: tuple[int, int]) -> str:
    return f"{', '.join(space.structures)} at {'x'.join(map(str, size))}"


def _masks_to_begin_from(space: LabelSpace, size: tuple[int, int], work: Path) -> dict[str, EchoStore]:
    """Hearts of the atlas and of the phantom's adaptation patients, made once; none for other label spaces."""
    if space.structures != TEE.structures:
        return {}
    atlas, patients = work / f"atlas_{size[0]}.h5", work / f"adaptation_{size[0]}.h5"
    if not _is_of_this_phantom(atlas):
        write_heart_masks(HeartMasks("atlas", _HEARTS, size=size[0]), atlas)
    if not _is_of_this_phantom(patients):
        write_phantom(replace(study_spec("adaptation"), size=size[0]), patients, progress=True)
    return {_ATLAS: EchoStore(atlas), _PATIENTS: EchoStore(patients)}


def _is_of_this_phantom(path: Path) -> bool:
    return path.exists() and is_of_this_version(EchoStore(path).provenance)


def _phantom_shapes(stores: Mapping[str, EchoStore], size: tuple[int, int], work: Path) -> ShapeModel:
    """A shape model of the phantom's adaptation patients, learnt once."""
    if _PATIENTS not in stores:
        raise UserError("the adapters draw other structures than the phantom has; give a shape model with --shapes")
    store, folder = stores[_PATIENTS], work / f"shapes_{size[0]}"
    if folder.exists():
        model = load_shape_model(folder)
        if model.store == store.content_hash:
            return model
    model = fit_shape_model(store, record=provenance(), progress=True)
    save_shape_model(folder, model)
    return model


def _usual_training(loaded: Mapping[str, Adapter], given: Sequence[str]) -> EchoStore | None:
    """The phantom store that the usual adapter learnt from, where it still is."""
    (adapter, *_) = loaded.values()
    data = adapter.record.get("data") or {}
    path = Path("data") / str(data.get("store"))
    if given or not path.is_file():
        return None
    store = EchoStore(path)
    return store if store.content_hash == data.get("hash") else None


def _artists(loaded: Mapping[str, Adapter], store: EchoStore | None) -> list[Artist]:
    artists, training = [], None
    for name, adapter in loaded.items():
        reason = learnt_elsewhere(adapter, store)
        if store and not reason:
            training = training or read_training(store)
        artists.append(Artist(name, adapter, None if reason else training, reason))
    return artists
