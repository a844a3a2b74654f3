import numpy as np

from volumetric.evaluation.segmentation import combine, segment


def test_the_classes_of_a_three_tone_volume_are_its_tones():
    rng = np.random.default_rng(0)
    mask = np.zeros((17, 19, 15), bool)
    mask[2:-2, 2:-3, 1:-2] = True
    known = np.where(mask, 1 + 3 * np.arange(17)[:, None, None] // 17, 0)
    image = np.where(mask, known * 0.3 + rng.normal(0, 0.01, mask.shape), 0).astype(np.float32)
    assert (segment(image, mask) == known).mean() > 0.99


def test_both_contrasts_in_one_by_hand():
    t1w = np.array([[[1.0, 0.5, 3.0]]], np.float32)
    t2w = np.array([[[1.0, 1.5, 1.0]]], np.float32)
    mask = np.array([[[True, True, False]]])
    assert combine(t1w, t2w, mask).ravel().tolist() == [0.0, -0.5, 0.0]
