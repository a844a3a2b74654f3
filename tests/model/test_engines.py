import logging
import os

import numpy as np
import pytest
import torch

from tests.conftest import brain_pair, oblique_affine
from volumetric.config.inference import InferenceOptions
from volumetric.config.network import DynUNetConfig, SeedUNetConfig, SegResNetConfig, SwinUNETRConfig, UNetConfig
from volumetric.imaging.nifti import Image
from volumetric.model.engines import EngineError, NetworkRunner, choose_engine, openvino
from volumetric.model.folder import load_model
from volumetric.model.networks import build_network, channels_last
from volumetric.model.options import resolve_options
from volumetric.model.predict import Model

pytestmark = pytest.mark.skipif(not openvino.is_installed(), reason="needs OpenVINO")

NETWORKS = {
    "unet": UNetConfig(channels=(8, 16, 24), num_blocks=1),
    "unet, stem 2": UNetConfig(channels=(8, 16), num_blocks=1, stem_stride=2),
    "unet, instance": UNetConfig(channels=(8, 16), norm="instance"),
    "seed_unet": SeedUNetConfig(name="seed_unet"),
    "segresnet": SegResNetConfig(name="segresnet", width=8, num_blocks=(1, 1, 1)),
    "dynunet": DynUNetConfig(name="dynunet", channels=(8, 16, 24)),
}


def network(config, seed=0, *, in_channels=1):
    torch.manual_seed(seed)
    return build_network(config, in_channels).eval()


def engine(net, name="auto", *, stride=8, cache=None, key="abc", device="cpu", precision="float32"):
    options = InferenceOptions(device=device, engine=name, precision=precision)
    return choose_engine(net, 1, stride=stride, options=options, cache=cache, key=key)


@pytest.mark.parametrize("name", NETWORKS)
def test_openvino_computes_what_torch_computes_for_windows_of_any_shape(name):
    net = network(NETWORKS[name])
    run = engine(net, "openvino")
    for shape in ((2, 1, 16, 40, 24), (1, 1, 32, 16, 48)):
        windows = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = net(windows)
        torch.testing.assert_close(run(windows), expected, atol=1e-4 * float(expected.std()), rtol=0)


