"""The template, and people simulated once for all tests of the room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from volumetric.simulation.scan import draw_person, simulate
from volumetric.simulation.template import load_template


@pytest.fixture(scope="session")
def template():
    return load_template()


@pytest.fixture(scope="session")
def people(template):
    """Six people's drawn numbers."""
    return [draw_person(np.random.default_rng([7, k]), template) for k in range(6)]


@pytest.fixture(scope="session")
def clean_scans(people, template):
    """The first four without noise and shading, at 3 mm, with the person."""
    return [(p, simulate(np.random.default_rng(k), _quiet(p), template, 3.0)) for k, p in enumerate(people[:4])]


def _quiet(person):
    return replace(
        person,
        t1w=replace(person.t1w, bias=0.0, noise=0.0),
        t2w=replace(person.t2w, bias=0.0, noise=0.0),
    )
