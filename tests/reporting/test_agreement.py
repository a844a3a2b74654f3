"""Bias and limits of agreement, known by hand."""

import math

import pytest

from tests.reporting.conftest import write_evaluation
from volumetric.reporting.agreement import agreements
from volumetric.reporting.results import read_results


def test_agreement_is_bland_and_altmans(evaluation):
    csf, gm, wm = agreements(read_results(evaluation))
    assert [a.label for a in (csf, gm, wm)] == ["CSF", "Gray matter", "White matter"]
    # differences 0.10, 0.12, 0.14, 0.16, 0.18: mean 0.14, SD 0.0316228
    assert csf.bias == pytest.approx(0.14)
    assert (csf.lower, csf.upper) == pytest.approx((0.14 - 1.96 * 0.0316228, 0.14 + 1.96 * 0.0316228), abs=1e-6)
    assert gm.means[0] == pytest.approx(2.05)


def test_one_subject_has_no_limits_and_no_tissue_no_plot(tmp_path):
    write_evaluation(tmp_path / "a", ["a"], images=False)
    agreement = agreements(read_results(tmp_path / "a"))[0]
    assert math.isnan(agreement.upper)
    write_evaluation(tmp_path / "b", ["a"], images=False, tissues=False)
    assert agreements(read_results(tmp_path / "b")) == []
