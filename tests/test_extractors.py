"""Extractors: the architectures are those of their weight files, distances behave, bad files give one line."""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tte_tee.anatomy import TEE
from tte_tee.errors import UserError
from tte_tee.models.extractors import KINDS, Extractor, load_extractor
from tte_tee.models.extractors.lpips import LPIPS
from tte_tee.models.extractors.mobilenet import MobileNetV2
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, save_segmenter

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the file of FID is TorchScript
HEADS = (64, 192, 384, 256, 256)


class FakeInception(nn.Module):
    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return img.float().mean((1, 2, 3))[:, None].repeat(1, 2048 if return_features else 1008)


@pytest.fixture
def frames() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in noise])


def write_segmenter(folder: Path) -> Path:
    torch.manual_seed(0)
    segmenter = Segmenter(SegmenterConfig(channels=(4, 8, 8)), TEE.structures)
    save_segmenter(folder, segmenter, TEE, (32, 32), {"seen": ["somebody"]})
    return folder


def write_mobilenet(path: Path) -> Path:
    """Random weights as torchvision saves them, classifier included."""
    torch.manual_seed(0)
    classifier = {"classifier.1.weight": torch.randn(1000, 1280), "classifier.1.bias": torch.zeros(1000)}
    network = MobileNetV2()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    torch.save({**network.state_dict(), **classifier}, path)
    return path


def write_lpips(path: Path) -> Path:
    """Random weights in the layout of the file, heads not negative."""
    torch.manual_seed(0)
    arrays = {}
    for n, layer in enumerate(LPIPS().convolutions):
        arrays[f"AlexNet_0/Conv_{n}/kernel"] = layer.weight.detach().permute(2, 3, 1, 0).numpy()
        arrays[f"AlexNet_0/Conv_{n}/bias"] = layer.bias.detach().numpy()
        arrays[f"NetLinLayer_{n}/Conv_0/kernel"] = torch.rand(1, 1, HEADS[n], 1).numpy()
    np.savez(path, **arrays)
    return path


def write_inception(path: Path) -> Path:
    torch.jit.save(torch.jit.script(FakeInception()), str(path))
    return path


def write_dinov2(folder: Path) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    return folder


WRITE: dict[str, tuple[Callable[[Path], Path], str, int]] = {
    "segmenter": (write_segmenter, "seg", 16),
    "mobilenet_v2": (write_mobilenet, "m.pth", 1280),
    "lpips_alexnet": (write_lpips, "l.npz", 256),
    "dinov2": (write_dinov2, "d", 16),
    "inception_v3": (write_inception, "i.pt", 2048),
}


@pytest.mark.parametrize("kind", WRITE)
def test_features_depend_on_the_frame_alone(kind: str, tmp_path: Path, frames: np.ndarray) -> None:
    write, name, width = WRITE[kind]
    extractor = load_extractor(f"{kind}={write(tmp_path / name)}")
    features = extractor(frames)
    assert (extractor.name, features.shape, features.dtype) == (kind, (3, width), np.float32)
    np.testing.assert_allclose(extractor(frames[1:2])[0], features[1], rtol=1e-3, atol=1e-5)
    assert len(extractor.version) == 64 and extractor.prepared
    assert not np.allclose(features[0], features[1])


def test_mobilenet_has_torchvisions_names_and_shapes() -> None:
    weights = MobileNetV2().state_dict()
    assert len(weights) == 312
    assert (
        sum(w.numel() for k, w in weights.items() if k.endswith(("weight", "bias"))) == 2_223_872
    )  # 3.5 M less 1.28 M
    shapes = {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.17.conv.3.running_var": (320,),
        "features.18.0.weight": (1280, 320, 1, 1),
    }
    assert {name: tuple(weights[name].shape) for name in shapes} == shapes