def test_processes_are_not_tied_to_the_same_core():
    """Two processes of one thread each took as long as one: OpenVINO pinned both to core 0."""
    run = openvino.OpenVINO(network(NETWORKS["unet, stem 2"]), 1, 8, None, "")
    with torch.inference_mode():
        run(torch.zeros(1, 1, 16, 16, 16))
    (compiled,) = run._compiled.values()
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize("name", NETWORKS)
def test_issue_17_23_torch_gives_the_same_bytes_on_any_number_of_threads(name):
    """A convolution of one voxel is another library's on one thread than on several; so are the sums of a norm."""
    run = engine(channels_last(network(NETWORKS[name])), "torch")
    windows = torch.randn((1, 1, 32, 40, 48), generator=torch.Generator().manual_seed(1))
    threads, outputs = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            with torch.inference_mode():
                outputs.append(run(windows))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_a_network_that_openvino_cannot_have_runs_in_torch_and_that_is_said_once(caplog):
    net = network(SwinUNETRConfig(name="swinunetr", width=12))
    run = engine(net)
    windows = torch.randn(1, 1, 64, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(run(windows), net(windows))
    assert run.name == "torch"
    assert [record.message.startswith("openvino cannot run this network (") for record in caplog.records] == [True]


def test_a_conversion_that_computes_something_else_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(openvino, "TOLERANCE", -1.0)
    net = network(NETWORKS["unet"])
    assert engine(net)(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 1, 8, 8, 8)
    assert "SD from torch's" in caplog.text
    with pytest.raises(EngineError, match="leave the engine to auto"):
        engine(net, "openvino")(torch.zeros(1, 1, 8, 8, 8))


def test_an_engine_that_fails_at_work_is_left_for_the_next_once(caplog):
    calls = []

    def weak():
        def run(windows):
            calls.append("weak")
            if len(calls) > 1:
                raise RuntimeError("no more")
            return windows

        return run

    run = NetworkRunner([("weak", weak), ("strong", lambda: lambda windows: windows + 1)])
    assert [float(run(torch.zeros(1))) for _ in range(3)] == [0, 1, 1]
    assert run.name == "strong"
    assert len(caplog.records) == 1
    assert "weak cannot run this network (no more); strong does" in caplog.text

    def broken():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        NetworkRunner([("weak", broken), ("last", broken)])(torch.zeros(1))


def test_an_engine_without_memory_is_not_left_for_one_that_needs_more():
    def greedy():
        raise RuntimeError("std::bad_alloc")

    run = NetworkRunner([("greedy", greedy), ("next", lambda: lambda windows: windows)])
    with pytest.raises(RuntimeError, match="bad_alloc"):
        run(torch.zeros(1))
    assert run.name == "greedy"


def test_a_norm_of_the_coarsest_level_has_more_than_one_voxel_to_trace():
    net = network(UNetConfig(channels=(4,) * 6, num_blocks=1, norm="instance"))
    run = engine(net, "openvino", stride=32)
    windows = torch.randn(1, 1, 64, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = net(windows)
    torch.testing.assert_close(run(windows), expected, atol=1e-4 * float(expected.std()), rtol=0)


def test_a_conversion_that_another_process_made_meanwhile_stays(tmp_path):
    def save(path):
        path.write_text("graph")
        path.with_suffix(".bin").write_text("weights")

    folder = tmp_path / "engines" / "it"
    openvino._keep(folder, save)
    number = folder.stat().st_ino
    openvino._keep(folder, save)
    assert folder.stat().st_ino == number
    assert [path.name for path in folder.parent.iterdir()] == ["it"]


def test_an_overlap_means_windows(run_folder):
    spec = load_model(run_folder).spec.model_copy(update={"whole_volume": True})
    for options, whole_volume, overlap in (
        (InferenceOptions(), True, None),
        (InferenceOptions(overlap=0.5), False, 0.5),
        (InferenceOptions(whole_volume=False), False, spec.overlap),
    ):
        settings = resolve_options(options, spec, torch.device("cpu"))
        assert (settings.whole_volume, settings.overlap) == (whole_volume, overlap)
    with pytest.raises(ValueError, match="--overlap is of windows"):
        InferenceOptions(overlap=0.5, whole_volume=True)


@pytest.mark.parametrize(
    ("device", "precision", "resolved"),
    [("cpu", "auto", "float32"), ("cuda", "auto", "bfloat16"), ("cuda", "float32", "float32")],
)
def test_options_are_resolved_for_the_device_and_the_engine_stays_free_to_fall_back(
    run_folder, device, precision, resolved
):
    spec = load_model(run_folder).spec
    settings = resolve_options(InferenceOptions(precision=precision), spec, torch.device(device))
    assert (settings.device, settings.engine, settings.precision) == (device, "auto", resolved)


def test_a_conversion_is_kept_and_read_back(tmp_path, monkeypatch):
    net = network(NETWORKS["unet"])
    windows = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))
    first = engine(net, "openvino", cache=tmp_path / "engines")(windows)
    (folder,) = (tmp_path / "engines").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o755
    monkeypatch.setattr("openvino.convert_model", None)  # nothing can be converted: it is read
    assert torch.equal(engine(net, "openvino", cache=tmp_path / "engines")(windows), first)
    with pytest.raises(EngineError, match=r"not callable"):
        engine(net, "openvino", cache=tmp_path / "engines", key="another")


def test_each_shape_is_compiled_once_and_only_the_last_few_are_kept(monkeypatch):
    monkeypatch.setattr(openvino, "_KEPT_SHAPES", 2)
    net = network(NETWORKS["unet"])
    run = openvino.OpenVINO(net, 1, 8, None, "")
    compiled, original = [], run._compile
    monkeypatch.setattr(run, "_compile", lambda *what: compiled.append(what[0]) or original(*what))
    a, b, c = (torch.randn(1, 1, side, 8, 12, generator=torch.Generator().manual_seed(side)) for side in (8, 12, 16))
    first = {}
    for windows in (a, b, a, b, c, b, a):
        found = run(windows)
        assert torch.equal(first.setdefault(windows.shape, found), found)
        with torch.inference_mode():
            torch.testing.assert_close(found, net(windows), atol=1e-4, rtol=0)
    assert [shape[2] for shape in compiled] == [8, 12, 16, 8]


