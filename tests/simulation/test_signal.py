from dataclasses import astuple

import numpy as np
import pytest

from volumetric.simulation.signal import (
    LITERATURE,
    PROTOCOLS,
    Protocol,
    Relaxation,
    draw_tissues,
    mixed_magnitude,
    mprage,
    spin_echo,
    spoiled_gradient_echo,
    turbo_spin_echo,
)

TRAIN = {"tr_ms": 2300.0, "ti_ms": 900.0, "te_ms": 3.0, "flip_deg": 9.0, "echo_spacing_ms": 7.0, "num_pulses": 176}


def test_spoiled_gradient_echo_by_hand():
    # E1 = exp(-ln 2) = 1/2, a = 60: sin a (1 - 1/2) / (1 - 1/4) = 0.866025 * 2/3; T2* halves it once more
    t1 = 20 / np.log(2)
    signal = spoiled_gradient_echo(t1, 5 / np.log(2), 0.8, tr_ms=20.0, te_ms=5.0, flip_deg=60.0)
    assert signal == pytest.approx(0.8 * 0.8660254 * 2 / 3 / 2)


def test_spoiled_gradient_echo_peaks_at_the_ernst_angle():
    angles = np.linspace(1, 60, 600)
    signal = [spoiled_gradient_echo(800.0, 50.0, 1.0, tr_ms=20.0, te_ms=4.0, flip_deg=a) for a in angles]
    assert angles[int(np.argmax(signal))] == pytest.approx(np.rad2deg(np.arccos(np.exp(-20 / 800))), abs=0.1)


def test_spin_echo_by_hand():
    # TR = 3 T1 + TE / 2: 1 - 2 exp(-3) + exp(-3 - 0.05), T2 = TE: exp(-1)
    signal = spin_echo(1000.0, 100.0, 0.9, tr_ms=3050.0, te_ms=100.0)
    assert signal == pytest.approx(0.9 * (1 - 2 * 0.04978707 + np.exp(-3.05)) * 0.36787944)


def test_spin_echo_of_infinite_repetition_is_plain_decay():
    assert spin_echo(1000.0, 80.0, 1.0, tr_ms=1e6, te_ms=80.0) == pytest.approx(np.exp(-1))


def test_turbo_spin_echo_by_hand():
    # after the train T1 ln 2 is left: half recovers; TE = T2 / 2: exp(-1/2)
    signal = turbo_spin_echo(1000.0, 200.0, 0.9, tr_ms=1000 * np.log(2) + 150, te_ms=100.0, train_ms=150.0)
    assert signal == pytest.approx(0.9 * 0.5 * np.exp(-0.5))


def test_turbo_spin_echo_of_infinite_repetition_and_no_echo_time_is_proton_density():
    assert turbo_spin_echo(1000.0, 80.0, 0.7, tr_ms=1e6, te_ms=0.0, train_ms=200.0) == pytest.approx(0.7)


EARLY = TRAIN | {"ti_ms": 450.0, "num_pulses": 100}


def bloch_mprage(t1, tr_ms, ti_ms, te_ms, flip_deg, echo_spacing_ms, num_pulses):
    """The same train step by step, repeated until it is steady: an independent answer."""
    cos, sin = np.cos(np.deg2rad(flip_deg)), np.sin(np.deg2rad(flip_deg))

    def relax(mz, ms):
        return 1 + (mz - 1) * np.exp(-ms / t1)

    mz, before = 1.0, ti_ms - num_pulses * echo_spacing_ms / 2
    for _ in range(30):
        mz = relax(-mz, before)
        for pulse in range(num_pulses):
            if pulse == num_pulses // 2:
                middle = mz * sin
            mz = relax(mz * cos, echo_spacing_ms)
        mz = relax(mz, tr_ms - before - num_pulses * echo_spacing_ms)
    return middle


@pytest.mark.parametrize("t1", [646.0, 838.0, 1607.0, 4300.0])
def test_mprage_equals_the_train_played_out(t1):
    decay = np.exp(-3.0 / 45.0)
    assert mprage(t1, 45.0, 0.8, **TRAIN) == pytest.approx(0.8 * decay * bloch_mprage(t1, **TRAIN), rel=1e-9)


