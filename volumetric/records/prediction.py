"""The files of `infer` beside its images: the sidecar of each, `predictions.csv` and `timings.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from volumetric.config.choices import MaskKind
from volumetric.config.inference import InferenceOptions
from volumetric.config.run import Contrast, Source
from volumetric.imaging.geometry import Shape
from volumetric.imaging.mask import MaskRule
from volumetric.imaging.nifti import stem
from volumetric.records.record import Record
from volumetric.records.table import Cell, SessionRow

PREDICTIONS = "predictions.csv"
"""In a folder of predictions: one row a subject and session."""
TIMINGS = "timings.csv"
"""Beside it: what differs between equal runs, so that all else can be compared byte for byte."""

_DESCRIPTION, _OF_UNCERTAINTY = "desc-synth_", "desc-synthUncertainty_"
_REMEDY = "repeat `volumetric infer` into that folder, which makes it again"
_AffineRow = tuple[float, float, float, float]


class WindowRecord(BaseModel):
    """The windows that were stitched into a prediction.

    Attributes:
        size: voxels of a window.
        number: of windows.
        starts: first voxel of each window on the model's grid.
        grid_shape: of the model's grid.
        grid_affine: the model's grid, voxel index -> world mm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Shape
    number: int
    starts: tuple[Shape, ...]
    grid_shape: Shape
    grid_affine: tuple[_AffineRow, _AffineRow, _AffineRow, _AffineRow]


class UncertaintyRecord(BaseModel):
    """The volume of half-widths beside a prediction, in the prediction's unit.

    Attributes:
        path: its file name.
        sha256: of that file.
        nominal_coverage: share of voxels whose error is meant to be smaller than the half-width.
        factor: half-width in widths that the network learned.
        num_calibration_subjects: that the factor was measured on; 0 where it is that of the Laplace distribution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str
    nominal_coverage: float
    factor: float
    num_calibration_subjects: int


class NoveltyRecord(BaseModel):
    """Distances of a scan from the training scans; above 1 each is warned about, and None was not measured.

    Attributes:
        score: the largest of the others.
        spacing: of voxel sides.
        intensity: of quartiles in the brain.
        features: of the network's own features.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float
    spacing: float
    intensity: float | None
    features: float | None


class PredictionSidecar(Record):
    """Provenance of a prediction: the JSON file beside it.

    Attributes:
        Description: notice for whoever opens the image.
        Sources: file names of the contrasts that were read, in the order of `sources` (BIDS); older versions wrote
            whole paths.
        subject_id: subject that the image is of.
        session_id: session; empty where there is only one.
        sources: source contrasts of the model.
        sources_used: those that this subject had, of a model that takes any of them; absent for other models.
        target: contrast of the image.
        intensity_scale: voxels are this times reference units.
        data_range: upper end of the range of PSNR and SSIM, reference units.
        mask_kind: region that was predicted, `brain` or `head`.
        mask_rule: rule that made the brain mask.
        model_sha256: of the model folder; of an ensemble, of its members' hashes.
        member_sha256: of the model folders of an ensemble; absent for a single model.
        settings: options of inference; auto is resolved, but for the engine.
        engine: what ran the network.
        precision: what it computed in.
        source_sha256: by column, of the bytes that were read.
        source_path_sha256: by contrast, of the path, which itself is not told: folders may have patients' names.
        prediction_sha256: of the image file that was written.
        uncertainty: the volume beside the image; absent where none was written.
        windows: that were stitched.
        prepared_here: whether `infer` prepared the scans by the model's recipe.
        preparation_reason: why it did, or did not.
        out_of_distribution: how far the scan lies from the training scans; absent in files of older versions.
        warnings: what a reader should know before trusting the image.
        versions: of the packages that decide the result.
    """

    REMEDY: ClassVar[str] = _REMEDY

    Description: str
    Sources: tuple[str, ...]
    subject_id: str
    session_id: str
    sources: tuple[Source, ...]
    sources_used: tuple[Source, ...] = Field((), exclude_if=lambda sources: not sources)
    target: Contrast
    intensity_scale: FiniteFloat
    data_range: FiniteFloat
    mask_kind: MaskKind
    mask_rule: MaskRule
    model_sha256: str
    member_sha256: tuple[str, ...] = Field((), exclude_if=lambda hashes: not hashes)
    settings: InferenceOptions
    engine: str
    precision: str
    source_sha256: dict[str, str]
    source_path_sha256: dict[str, str] = Field(default_factory=dict)
    prediction_sha256: str
    uncertainty: UncertaintyRecord | None = Field(None, exclude_if=lambda record: record is None)
    windows: WindowRecord
    prepared_here: bool
    preparation_reason: str
    out_of_distribution: NoveltyRecord | None = Field(None, exclude_if=lambda record: record is None)
    warnings: tuple[str, ...]
    versions: dict[str, str]


class PredictionRow(SessionRow):
    """A row of `predictions.csv`.

    Attributes:
        path: of the image, relative to the table; empty where inference failed.
        sources: contrasts that were read, with spaces between; a column only for a model that takes any of its sources.
        status: `ok`, also for what an earlier call made, or `failed`.
        error: reason of a failure.
        out_of_distribution: how far the scan lies from the training scans; above 1 is warned about.
        warnings: those of the sidecar, one after the other.
    """

    REMEDY: ClassVar[str] = _REMEDY

    path: str = ""
    sources: str = ""
    status: Literal["ok", "failed"]
    error: str = ""
    out_of_distribution: float | None = None
    warnings: str = ""

    @classmethod
    def of(cls, path: str, sidecar: PredictionSidecar) -> Self:
        """The row of an image with a sidecar."""
        record = sidecar.out_of_distribution
        return cls(
            subject_id=sidecar.subject_id,
            session_id=sidecar.session_id,
            path=path,
            sources=" ".join(sidecar.sources_used),
            status="ok",
            out_of_distribution=None if record is None else record.score,
            warnings="; ".join(sidecar.warnings),
        )

    def to_cells(self) -> dict[str, Cell]:
        """The cells of a row by column, without sources that it does not name."""
        return {name: cell for name, cell in super().to_cells().items() if name != "sources" or cell}

    @classmethod
    def write_table(cls, path: Path, rows: Iterable[Self], columns: Sequence[str] | None = None) -> None:
        """Write a table, without the column of sources where no row names any."""
        rows = list(rows)
        some = [name for name in cls.model_fields if name != "sources" or any(row.sources for row in rows)]
        super().write_table(path, rows, columns or some)

    @model_validator(mode="after")
    def _image_is_named(self) -> Self:
        if self.status == "ok" and not self.path:
            raise ValueError("status is ok and path is empty")
        return self


class TimingRow(SessionRow):
    """A row of `timings.csv`.

    Attributes:
        seconds: time that reading, computing and writing took.
    """

    REMEDY: ClassVar[str] = _REMEDY

    seconds: Annotated[float, Field(ge=0)]


def uncertainty_path(image: Path) -> Path:
    """The volume of half-widths of a prediction: `sub-1_desc-synth_T2w` -> `sub-1_desc-synthUncertainty_T2w`."""
    return image.with_name(image.name.replace(_DESCRIPTION, _OF_UNCERTAINTY))


def is_uncertainty(path: Path) -> bool:
    """True for the name of such a volume."""
    return _OF_UNCERTAINTY in path.name


def sidecar_path(image: Path) -> Path:
    """The sidecar of an image: the same name, ending in `.json`."""
    return image.with_name(stem(image) + ".json")