def test_a_damaged_conversion_is_made_again(tmp_path):
    net = network(NETWORKS["unet"])
    windows = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))
    first = engine(net, "openvino", cache=tmp_path / "engines")(windows)
    (folder,) = (tmp_path / "engines").iterdir()
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "network.bin").write_bytes(whole["network.bin"][:-9])
    assert torch.equal(engine(net, "openvino", cache=tmp_path / "engines")(windows), first)
    assert {path.name for path in (tmp_path / "engines").iterdir()} == {folder.name}
    assert (folder / "network.bin").read_bytes() == whole["network.bin"]


def test_the_conversion_of_another_model_is_not_trusted(tmp_path, caplog):
    """The second network's files, whole, in the folder of the first: the first is converted again."""
    nets = {key: network(UNetConfig(channels=(8, 16), num_blocks=1), seed) for seed, key in enumerate(("a", "b"))}
    windows = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))
    results, folders = {}, {}
    for key, net in nets.items():
        results[key] = engine(net, "openvino", cache=tmp_path / key, key=key)(windows)
        (folders[key],) = (tmp_path / key).iterdir()
    assert not torch.allclose(results["a"], results["b"])
    own = (folders["a"] / "network.bin").read_bytes()
    for file in folders["b"].iterdir():
        (folders["a"] / file.name).write_bytes(file.read_bytes())
    assert torch.equal(engine(nets["a"], "openvino", cache=tmp_path / "a", key="a")(windows), results["a"])
    assert "not a conversion of this model" in caplog.text
    assert (folders["a"] / "network.bin").read_bytes() == own


def test_a_whole_conversion_is_not_deleted_for_want_of_memory(tmp_path, monkeypatch):
    net = network(NETWORKS["unet"])
    windows = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))
    engine(net, "openvino", cache=tmp_path)(windows)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}

    def full(*_):
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(openvino.OpenVINO, "_check", full)
    with pytest.raises(EngineError, match="bad_alloc"):
        engine(net, "openvino", cache=tmp_path)(windows)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == whole


def test_a_conversion_that_openvino_cannot_read_is_made_again(tmp_path):
    """A graph that is no graph, with a checksum that says it is whole."""
    net = network(NETWORKS["unet"])
    windows = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))
    first = engine(net, "openvino", cache=tmp_path / "engines")(windows)
    (folder,) = (tmp_path / "engines").iterdir()
    (folder / "network.xml").write_text("<net>")
    (folder / "sha256").write_text(openvino._digest(folder))
    assert torch.equal(engine(net, "openvino", cache=tmp_path / "engines")(windows), first)


def test_a_conversion_whose_checksum_is_binary_is_made_again(tmp_path, caplog):
    net = network(NETWORKS["unet"])
    windows = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))
    first = engine(net, "openvino", cache=tmp_path / "engines")(windows)
    (folder,) = (tmp_path / "engines").iterdir()
    (folder / "sha256").write_bytes(bytes(range(256)))
    assert torch.equal(engine(net, "openvino", cache=tmp_path / "engines")(windows), first)
    assert (folder / "sha256").read_text() == openvino._digest(folder)


def test_a_folder_that_cannot_be_written_costs_only_the_cache(tmp_path):
    (tmp_path / "engines").write_text("in the way")
    net = network(NETWORKS["unet"])
    assert engine(net, "openvino", cache=tmp_path / "engines")(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 1, 8, 8, 8)


