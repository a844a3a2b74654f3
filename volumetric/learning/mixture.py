"""Draws of a training on scanned and simulated pairs and sources: which is which, and the simulated ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from monai.transforms import Compose, MapTransform, NormalizeIntensityd, SelectItemsd
from torch import Tensor

from volumetric.config.run import RunConfig
from volumetric.imaging.intensity import PooledIntensities
from volumetric.learning.anatomies import TrainingAnatomy
from volumetric.learning.augmentation import PAIR
from volumetric.learning.pairs import TrainingPair
from volumetric.model.spec import ModelSpec
from volumetric.model.units import measure_sources
from volumetric.simulation.draws import draw_pair
from volumetric.simulation.pair import PairSimulation
from volumetric.transforms.augmentation import appearance_steps
from volumetric.transforms.normalize import NormalizeInMaskd
from volumetric.transforms.one_hot import OneHotLabelsd
from volumetric.transforms.simulate import RandSimulatePaird

NUM_FOR_STATISTICS = 32
"""Simulated subjects that are drawn for intensity statistics where there is no scanned pair."""

_KIND, _ANATOMY, _STATISTICS, _SOURCE_KIND = 1, 2, 3, 4  # streams of numbers beside those of (seed, draw)


def is_simulated(draw: int, config: RunConfig) -> bool:
    """True for the number of a draw that is a simulated pair."""
    share = config.mixture.simulated
    if config.mixture.simulated_first:
        return draw < round(share * config.optim.num_steps * draws_a_step(config))
    return bool(np.random.default_rng([config.seed, draw, _KIND]).random() < share)


def draws_a_step(config: RunConfig) -> int:
    """Subjects drawn for one optimizer step, over all ranks."""
    return config.patch.batch_size // config.patch.num_per_volume


def pair_of(draw: int, pairs: Sequence[TrainingPair], config: RunConfig) -> TrainingPair:
    """The scanned pair of a draw: each epoch takes all of them in an order of its own."""
    epoch, place = divmod(draw, len(pairs))
    return pairs[int(np.random.default_rng([config.seed, epoch]).permutation(len(pairs))[place])]


def has_simulated_source(draw: int, pair: TrainingPair, config: RunConfig) -> bool:
    """True for the number of a scanned draw whose source is simulated from the pair's label map."""
    if pair.anatomy is None:
        return False
    return bool(np.random.default_rng([config.seed, draw, _SOURCE_KIND]).random() < config.mixture.simulated_source)


def counted_draws(pairs: Sequence[TrainingPair], anatomies: Sequence[TrainingAnatomy], config: RunConfig) -> str:
    """The number of draws of each kind in a whole training, in words; empty where all are scanned."""
    num_maps = sum(pair.anatomy is not None for pair in pairs)
    if not anatomies and not num_maps:
        return ""
    draws = range(config.optim.num_steps * draws_a_step(config))
    scanned = [draw for draw in draws if not is_simulated(draw, config)]
    sources = sum(has_simulated_source(d, pair_of(d, pairs, config), config) for d in scanned) if num_maps else 0
    kinds = [f"{len(draws) - len(scanned)} simulated from {len(anatomies)} label maps"] if anatomies else []
    kinds += [f"{sources} with a source simulated from the label maps of {num_maps} scanned subjects"] * (num_maps > 0)
    return ", ".join(["draws: " + kinds[0], *kinds[1:], f"{len(scanned) - sources} scanned"])


def normalization_steps(spec: ModelSpec) -> list[MapTransform]:
    """The transforms of a patch in reference units, `measured` beside it, into network units."""
    target = NormalizeIntensityd("target", spec.target_map.center, spec.target_map.scale)
    if spec.label_classes is not None:
        return [OneHotLabelsd("source", spec.label_classes), target]
    learned = [source_map.numbers for source_map in spec.source_maps]
    return [
        NormalizeInMaskd("source", spec.source_normalization, learned=learned, measured_key="measured"),
        target,
    ]


class SimulatedDraws:
    """Draw number n -> a few patches of one simulated subject, the same in any process."""

    def __init__(self, anatomies: Sequence[TrainingAnatomy], config: RunConfig, spec: ModelSpec) -> None:
        """Take the anatomies; nothing is simulated yet."""
        (source,) = config.task.sources
        self._anatomies, self._seed, self._spec = list(anatomies), config.seed, spec
        self._simulate = RandSimulatePaird(
            "labels",
            config.simulation,
            region=config.mask.kind,
            spacing_mm=config.space.spacing_mm or (1.0, 1.0, 1.0),
            size=config.patch.size,
            num_samples=config.patch.num_per_volume,
            source=source,
            target=config.task.target,
        )
        self._finish = Compose(
            [
                *appearance_steps("source", config.augmentation),
                *normalization_steps(spec),
                SelectItemsd(PAIR),
            ]
        )

    def __getitem__(self, draw: int) -> list[dict[str, Tensor]]:
        """The patches of a draw in network units: `source (1, *size)`, `target (1, *size)`, `mask (1, *size)`."""
        place = np.random.default_rng([self._seed, draw, _ANATOMY]).integers(len(self._anatomies))
        seed = int(np.random.SeedSequence([self._seed, draw]).generate_state(1)[0])
        self._simulate.set_random_state(seed=seed)
        patches = self._simulate({"labels": self._anatomies[place].label_map()})
        self._finish.set_random_state(seed=seed)
        return [self._in_network_units(patch) for patch in patches]

    def _in_network_units(self, patch: Mapping[Hashable, Tensor]) -> dict[str, Tensor]:
        whole, mask = patch["whole_source"].numpy(), patch["whole_mask"][0].numpy()
        measured = measure_sources(self._spec.source_normalization, self._spec.sources, whole, mask)
        finished: dict[str, Tensor] = self._finish({**patch, "measured": measured})
        return finished


def simulated_intensities(
    anatomies: Sequence[TrainingAnatomy], config: RunConfig
) -> tuple[list[PooledIntensities], list[PooledIntensities]]:
    """Intensities of source and target of some simulated subjects, in the mask and in reference units."""
    (source,) = config.task.sources
    pooled: tuple[list[PooledIntensities], list[PooledIntensities]] = ([], [])
    for number in range(NUM_FOR_STATISTICS):
        rng = np.random.default_rng([config.seed, number, _STATISTICS])
        parameters = draw_pair(rng, config.simulation, source=source, target=config.task.target)
        anatomy = anatomies[number % len(anatomies)].label_map()
        pair = PairSimulation(anatomy, parameters, region=config.mask.kind)
        images = (pair.overview.source, pair.overview.target)
        for own, image, median in zip(pooled, images, pair.medians, strict=True):
            own.append(PooledIntensities())
            own[-1].add((image[pair.overview.brain] / median).numpy())
    return pooled
