"""Doubts about training scans: each kind is one warning that names the subjects."""

import numpy as np
import pytest

from tests.conftest import write_cohort
from volumetric.config.resolve import resolve
from volumetric.imaging.intensity import PooledIntensities
from volumetric.learning.doubts import _skew, warn_of_doubts
from volumetric.learning.reading import read_pairs
from volumetric.manifest import read_manifest

SWAPPED = "the t1w looks like a T2w and the t2w like a T1w"


@pytest.fixture
def pairs_of(tmp_path):
    def read(manifest, config):
        return read_pairs(read_manifest(manifest).rows, config, tmp_path / "cache", title="t")

    return read


def test_attack_1_swapped_columns_are_one_warning_with_the_subjects(tmp_path, pairs_of, tiny_config, caplog):
    manifest = write_cohort(tmp_path / "cohort", ["train"] * 3)
    pairs = pairs_of(manifest, tiny_config)
    caplog.clear()
    warn_of_doubts(pairs, tiny_config)
    assert not caplog.records
    for name in ("p0", "p2"):
        folder = tmp_path / "cohort" / name
        (folder / "t1w.nii.gz").rename(folder / "x")
        (folder / "t2w.nii.gz").rename(folder / "t1w.nii.gz")
        (folder / "x").rename(folder / "t2w.nii.gz")
    pairs = pairs_of(manifest, tiny_config)
    caplog.clear()
    warn_of_doubts(pairs, tiny_config)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"p0, p2: {SWAPPED}")
    backward = resolve("tiny", ["task.sources=[t2w]", "task.target=t1w"])
    caplog.clear()
    warn_of_doubts(pairs_of(manifest, backward), backward)
    assert [record.getMessage().partition(": ")[0] for record in caplog.records if record.levelname == "WARNING"] == [
        "p0, p2"
    ]


def test_the_skew_of_known_quantiles():
    intensities = PooledIntensities()
    intensities.add(np.repeat([0.8, 1.0, 1.6], [10, 80, 10]))
    assert _skew(intensities) == pytest.approx(3.0, rel=1e-3)
    constant = PooledIntensities()
    constant.add(np.full(9, 1.0))
    assert np.isnan(_skew(constant))  # which is no doubt: nan is not below any limit


def test_attack_2_scans_with_fewer_voxels_than_a_patch_are_one_warning_with_the_subjects(
    tmp_path, pairs_of, tiny_config, caplog
):
    manifest = write_cohort(tmp_path / "cohort", ["train"] * 7, shape=(5, 6, 7))
    pairs = pairs_of(manifest, tiny_config)
    caplog.clear()
    warn_of_doubts(pairs, tiny_config)
    (message,) = [record.getMessage() for record in caplog.records if "little to learn" in record.getMessage()]
    assert message.startswith("p0, p1, p2, p3, p4 and 2 more: ")
    assert "fewer voxels than a patch (16 x 16 x 16; of the first " in message
    assert "smaller patch.size" in message
