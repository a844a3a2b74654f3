import numpy as np
import pytest

from volumetric.config.simulation import SimulationConfig
from volumetric.simulation.draws import compressed, draw_constants, draw_pair, tissue_signals
from volumetric.simulation.protocols import DrawnProtocol, draw_t1w, draw_t2w
from volumetric.simulation.signal import Protocol
from volumetric.simulation.tissues import NAMES, NUMBER, TISSUES

SPIN_ECHO = DrawnProtocol(Protocol("spin_echo", {"tr_ms": 4000.0, "te_ms": 90.0}), False, 0.0, False, 1.0, 1.0, 1.0)


def drawn(seed, **settings):
    return draw_pair(np.random.default_rng(seed), SimulationConfig(**settings))


def test_the_same_seed_draws_the_same_numbers():
    a, b, c = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(a.target.signals, b.target.signals)
    assert a.surfaces == b.surfaces != c.surfaces
    assert (a.field_seed, a.noise_seed) == (b.field_seed, b.noise_seed)


@pytest.mark.parametrize(
    "changed",
    [
        {"lesion_probability": 1.0},
        {"tumor_probability": 1.0},
        {"deformation": 0.0},
        {"random_contrast_probability": 1.0},
        {"thick_slice_probability": 1.0},
        {"motion_probability": 1.0},
        {"deface_probability": 1.0},
    ],
)
def test_one_setting_leaves_the_other_parts_as_they_are(changed):
    plain, other = drawn(4), drawn(4, **changed)
    assert plain.surfaces == other.surfaces
    assert (plain.field_strength, plain.field_seed) == (other.field_strength, other.field_seed)
    np.testing.assert_array_equal(plain.target.signals, other.target.signals)


def test_probabilities_are_met():
    num = 400
    pairs = [
        drawn(seed, lesion_probability=0.3, tumor_probability=0, thick_slice_probability=0.6) for seed in range(num)
    ]
    assert np.mean([len(pair.lesions) > 0 for pair in pairs]) == pytest.approx(0.3, abs=0.08)
    assert np.mean([pair.source.thick_axis >= 0 for pair in pairs]) == pytest.approx(0.6, abs=0.08)
    assert np.mean([pair.shape.mirrored for pair in pairs]) == pytest.approx(0.5, abs=0.08)


def test_motion_is_drawn_beside_all_else_for_source_and_target_apart():
    still, moving = (drawn(6, motion_probability=share, clean_target=False) for share in (0.0, 1.0))
    for before, after in ((still.source, moving.source), (still.target, moving.target)):
        assert before.motion is None
        assert after.motion is not None
        same = [name for name in vars(before) if name not in ("signals", "textures", "motion")]
        assert [getattr(before, name) for name in same] == [getattr(after, name) for name in same]
        np.testing.assert_array_equal(before.signals, after.signals)
    assert moving.source.motion != moving.target.motion
    assert (still.field_seed, still.noise_seed) == (moving.field_seed, moving.noise_seed)
    assert drawn(6, motion_probability=1.0).target.motion is None
    share = np.mean([drawn(seed).source.motion is not None for seed in range(400)])
    assert share == pytest.approx(0.1, abs=0.05)


def test_fluid_is_dark_in_every_t1w_and_bright_in_every_t2w_and_fat_is_bright_in_both():
    rng = np.random.default_rng(0)
    for _ in range(200):
        constants = draw_constants(rng, 3.0)
        t1w, t2w = (tissue_signals(draw(rng), constants, 3.0, 1.0) for draw in (draw_t1w, draw_t2w))
        white, fluid, fat, air = (NUMBER[name] for name in ("white_matter", "ventricle", "fat", "air"))
        assert abs(t1w[fluid]) < t1w[white] < t1w[fat]
        assert t2w[fluid] > t2w[white]
        assert t1w[air] == t2w[air] == 0


def test_white_matter_is_brighter_than_cortex_in_t1w_and_darker_in_t2w():
    rng = np.random.default_rng(1)
    ratios = {"t1w": [], "t2w": []}
    for _ in range(200):
        constants = draw_constants(rng, float(rng.choice([1.5, 3.0])))
        for name, draw in (("t1w", draw_t1w), ("t2w", draw_t2w)):
            signals = tissue_signals(draw(rng), constants, 1.5, 1.0)
            ratios[name].append(signals[NUMBER["white_matter"]] / signals[NUMBER["cortex"]])
    assert np.quantile(ratios["t1w"], 0.02) > 1
    assert np.median(ratios["t2w"]) < 0.95


def test_a_tissues_signal_is_the_equation_with_iron():
    """The pallidum at 3 T: 1/T2 grows by 0.12 / s per tesla and mg."""
    constants = {name: tissue.at(3.0) for name, tissue in TISSUES.items()}
    own, iron = constants["pallidum"], TISSUES["pallidum"].iron
    rate = 1 / own.t2_ms + 0.12 * 3 * iron / 1000
    recovered = 1 - 2 * np.exp(-(4000 - 45) / own.t1_ms) + np.exp(-4000 / own.t1_ms)
    wanted = own.pd * recovered * np.exp(-90 * rate)
    assert tissue_signals(SPIN_ECHO, constants, 3.0, 1.0)[NUMBER["pallidum"]] == pytest.approx(wanted, rel=1e-5)
    without = tissue_signals(SPIN_ECHO, constants, 3.0, 0.0)[NUMBER["pallidum"]]
    assert without > wanted * 1.5


def test_saturation_takes_the_bound_share():
    constants = {name: tissue.at(1.5) for name, tissue in TISSUES.items()}
    free = tissue_signals(SPIN_ECHO, constants, 1.5, 1.0)
    saturated = tissue_signals(DrawnProtocol(**{**vars(SPIN_ECHO), "saturation": 0.5}), constants, 1.5, 1.0)
    for name in ("white_matter", "cortex", "ventricle"):
        share = TISSUES[name].bound
        assert saturated[NUMBER[name]] == pytest.approx(free[NUMBER[name]] * (1 - 0.5 * share), rel=1e-5)
    assert TISSUES["white_matter"].bound > TISSUES["cortex"].bound > TISSUES["ventricle"].bound == 0


def test_compression_keeps_white_matter_and_signs():
    signals = np.full(len(NAMES), -0.2, np.float32)
    signals[NUMBER["white_matter"]], signals[NUMBER["cortex"]], signals[NUMBER["fluid"]] = 0.4, 0.1, 0.025
    half = compressed(signals, 0.5, 0.75)
    assert half[NUMBER["white_matter"]] == pytest.approx(0.4)
    assert half[NUMBER["cortex"]] == pytest.approx(0.4 * 0.25**0.5)  # solid brain
    assert half[NUMBER["fluid"]] == pytest.approx(0.4 * 0.0625**0.75)
    assert (np.sign(half) == np.sign(signals)).all()
    np.testing.assert_allclose(compressed(signals, 1.0, 1.0), signals, rtol=1e-5)


def test_iron_makes_the_pallidum_the_darkest_nucleus_in_t2w():
    constants = {name: tissue.at(3.0) for name, tissue in TISSUES.items()}
    signals = tissue_signals(SPIN_ECHO, constants, 3.0, 1.0)
    order = sorted(("pallidum", "putamen", "caudate", "thalamus", "cortex"), key=lambda name: signals[NUMBER[name]])
    assert order[0] == "pallidum"
    assert order[-1] == "cortex"