def test_engines_that_cannot_be_had_are_named(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    net = network(NETWORKS["unet"])
    with pytest.raises(EngineError, match="runs on the CPU"):
        engine(net, "openvino", device="cuda")
    assert engine(net, device="cuda").name == "torch"
    monkeypatch.setattr(openvino, "is_installed", lambda: False)
    assert engine(net).name == "torch"
    assert "pip install 'volumetric[openvino]'" in caplog.text
    with pytest.raises(EngineError, match="it is not installed"):
        engine(net, "openvino")


SHAPES = [((31, 37, 29), "LAS"), ((12, 50, 20), "RAS"), ((9, 11, 7), "PIR")]


@pytest.mark.parametrize(("shape", "orientation"), SHAPES)
@pytest.mark.parametrize(("engine_name", "whole_volume"), [("openvino", True), ("openvino", False), ("torch", False)])
def test_every_engine_and_plan_gives_the_image_of_one_eager_pass(
    run_folder, shape, orientation, engine_name, whole_volume
):
    """Windows of a network that looks at single voxels; a whole volume of one that looks around."""
    t1w, _ = brain_pair(3, shape=shape, affine=oblique_affine(orientation))
    trained = load_model(run_folder)
    net = trained.network if whole_volume else torch.nn.Conv3d(1, 1, 1)
    reference = (
        Model(trained.spec, net, options=InferenceOptions(engine="torch", whole_volume=True)).predict(t1w).image.array
    )
    overlap = None if whole_volume else 0.4
    options = InferenceOptions(engine=engine_name, whole_volume=whole_volume, overlap=overlap)
    model = Model(trained.spec, net, options=options)
    found = model.predict(t1w)
    assert model.engine.name == engine_name
    assert len(found.plan.starts) == 1 or not whole_volume
    inside = reference != 0
    np.testing.assert_allclose(found.image.array, reference, atol=1e-4 * reference[inside].std())


@pytest.mark.parametrize("engine_name", ["auto", "torch"])
def test_bfloat16_is_there_for_the_asking_and_moves_the_image_a_little(run_folder, tmp_path, engine_name):
    t1w, _ = brain_pair(3)
    exact, fast = (
        load_model(run_folder, options=options).predict(t1w).image.array
        for options in (
            InferenceOptions(device="cpu", engine=engine_name, precision=name) for name in ("auto", "bfloat16")
        )
    )
    difference = np.sqrt(np.mean((fast - exact)[exact > 0] ** 2)) / exact[exact > 0].std()
    assert 1e-5 < difference < 0.03


def test_a_cpu_without_bfloat16_leaves_it_to_torch(monkeypatch, caplog):
    import openvino as library

    class Older:
        def get_property(self, *_):
            return ["FP32"]

    monkeypatch.setattr(library, "Core", Older)
    run = engine(network(NETWORKS["unet"]), precision="bfloat16")
    assert run(torch.zeros(1, 1, 8, 8, 8)).dtype == torch.bfloat16
    assert "this CPU does not compute in bfloat16" in caplog.text


def test_two_sources_go_through_every_engine_alike(run_folder):
    t1w, t2w = brain_pair(3)
    spec = load_model(run_folder).spec.model_copy(update={"sources": ("t1w", "pdw")})
    spec = spec.model_copy(
        update={
            "training": spec.training.model_copy(update={"source_quantiles": dict.fromkeys(spec.sources, (0.0,) * 5)})
        }
    )
    net = network(UNetConfig(channels=(8, 16), num_blocks=1), in_channels=2)
    given = {"t1w": t1w, "pdw": Image(t2w.array * (t1w.array != 0), t2w.affine)}
    found = {
        name: Model(spec, net, options=InferenceOptions(engine=name)).predict(given).image.array
        for name in ("openvino", "torch")
    }
    np.testing.assert_allclose(found["openvino"], found["torch"], atol=1e-4 * found["torch"].std())


def test_a_pipe_in_the_place_of_a_conversion_is_not_waited_for(tmp_path):
    net = network(NETWORKS["unet"])
    engine(net, "openvino", cache=tmp_path)(torch.zeros(1, 1, 8, 8, 8))
    (kept,) = tmp_path.rglob("sha256")
    kept.unlink()
    os.mkfifo(kept)
    engine(net, "openvino", cache=tmp_path)(torch.zeros(1, 1, 8, 8, 8))
    assert kept.is_file()
