"""The template, and subjects simulated once for all tests of the room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from volumetric.simulation.scan import draw_subject, simulate
from volumetric.simulation.template import load_template


@pytest.fixture(scope="session")
def template():
    return load_template()


@pytest.fixture(scope="session")
def subjects(template):
    """Six subjects's drawn numbers."""
    return [draw_subject(np.random.default_rng([7, k]), template) for k in range(6)]


@pytest.fixture(scope="session")
def clean_scans(subjects, template):
    """The first four without noise and shading, at 3 mm, with the subject."""
    return [(p, simulate(np.random.default_rng(k), _quiet(p), template, 3.0)) for k, p in enumerate(subjects[:4])]


def _quiet(subject):
    return replace(
        subject,
        t1w=replace(subject.t1w, bias=0.0, noise=0.0),
        t2w=replace(subject.t2w, bias=0.0, noise=0.0),
    )
