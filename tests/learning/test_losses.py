import numpy as np
import pytest
import torch
from monai.losses import SSIMLoss
from skimage.metrics import structural_similarity

from volumetric.config.resolve import ConfigError, resolve
from volumetric.config.run import LossConfig
from volumetric.learning.losses import VOXELWISE, MaskedLoss, masked_gradient, masked_ssim
from volumetric.model.spec import AffineMap

UNIT = AffineMap(center=0, scale=1)


@pytest.fixture
def volumes():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 1, 14, 17, 12, generator=generator)
    noise = torch.randn(target.shape, generator=generator)
    return target, target + 0.2 * noise, torch.ones_like(target, dtype=torch.bool)


@pytest.mark.parametrize(
    ("name", "expected"),
    # errors 0.5, -2 and 0 in the mask; 95 outside it
    [("l1", 2.5 / 3), ("l2", (0.25 + 4) / 3), ("smooth_l1", (0.125 + 1.5) / 3)],
)
def test_voxelwise_terms_by_hand(name, expected):
    target, prediction = torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.5, 0, 3, 99])
    mask = torch.tensor([True, True, True, False])
    shaped = [x.reshape(1, 1, 2, 2, 1) for x in (target, prediction, mask)]
    assert VOXELWISE[name](*shaped).item() == pytest.approx(expected)
    assert VOXELWISE[name](shaped[0], shaped[1], torch.zeros_like(shaped[2])).item() == 0


def test_gradient_by_hand():
    """Errors 0, 1, 3 along one axis: differences 1 and 2; without the last voxel in the mask, 1 alone."""
    error = torch.tensor([0.0, 1, 3]).reshape(1, 1, 3, 1, 1)
    mask = torch.ones_like(error, dtype=torch.bool)
    assert masked_gradient(torch.zeros_like(error), error, mask).item() == 1.5
    assert masked_gradient(torch.full_like(error, 7), error, mask).item() == 1.5  # blind to an offset
    mask[0, 0, 2] = False
    assert masked_gradient(torch.zeros_like(error), error, mask).item() == 1


def test_ssim_is_scikit_images_and_monais_over_the_windows_that_fit(volumes):
    target, prediction, mask = volumes
    ours = masked_ssim(target, prediction, mask, data_range=1.3).item()
    _, values = structural_similarity(
        target[0, 0].double().numpy(), prediction[0, 0].double().numpy(),
        win_size=7, data_range=1.3, use_sample_covariance=False, full=True,
    )  # fmt: skip
    assert ours == pytest.approx(1 - values[3:-3, 3:-3, 3:-3].mean(), abs=1e-5)
    monai = SSIMLoss(3, data_range=1.3, kernel_type="uniform", win_size=7)
    assert ours == pytest.approx(monai(target, prediction).item(), abs=1e-5)


def test_every_term_is_blind_outside_the_mask_and_zero_for_a_perfect_prediction(volumes):
    target, prediction, mask = volumes
    mask[..., 8:] = False
    changed = torch.where(mask, prediction, 1e3)
    for name in LossConfig.model_fields:
        term = MaskedLoss(LossConfig.model_validate({"l1": 0, "ssim": 0, name: 1}), UNIT, 1.0)
        assert term(target, target, mask).item() == pytest.approx(0, abs=1e-6), name
        assert term(target, prediction, mask).item() > 0.01, name
        assert term(target, prediction, mask).item() == pytest.approx(term(target, changed, mask).item(), rel=1e-6), (
            name
        )


def test_terms_add_up_with_their_weights(volumes):
    parts = {name: MaskedLoss(LossConfig.model_validate({"l1": 0, "ssim": 0, name: 1}), UNIT, 2.0)(*volumes).item()
             for name in LossConfig.model_fields}  # fmt: skip
    whole = MaskedLoss(LossConfig(l1=1, smooth_l1=2, l2=3, ssim=4, gradient=5), UNIT, 2.0)(*volumes).item()
    assert whole == pytest.approx(sum(w * parts[n] for n, w in zip(parts, range(1, 6), strict=True)), rel=1e-5)


def test_ssim_is_computed_in_reference_units(volumes):
    """Its constants belong to a range that starts at 0; network units are centered."""
    target, prediction, mask = volumes
    center, scale = 0.4, 0.25
    in_network_units = [(v - center) / scale for v in (target, prediction)]
    term = MaskedLoss(LossConfig(l1=0, ssim=1), AffineMap(center=center, scale=scale), 1.3)
    expected = masked_ssim(target, prediction, mask, data_range=1.3).item()
    assert term(*in_network_units, mask).item() == pytest.approx(expected, rel=1e-4)


def test_every_term_has_gradients_that_lower_it(volumes):
    target, prediction, mask = volumes
    for name in LossConfig.model_fields:
        term = MaskedLoss(LossConfig.model_validate({"l1": 0, "ssim": 0, name: 1}), UNIT, 1.0)
        moved = prediction.clone().requires_grad_()
        before = term(target, moved, mask)
        before.backward()
        assert torch.isfinite(moved.grad).all()
        step = 0.1 * moved.grad / moved.grad.abs().max()
        assert term(target, prediction - step, mask) < before, name


def test_a_loss_without_any_term_is_refused():
    with pytest.raises(ConfigError, match="every weight of `loss` is 0"):
        resolve(None, ["loss.l1=0", "loss.ssim=0"])
    assert np.isclose(resolve(None, ["loss.ssim=0.5"]).loss.ssim, 0.5)


def test_the_losses_of_parts_add_up_to_that_of_the_batch(volumes):
    """Patches whose masks differ in size, one of them empty; each counts by its share of voxels, windows, neighbors."""
    target, prediction, _ = (torch.cat([volume, volume + 0.5, volume * 1.5]) for volume in volumes)
    mask = torch.ones_like(target, dtype=torch.bool)
    mask[0, ..., 9:] = False
    mask[1] = False
    loss = MaskedLoss(LossConfig(l1=1, smooth_l1=0.5, l2=2, ssim=1, gradient=3), UNIT, data_range=1.3)
    counts = torch.stack([loss.counts(part) for part in mask.split([1, 1, 1])])
    voxels, windows, neighbors = 14 * 17 * 12, 8 * 11 * 6, 13 * 17 * 12 + 14 * 16 * 12 + 14 * 17 * 11
    assert counts[2].tolist() == [voxels, voxels, voxels, windows, neighbors]
    assert counts[1].tolist() == [0] * 5
    shares = counts / counts.sum(0)
    parts = [loss(target[n : n + 1], prediction[n : n + 1], mask[n : n + 1], shares[n]).item() for n in range(3)]
    assert sum(parts) == pytest.approx(loss(target, prediction, mask).item(), rel=1e-5)
