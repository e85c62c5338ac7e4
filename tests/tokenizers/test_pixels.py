import pytest
import torch

from novq.config import Grid, PixelsConfig
from novq.tokenizers import PixelTokenizer


@pytest.fixture
def images() -> torch.Tensor:
    base = torch.tensor([40, 120, 200])[:, None, None]
    noise = torch.randint(-40, 41, (64, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    return (base + noise).to(torch.uint8)


def test_tokens_have_unit_variance_and_zero_mean_per_channel(images: torch.Tensor) -> None:
    tokenizer = PixelTokenizer(PixelsConfig(channels=3, patch_size=4))
    tokenizer.measure(images)
    x = tokenizer.encode(images / 127.5 - 1)
    assert x.shape == (64, 9, 48)
    pixels = x.unflatten(-1, (3, 16)).movedim(2, 0).flatten(1)
    torch.testing.assert_close(pixels.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels.std(1), torch.ones(3), atol=1e-4, rtol=0)


def test_round_trip_and_layout(images: torch.Tensor) -> None:
    tokenizer = PixelTokenizer(PixelsConfig(channels=3, patch_size=4))
    tokenizer.measure(images)
    real = images / 127.5 - 1
    x = tokenizer.encode(real)
    torch.testing.assert_close(tokenizer.decode(x, Grid(3, 3)), real)
    # Token 5 is row 1, column 2; channel first, then row, then column within the patch.
    patch = real[0, :, 4:8, 8:12]
    expected = (patch - tokenizer.mean[:, None, None]) * tokenizer.scale[:, None, None]
    torch.testing.assert_close(x[0, 5], expected.flatten())


def test_constant_images_are_refused() -> None:
    tokenizer = PixelTokenizer(PixelsConfig())
    with pytest.raises(ValueError, match="one and the same colour"):
        tokenizer.measure(torch.full((4, 1, 8, 8), 7, dtype=torch.uint8))
