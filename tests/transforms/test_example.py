import subprocess
import sys

from tests.conftest import REPOSITORY, write_cohort


def test_the_example_pipeline_caches_and_batches_a_cohort(tmp_path):
    manifest = write_cohort(tmp_path, ["train", "train"])
    script = REPOSITORY / "examples" / "monai_pipeline.py"
    result = subprocess.run([sys.executable, str(script), str(manifest)], capture_output=True, text=True, check=True)
    shape = "(4, 1, 48, 48, 48)"
    assert result.stdout.splitlines() == [f"{{'t1w': {shape}, 't2w': {shape}, 'mask': {shape}}}"] * 2
