from typing import get_args

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from tests.conftest import TINY, brain_pair
from volumetric.config.resolve import as_yaml, resolve
from volumetric.config.run import SourceNormalization
from volumetric.learning.train import train
from volumetric.model.folder import load_model
from volumetric.model.spec import SOURCE_MAPS, AffineMap, ModelSpec, StandardLandmarks
from volumetric.model.units import in_network_units, measure_sources

LEARNED = {
    "pooled": AffineMap(center=0.9, scale=0.25),
    "nyul": StandardLandmarks(landmarks=(0.0, *(0.05 + 0.1 * n for n in range(9)), 1.0)),
}


@pytest.fixture
def spec(run_folder):
    return load_model(run_folder).spec


def with_normalization(spec, name, num_sources=1):
    maps = (LEARNED[name],) * num_sources if name in LEARNED else ()
    sources = ("t1w", "t2w")[:num_sources]
    target = "t2w" if num_sources == 1 else "flair"
    return spec.model_copy(
        update={"source_normalization": name, "source_maps": maps, "sources": sources, "target": target}
    )


@pytest.mark.parametrize("name", get_args(SourceNormalization))
def test_a_patch_with_the_numbers_of_its_head_is_a_patch_of_the_head(spec, name):
    t1w, t2w = brain_pair(2)
    mask = t1w.array != 0
    sources = np.stack([image.array / np.median(image.array[mask]) for image in (t1w, t2w)])
    both = with_normalization(spec, name, num_sources=2)
    whole = in_network_units(both, sources, mask)
    assert whole.shape == sources.shape
    assert whole.dtype == np.float32
    assert (whole[:, ~mask] == 0).all()
    box = (slice(4, 20), slice(9, 30), slice(2, 17))
    measured = measure_sources(name, both.sources, sources, mask)
    patch = in_network_units(both, sources[:, *box], mask[box], measured)
    np.testing.assert_array_equal(patch, whole[:, *box])


def test_pooled_and_nyul_go_by_what_was_learned(spec):
    t1w, _ = brain_pair(2)
    mask = t1w.array != 0
    units = t1w.array / np.median(t1w.array[mask])
    pooled = in_network_units(with_normalization(spec, "pooled"), units[None], mask)[0]
    np.testing.assert_allclose(pooled[mask], (units[mask] - 0.9) / 0.25, rtol=1e-5, atol=1e-6)
    nyul = in_network_units(with_normalization(spec, "nyul"), units[None], mask)[0]
    np.testing.assert_allclose(np.quantile(nyul[mask], [0.01, 0.5, 0.8, 0.99]), [0, 0.45, 0.75, 1], atol=1e-3)


@pytest.mark.parametrize("name", get_args(SourceNormalization))
def test_a_model_reads_back_with_its_normalization(spec, name):
    written = with_normalization(spec, name)
    read = ModelSpec.model_validate(yaml.safe_load(as_yaml(written)))
    assert read == written
    assert [type(one) for one in read.source_maps] == [type(one) for one in written.source_maps]


def test_models_written_before_there_were_others_read_as_before(spec):
    content = yaml.safe_load(as_yaml(spec))
    content |= {"source_normalization": "pooled", "source_maps": [{"center": 0.9, "scale": 0.25}]}
    assert ModelSpec.model_validate(content).source_maps == (AffineMap(center=0.9, scale=0.25),)
    del content["source_normalization"], content["source_maps"]  # from before there was a choice
    assert ModelSpec.model_validate(content).source_normalization == "zscore"


@pytest.mark.parametrize(("name", "given"), [("nyul", "pooled"), ("pooled", "nyul"), ("robust", "pooled")])
def test_maps_of_another_normalization_are_refused(spec, name, given):
    content = yaml.safe_load(as_yaml(with_normalization(spec, given)))
    with pytest.raises(ValidationError, match="source_maps do not fit"):
        ModelSpec.model_validate(content | {"source_normalization": name})
    with pytest.raises(ValidationError, match="source_maps do not fit"):
        ModelSpec.model_validate(content | {"source_maps": []})


@pytest.mark.parametrize("name", ["nyul", "white_stripe"])
def test_a_model_trained_with_another_normalization_predicts(cohort, tmp_path, name):
    train([cohort], resolve(TINY, [f"intensity.source_normalization={name}"]), tmp_path)
    model = load_model(tmp_path)
    assert model.spec.source_normalization == name
    assert len(model.spec.source_maps) == (name in SOURCE_MAPS)
    t1w, _ = brain_pair(9)
    prediction = model.predict(t1w)
    assert prediction.image.array[prediction.mask.array].std() > 0
