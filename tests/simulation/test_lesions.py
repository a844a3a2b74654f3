from dataclasses import replace

import numpy as np

from volumetric.simulation.anatomy import make_anatomy
from volumetric.simulation.lesions import Lesions, draw_lesions, lesion_fraction


def test_one_lesion_of_known_size(subjects, template):
    shape = replace(subjects[0].shape, size=(1.0, 1.0, 1.0))
    anatomy = make_anatomy(np.random.default_rng(0), shape, template, 2.0)
    center = (28.0, -28.0, 30.0)
    lesions = Lesions((center,), ((6.0, 6.0, 6.0),), t2_ratio=2.0, t1_ratio=1.0, pd_ratio=1.0)
    share = lesion_fraction(np.random.default_rng(0), lesions, anatomy)
    assert (share <= anatomy.fractions[2]).all()
    distance = np.linalg.norm(anatomy.points - np.array(center)[:, None], axis=0)
    assert share[distance > 20].max() < 0.05
    assert share[distance < 2].mean() > 0.8


def test_no_lesions_is_no_lesion(subjects, template):
    anatomy = make_anatomy(np.random.default_rng(0), subjects[0].shape, template, 4.0)
    none = Lesions((), (), t2_ratio=2.0, t1_ratio=1.0, pd_ratio=1.0)
    assert lesion_fraction(np.random.default_rng(0), none, anatomy).max() < 1e-9


def test_lesions_crowd_around_the_ventricles(template):
    drawn = [draw_lesions(np.random.default_rng(k), template) for k in range(60)]
    assert {2, 9} <= {len(one.centers_mm) for one in drawn} <= set(range(2, 10))
    sites = {tuple(site): depth for site, depth in zip(template.white.tolist(), template.white_depth, strict=True)}
    depths = [sites[center] for one in drawn for center in one.centers_mm]
    assert np.median(depths) < 0.8 * np.median(template.white_depth)