def test_lpips_is_the_papers_formula(tmp_path: Path, frames: np.ndarray) -> None:
    from torchmetrics.functional.image.lpips import ScalingLayer, _normalize_tensor, _spatial_average

    extractor = load_extractor(f"lpips_alexnet={write_lpips(tmp_path / 'l.npz')}")
    arrays = np.load(tmp_path / "l.npz")
    steps = {0: (4, 2), 1: (1, 2), 2: (1, 1), 3: (1, 1), 4: (1, 1)}

    def layers(picture: np.ndarray) -> list[torch.Tensor]:
        x = ScalingLayer()(torch.from_numpy(picture).float().div(127.5).sub(1)[:, None].repeat(1, 3, 1, 1))
        given = []
        for n, (stride, padding) in steps.items():
            kernel = torch.from_numpy(arrays[f"AlexNet_0/Conv_{n}/kernel"].transpose(3, 2, 0, 1).copy())
            x = nn.functional.max_pool2d(x, 3, 2) if n in (1, 2) else x
            bias = torch.from_numpy(arrays[f"AlexNet_0/Conv_{n}/bias"])
            x = nn.functional.conv2d(x, kernel, bias, stride, padding).relu()
            given.append(_normalize_tensor(x))
        return given

    expected = sum(
        _spatial_average(
            ((a - b) ** 2 * torch.from_numpy(arrays[f"NetLinLayer_{n}/Conv_0/kernel"]).reshape(1, -1, 1, 1)).sum(
                1, keepdim=True
            )
        ).flatten()
        for n, (a, b) in enumerate(zip(layers(frames[:1]), layers(frames[1:2]), strict=True))
    )
    np.testing.assert_allclose(extractor.between(frames[:1], frames[1:2]), expected.numpy(), rtol=1e-4)


def test_lpips_is_a_distance(tmp_path: Path, frames: np.ndarray) -> None:
    extractor = load_extractor(f"lpips_alexnet={write_lpips(tmp_path / 'l.npz')}")
    blurred = [np.stack([cv2.GaussianBlur(f, (0, 0), width) for f in frames]) for width in (0.7, 2, 5)]
    near, further, far = (extractor.between(frames, other) for other in blurred)
    np.testing.assert_allclose(extractor.between(frames, frames), 0, atol=1e-6)
    np.testing.assert_allclose(extractor.between(blurred[0], frames), near, rtol=1e-5)
    assert (near > 0).all() and (near < further).all() and (further < far).all()
    assert extractor.between(frames[:, :16, :16], frames[::-1, :16, :16]).shape == (3,)


def test_only_a_distance_is_a_distance(tmp_path: Path, frames: np.ndarray) -> None:
    extractor = load_extractor(f"segmenter={write_segmenter(tmp_path / 'seg')}")
    with pytest.raises(UserError, match="no distance"):
        extractor.between(frames, frames)


def refused(word: str) -> str:
    with pytest.raises(UserError) as caught:
        load_extractor(word)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "segmenter"])
def test_files_that_are_missing_or_corrupt_give_one_line(kind: str, tmp_path: Path) -> None:
    assert "no such file" in refused(f"{kind}={tmp_path / 'none'}")
    (tmp_path / "bad").write_bytes(b"no weights at all" * 40)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("bad", "empty", "folder"):
        assert f"extractor {kind}=" in refused(f"{kind}={tmp_path / name}")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.0.weight": torch.zeros(3)}, tmp_path / "m.pth")
    assert "give a state_dict of torchvision's mobilenet_v2" in refused(f"mobilenet_v2={tmp_path / 'm.pth'}")
    torch.save([1, 2], tmp_path / "m.pth")
    refused(f"mobilenet_v2={tmp_path / 'm.pth'}")
    (tmp_path / "m.pth").write_bytes(pickle.dumps(Path("/"), protocol=2))  # more than tensors: not unpickled
    refused(f"mobilenet_v2={tmp_path / 'm.pth'}")
    np.savez(tmp_path / "l.npz", other=np.zeros(3))
    assert "AlexNet's convolutions" in refused(f"lpips_alexnet={tmp_path / 'l.npz'}")


def test_unknown_kinds_and_devices(tmp_path: Path) -> None:
    assert "KIND is segmenter, mobilenet_v2" in refused("vgg=file.pth")
    assert "KIND=PATH" in refused("mobilenet_v2")
    with pytest.raises(UserError, match="--device nowhere"):
        load_extractor(f"mobilenet_v2={tmp_path}", "nowhere")


def test_numbers_that_are_not_finite_are_refused(frames: np.ndarray) -> None:
    broken = Extractor("toy", "0" * 64, {}, lambda f: torch.full((len(f), 2), float("nan")))
    with pytest.raises(UserError, match="not finite"):
        broken(frames)
