import numpy as np
import pytest
from scipy.signal import find_peaks
from skimage.filters import threshold_multiotsu

from volumetric.imaging.nifti import read_image
from volumetric.imaging.white_matter import peaks, trimmed_histogram, white_matter_mean, white_matter_peak


def test_peaks_by_hand():
    density = np.array([9, 0, 5, 4, 10, 3, 3.1, 3, 0, 2, 1])
    assert peaks(density).tolist() == [2, 4, 9]  # the one at 6 rises by 0.1, and an end is no peak


def test_peaks_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        density = np.cumsum(rng.standard_normal(60))
        density -= density.min()
        np.testing.assert_array_equal(peaks(density), find_peaks(density, prominence=0.02 * density.max())[0])


@pytest.mark.parametrize(("contrast", "wanted"), [("t1w", 3.0), ("t2w", 2.0), ("flair", 2.0), ("pdw", 1.0)])
def test_each_contrast_has_its_peak(contrast, wanted):
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(mean, 0.1, n) for mean, n in ((1, 9000), (2, 20_000), (3, 12_000))])
    assert white_matter_peak(values, contrast) == pytest.approx(wanted, abs=0.03)


def test_the_histogram_leaves_outliers_out():
    values = np.arange(1001.0)
    centers, counts = trimmed_histogram(values, "t1w")
    assert centers[0] == pytest.approx(1 + 0.499)  # half a bin of 0.998 from the 0.1th percentile
    assert centers[-1] == pytest.approx(999 - 0.499)
    assert counts.sum() == 999
    values[-10:] = 1e6
    centers, counts = trimmed_histogram(values, "t1w")
    width = (980 + 970 / 4 - 1) / 1000
    assert centers[-1] == pytest.approx(980 + 970 / 4 - width / 2)
    assert counts.sum() == 990


@pytest.mark.real
@pytest.mark.parametrize("patient", ["patient07", "patient19"])
def test_the_peak_is_where_otsu_puts_white_matter(real_scans, patient):
    folder = real_scans / "ljubljana_ms/mni" / patient
    t1w, t2w = (read_image(folder / f"{contrast}.nii.gz").array for contrast in ("t1w", "t2w"))
    mask = t1w != 0
    white = t1w > threshold_multiotsu(t1w[mask], classes=3)[1]
    for contrast, array in {"t1w": t1w, "t2w": t2w}.items():
        peak = white_matter_peak(array[mask].astype(float), contrast)
        assert peak == pytest.approx(np.median(array[mask & white]), rel=0.03)


def test_the_mean_of_white_matter_is_that_of_its_class():
    values = np.repeat([1.0, 2.0, 4.0], [3000, 5000, 4000])
    for contrast, wanted in {"t1w": 4, "flair": 2, "pdw": 1, "t2w": 1}.items():
        assert white_matter_mean(values, contrast) == pytest.approx(wanted, abs=0.01)