def test_mprage_of_vanishing_pulses_is_inversion_recovery():
    t1, small = 900.0, TRAIN | {"flip_deg": 1e-4}
    m = (1 - np.exp(-2300 / t1)) / (1 + np.exp(-2300 / t1))
    expected = np.deg2rad(1e-4) * (1 - (1 + m) * np.exp(-900 / t1)) * np.exp(-3 / 50)
    assert mprage(t1, 50.0, 1.0, **small) == pytest.approx(expected, rel=1e-6)


def test_mprage_of_an_endless_train_is_a_spoiled_gradient_echo():
    endless = TRAIN | {"num_pulses": 4000, "ti_ms": 14500.0, "tr_ms": 29000.0}
    expected = spoiled_gradient_echo(800.0, 50.0, 1.0, tr_ms=7.0, te_ms=3.0, flip_deg=9.0)
    assert mprage(800.0, 50.0, 1.0, **endless) == pytest.approx(expected, rel=1e-9)


def test_mprage_of_fluid_is_inverted():
    assert mprage(4300.0, 1000.0, 1.0, **EARLY) < 0 < mprage(646.0, 50.0, 0.77, **EARLY)


@pytest.mark.parametrize("field_strength", [1.5, 3.0])
@pytest.mark.parametrize("seed", range(20))
def test_both_protocols_order_the_tissues_of_every_subject(field_strength, seed):
    t1w, t2w = PROTOCOLS[field_strength]
    tissues = draw_tissues(np.random.default_rng(seed), field_strength)
    one = [abs(t1w.signal(np.float32(t.t1_ms), np.float32(45), t.pd)) for t in tissues.values()]
    two = [t2w.signal(np.float32(t.t1_ms), np.float32(t.t2_ms), t.pd) for t in tissues.values()]
    assert one[0] < one[1] < one[2]
    assert two[0] > two[1] > two[2]


def test_drawn_constants_lie_around_the_literature():
    rng = np.random.default_rng(0)
    drawn = np.array([[astuple(t) for t in draw_tissues(rng, 3.0).values()] for _ in range(400)])
    mean = np.array([astuple(t) for t in LITERATURE[3.0].values()])
    np.testing.assert_allclose(drawn.mean(0), mean, rtol=0.01)
    np.testing.assert_allclose(np.log(drawn).std(0), [[0.03, 0.03, 0.02]] * 3, rtol=0.15)


def mix(fractions, tissues, protocol, **over):
    num = np.shape(fractions)[1]
    plain = {"t1_ratio": np.ones(num), "t2_ratio": np.ones(num), "extra_r2": np.zeros(num)} | over
    arrays = {k: np.asarray(v, dtype=np.float32) for k, v in plain.items()}
    return mixed_magnitude(protocol, tissues, np.asarray(fractions, dtype=np.float32), **arrays)


def test_magnitude_is_taken_after_the_sum():
    protocol = Protocol("mprage", EARLY)
    tissues = [Relaxation(4300, 2000, 1.0), Relaxation(646, 72, 0.77)]
    fluid, white = (float(protocol.signal(np.float32(t.t1_ms), np.float32(t.t2_ms), t.pd)) for t in tissues)
    assert fluid < 0 < white
    mixed = mix([[1, 0, 0.6], [0, 1, 0.4]], tissues, protocol)
    np.testing.assert_allclose(mixed, [-fluid, white, abs(0.6 * fluid + 0.4 * white)], rtol=1e-4)


def test_iron_adds_to_the_rate_of_decay():
    protocol = Protocol("spin_echo", {"tr_ms": 1e7, "te_ms": 100.0})
    signal = mix([[1, 1]], [Relaxation(1000, 100, 1.0)], protocol, extra_r2=[0, 10], t2_ratio=[1.25, 1])
    np.testing.assert_allclose(signal, [np.exp(-0.8), np.exp(-2)], rtol=1e-4)
