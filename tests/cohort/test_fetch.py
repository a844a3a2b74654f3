import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from volumetric.cli import app
from volumetric.cohort import fetch as module
from volumetric.cohort.download import FetchError
from volumetric.cohort.fetch import fetch
from volumetric.cohort.label_maps import find_label_maps
from volumetric.imaging.nifti import read_image


def archive(names, size=300_000):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = size + number
            tar.addfile(member, io.BytesIO(bytes([number % 251]) * member.size))
    return data.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, breaks off after `break_after` bytes of an answer, and notes every request's range."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.break_after, self.ranges, self.version = {}, None, [], '"v1"'
        self.url = f"http://127.0.0.1:{self.server_port}/data"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        content = server.files.get(self.path.removeprefix("/data/"))
        requested = self.headers.get("Range")
        server.ranges.append((self.path.rpartition("/")[2], requested))
        if content is None:
            self.send_error(404)
            return
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested else 0
        if requested and self.headers.get("If-Range") != server.version:
            start = 0
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", server.version)
        self.end_headers()
        self.wfile.write(content[start:][: server.break_after])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    scans = ["IXI012-HH-1211", "IXI002-Guys-0828", "IXI035-IOP-0873"]
    server.files = {
        "IXI-T1.tar": archive([f"{scan}-T1.nii.gz" for scan in scans]),
        "IXI-T2.tar": archive([f"{scan}-T2.nii.gz" for scan in scans[:1] + scans[2:]] + ["readme.txt"]),
        "IXI.xls": b"\xd0\xcf\x11\xe0 a spreadsheet",
    }
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_everything_is_fetched_recorded_and_extracted(server, tmp_path):
    fetched = fetch("ixi", tmp_path, base_url=server.url)
    assert (fetched.num_subjects, fetched.num_new, fetched.num_present) == (3, 5, 0)
    assert names(tmp_path) == [
        "IXI-T1.tar", "IXI-T1/IXI002-Guys-0828-T1.nii.gz", "IXI-T1/IXI012-HH-1211-T1.nii.gz",
        "IXI-T1/IXI035-IOP-0873-T1.nii.gz", "IXI-T2.tar", "IXI-T2/IXI012-HH-1211-T2.nii.gz",
        "IXI-T2/IXI035-IOP-0873-T2.nii.gz", "IXI.xls", "checksums.json",
    ]  # fmt: skip
    checksums = json.loads((tmp_path / "checksums.json").read_text())
    assert checksums == {name: hashlib.sha256(content).hexdigest() for name, content in server.files.items()}
    requested = len(server.ranges)
    again = fetch("ixi", tmp_path, base_url=server.url)
    assert (again.num_new, again.num_present) == (0, 5)
    assert len(server.ranges) == requested


def test_the_first_subjects_are_those_of_every_archive(server, tmp_path):
    fetched = fetch("ixi", tmp_path, subjects=1, base_url=server.url)
    assert fetched.num_subjects == 1
    assert [n for n in names(tmp_path) if n.endswith(".gz")] == [
        "IXI-T1/IXI012-HH-1211-T1.nii.gz", "IXI-T2/IXI012-HH-1211-T2.nii.gz"
    ]  # fmt: skip
    assert fetch("ixi", tmp_path, subjects=2, base_url=server.url).num_new == 2


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.break_after = 400_000
    whole = len(server.files["IXI-T1.tar"])
    with pytest.raises(FetchError, match=rf"ended after 400000 of {whole} bytes; repeat the command"):
        fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)
    assert (tmp_path / "IXI-T1.tar.part").stat().st_size == 400_000
    assert not (tmp_path / "IXI-T1.tar").exists()
    server.break_after = None
    fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)
    assert server.ranges[:2] == [("IXI-T1.tar", None), ("IXI-T1.tar", "bytes=400000-")]
    assert (tmp_path / "IXI-T1.tar").read_bytes() == server.files["IXI-T1.tar"]
    assert not list(tmp_path.glob("*.part*"))


