"""OpenVINO: a network converted once, kept beside the model, and compiled for the windows at hand."""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from volumetric.errors import InputError, one_line
from volumetric.machine import is_out_of_memory
from volumetric.outputs import hash_file, hash_json, versions, write_text

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference from torch, in SD of the output, that a conversion may have."""
_TRACED = (2, 2, 2)
_CHECKED = (4, 2, 3)
"""In strides, of 16 voxels at least. Not the shape that is traced: where a network's own code depends on the shape, the
conversion is wrong there. Two strides, since a norm of the coarsest level needs more than one voxel."""
_LEAST_STRIDE_VOX = 16
_KEPT_SHAPES = 8
"""Volumes of a cohort come in a few shapes; the compiled network of each is kept, its working memory given back."""
_FILES = ("network.xml", "network.bin")


class ConversionError(InputError):
    """A network that OpenVINO computes wrongly."""


def is_installed() -> bool:
    """True if OpenVINO can be imported."""
    return find_spec("openvino") is not None


class OpenVINO:
    """A network as OpenVINO runs it, on as many threads as torch has."""

    def __init__(
        self,
        network: nn.Module,
        in_channels: int,
        stride: int,
        cache: Path | None,
        key: str,
        *,
        bfloat16: bool = False,
    ) -> None:
        """Read the converted network, or convert it and keep it.

        Args:
            network: in evaluation mode, on the CPU.
            in_channels: of its input.
            stride: of the network.
            cache: folder to keep it in; one that cannot be written costs a conversion each time.
            key: changes whenever the network does; a hash.
            bfloat16: compute in it instead of float32.

        Raises:
            ConversionError: what OpenVINO computes is not what torch does, or bfloat16 on a CPU that has none.
        """
        # Without this its converter asks for consent to telemetry, and writes into the home folder.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino

        self._core = openvino.Core()
        self._precision = "bf16" if bfloat16 else "f32"
        if bfloat16 and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ConversionError("this CPU does not compute in bfloat16")
        self._compiled: dict[tuple[int, ...], Any] = {}
        folder = cache / _folder_name(key) if cache and key else None
        side = max(stride, _LEAST_STRIDE_VOX)
        traced, checked = ((1, in_channels, *(side * count for count in counts)) for counts in (_TRACED, _CHECKED))
        least = (1, in_channels, *[max(2 * stride, _LEAST_STRIDE_VOX)] * 3)
        if not (folder and self._read(folder, network, least)):
            self._network = _converted(network, traced)
            self._check(network, checked)
            _keep_if_writable(folder, lambda path: openvino.save_model(self._network, path, compress_to_fp16=False))

    def __call__(self, windows: Tensor) -> Tensor:
        """Windows `(N, C, *size)` -> `(N, D, *size)`, float32."""
        shape = tuple(windows.shape)
        last = next(reversed(self._compiled), shape)
        compiled = self._compiled.pop(shape, None) or self._compile(shape, self._precision)
        if last != shape:
            self._compiled[last].release_memory()
        while len(self._compiled) >= _KEPT_SHAPES:
            del self._compiled[next(iter(self._compiled))]
        self._compiled[shape] = compiled
        return _apply(compiled, windows)

    def _read(self, folder: Path, network: nn.Module, shape: tuple[int, ...]) -> bool:
        """Read the conversion in a folder, if there is one; False where it is damaged, or another network's.

        It was checked on a large shape before it was kept. The smallest one tells whose it is, in half the time.
        """
        if not _is_whole(folder):
            return False
        try:
            self._network = self._core.read_model(folder / _FILES[0])
            self._check(network, shape)
        except (RuntimeError, ConversionError) as error:
            if is_out_of_memory(error):
                raise
            log.warning("%s: not a conversion of this model (%s); it is made again", folder, one_line(error))
            shutil.rmtree(folder, ignore_errors=True)
            return False
        return True

    def _compile(self, shape: tuple[int, ...], precision: str) -> Any:
        """For one shape, which runs a twelfth faster than compiled for any."""
        network = self._network.clone()
        network.reshape(list(shape))
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # each process would take the same first cores
        }
        return self._core.compile_model(network, "CPU", options)

    def _check(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        windows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = network(windows)
        converted = _apply(self._compile(shape, "f32"), windows)
        difference = float((converted - expected).abs().max() / expected.std())
        if not difference <= TOLERANCE:
            raise ConversionError(f"its numbers are {difference:.1g} SD from torch's")


def _converted(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """A network traced on a shape and converted for any."""
    import openvino

    with _undisturbed():
        return openvino.convert_model(
            network,
            example_input=torch.zeros(shape),
            input=[openvino.PartialShape([-1, shape[1], -1, -1, -1])],
        )


def _folder_name(key: str) -> str:
    return f"openvino-{hash_json({'network': key, 'versions': versions('openvino')})[:16]}"


def _apply(compiled: Any, windows: Tensor) -> Tensor:
    return torch.from_numpy(compiled(windows.contiguous().numpy(), share_inputs=True)[0])


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Its converter traces, which torch deprecates, and leaves the root logger deaf to warnings."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _keep_if_writable(folder: Path | None, save: Callable[[Path], None]) -> None:
    if folder:
        with suppress(OSError):
            _keep(folder, save)


def _keep(folder: Path, save: Callable[[Path], None]) -> None:
    """Each file whole or not at all; one that another process has made meanwhile, and may be reading, stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        save(temporary / _FILES[0])
        write_text(temporary / "sha256", _digest(temporary))
        temporary.chmod(0o755)
        if _is_whole(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    hashes = folder / "sha256"
    try:
        files = all(file.is_file() for file in (hashes, *(folder / name for name in _FILES)))  # a pipe would never end
        return files and hashes.read_bytes() == _digest(folder).encode()
    except OSError:
        return False


def _digest(folder: Path) -> str:
    return " ".join(hash_file(folder / name) for name in _FILES)