def test_a_file_that_changed_meanwhile_is_started_over(server, tmp_path):
    server.break_after = 400_000
    with pytest.raises(FetchError):
        fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)
    server.break_after, server.version = None, '"v2"'
    server.files["IXI-T1.tar"] = archive(["IXI001-HH-0001-T1.nii.gz"], size=900_000)
    fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)
    assert (tmp_path / "IXI-T1.tar").read_bytes() == server.files["IXI-T1.tar"]


def test_a_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "IXI-T1.tar.part").write_bytes(server.files["IXI-T1.tar"])
    (tmp_path / "IXI-T1.tar.part.version").write_text(server.version)
    assert fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url).num_new == 3


def test_a_wrong_checksum_is_an_error_with_a_way_out(server, tmp_path):
    fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)
    path = tmp_path / "IXI-T1.tar"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(FetchError, match=r"SHA-256 is not the one.*delete the file to download it again"):
        fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)
    path.unlink()
    server.files["IXI-T1.tar"] = bytes(content)
    with pytest.raises(FetchError, match=r"IXI-T1\.tar: its SHA-256 is not the one"):
        fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)
    assert not path.exists()


def test_a_damaged_archive_is_named(server, tmp_path):
    server.files["IXI-T1.tar"] = b"no archive at all" * 100
    with pytest.raises(FetchError, match="the archive is damaged"):
        fetch("ixi", tmp_path, contrasts=["t1w"], base_url=server.url)


def test_nothing_is_written_outside(server, tmp_path):
    server.files["IXI-T1.tar"] = archive(["../../IXI012-HH-1211-T1.nii.gz"])
    with pytest.raises(FetchError, match="outside the folder"):
        fetch("ixi", tmp_path / "out", contrasts=["t1w"], base_url=server.url)
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_servers_that_are_not_there(server, tmp_path):
    with pytest.raises(FetchError, match="answered 404"):
        fetch("ixi", tmp_path, contrasts=["pdw"], base_url=server.url)
    with pytest.raises(FetchError, match="cannot be reached"):
        fetch("ixi", tmp_path, base_url="http://127.0.0.1:9/none")


def test_the_template_is_a_brain_in_mni_space_and_comes_with_its_notice(tmp_path):
    first = fetch("template", tmp_path / "out")
    scan = read_image(tmp_path / "out" / "icbm152_T1w.nii.gz")
    assert (first.num_new, fetch("template", tmp_path / "out").num_present) == (1, 1)
    assert np.linalg.norm(scan.affine[:3, :3], axis=0) == pytest.approx([1, 1, 1])
    inside = scan.array > 0
    assert 1.6e6 < inside.sum() < 2.2e6  # mm3: the average brain of 152 adults with its fluid
    center = scan.affine[:3, :3] @ np.argwhere(inside).mean(0) + scan.affine[:3, 3]
    assert abs(center[0]) < 2  # symmetric about the midplane of MNI152
    assert "McConnell" in (tmp_path / "out" / "LICENSE").read_text()


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("oasis", {}, "expected one of ixi, label-maps, template"),
        ("ixi", {"contrasts": ["t1w", "mra"]}, "expected some of t1w, t2w, pdw"),
        ("ixi", {"contrasts": []}, "expected some of"),
        ("ixi", {"subjects": 0}, "at least 1"),
        ("label-maps", {"subjects": 0}, "at least 1"),
        ("label-maps", {"contrasts": ["t1w"]}, "only ixi has contrasts to choose; leave the option out"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path, dataset, options, message):
    with pytest.raises(FetchError, match=message):
        fetch(dataset, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_names_the_command(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FetchError, match=r"pip install 'volumetric\[fetch\]'"):
        fetch("ixi", tmp_path)
    assert module.BASE_URLS["ixi"].endswith("/IXI/")


def test_a_damaged_record_of_checksums_is_one_sentence(tmp_path):
    for content in ("{ not json", '{"IXI-T1.tar": 7}', "[]"):
        (tmp_path / "checksums.json").write_text(content)
        with pytest.raises(FetchError, match=r"checksums\.json: not a record of checksums; delete it"):
            fetch("ixi", tmp_path)


def label_map(number):
    labels = np.arange(number, number + 5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    return gzip.compress(nib.Nifti1Image(labels, np.diag([1.0, 2, 3, 1])).to_bytes(), mtime=0)


@pytest.fixture
def maps(server):
    server.files = {f"training_seg_{number:02d}.nii.gz": label_map(number) for number in range(1, 21)}
    return server


def test_the_first_label_maps_are_fetched_with_license_and_checksums(maps, tmp_path, caplog):
    with caplog.at_level("INFO"):
        fetched = fetch("label-maps", tmp_path, subjects=3, base_url=maps.url)
    assert (fetched.num_subjects, fetched.num_new, fetched.num_present) == (3, 3, 0)
    first = [f"training_seg_0{number}.nii.gz" for number in (1, 2, 3)]
    assert names(tmp_path) == ["LICENSE", "checksums.json", *first]
    checksums = {name: hashlib.sha256(maps.files[name]).hexdigest() for name in first}
    assert json.loads((tmp_path / "checksums.json").read_text()) == checksums
    assert "Apache-2.0" in caplog.text
    assert "github.com/BBillot/SynthSeg" in (tmp_path / "LICENSE").read_text()
    again = fetch("label-maps", tmp_path, base_url=maps.url)
    assert (again.num_subjects, again.num_new, again.num_present) == (20, 17, 3)
    assert [name for name, _ in maps.ranges] == list(maps.files)  # each once


def test_phantom_takes_what_was_fetched(maps, tmp_path):
    arguments = ["fetch", "label-maps", "--out", str(tmp_path), "--subjects", "2", "--base-url", maps.url]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.stdout.splitlines() == [
        "2 label maps: 2 downloaded, 0 were there already",
        f"next: volumetric phantom --anatomies {tmp_path} --out data/simulated",
    ]
    assert [file.path.name for file in find_label_maps(tmp_path)] == list(maps.files)[:2]


def test_an_interrupted_label_map_goes_on_where_it_stopped(maps, tmp_path):
    name = "training_seg_01.nii.gz"
    maps.break_after = 100
    with pytest.raises(FetchError, match=rf"ended after 100 of {len(maps.files[name])} bytes; repeat the command"):
        fetch("label-maps", tmp_path, base_url=maps.url)
    assert not (tmp_path / name).exists()
    maps.break_after = None
    fetch("label-maps", tmp_path, subjects=1, base_url=maps.url)
    assert maps.ranges == [(name, None), (name, "bytes=100-")]
    assert (tmp_path / name).read_bytes() == maps.files[name]


def test_a_label_map_with_another_checksum_is_refused(maps, tmp_path):
    fetch("label-maps", tmp_path, subjects=2, base_url=maps.url)
    (tmp_path / "training_seg_02.nii.gz").unlink()
    maps.files["training_seg_02.nii.gz"] = label_map(9)
    with pytest.raises(FetchError, match=r"training_seg_02\.nii\.gz: its SHA-256 is not the one.*its line in"):
        fetch("label-maps", tmp_path, subjects=2, base_url=maps.url)
    assert not (tmp_path / "training_seg_02.nii.gz").exists()


def test_a_page_in_place_of_a_label_map_is_refused(maps, tmp_path):
    maps.files["training_seg_01.nii.gz"] = b"version https://git-lfs.github.com/spec/v1" * 20
    for _ in range(2):
        with pytest.raises(FetchError, match=r"what the server sent is no NIfTI image; delete it and its line"):
            fetch("label-maps", tmp_path, subjects=1, base_url=maps.url)
