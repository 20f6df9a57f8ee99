"""Reads a run file the way an analyst would: h5py_reads_run.py WRITE_SAMPLE DIRECTORY."""

import os
import subprocess
import sys

import h5py
import numpy as np


def check(path, **options):
    with h5py.File(path, "r", **options) as run:
        assert run.attrs["schema"] == b"gradhealth-run", run.attrs["schema"]
        assert run.attrs["schema_version"] == 1
        rows = run["committed_rows"][()]
        assert rows == 25, rows
        assert list(run["step"][:rows]) == list(range(25))
        assert run["loss"].shape == (25,)
        assert run["loss"].attrs["units"] == b"loss"
        names = run["parameter/name"].asstr("utf-8")[:]
        assert list(names) == ["conv1.weight", "conv1.bias", "größe.weight"], names
        gradient = run["parameter/gradient_norm"]
        assert gradient.shape == (25, 3) and gradient.dtype == np.float32
        assert gradient.attrs["long_name"].decode().startswith("L2 norm")
        assert gradient.dims[0][0].name == "/step", gradient.dims[0][0].name
        assert gradient.dims[1][0].name == "/parameter/name"
        # Missing reads as NaN: (step + subject) % 7 == 3 was not recorded.
        assert np.isnan(gradient[3, 0]) and not np.isnan(gradient[3, 1])
        assert np.isinf(gradient[16, 0])
        assert run["activation/rms"].shape == (25, 1)

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and name.split("/")[0] in ("parameter", "activation", "feature", "input_bin"):
                if item.ndim == 2:
                    assert item.attrs["units"], name
                    assert item.attrs["long_name"], name

        run.visititems(visit)


writer, directory = sys.argv[1:]
finished = os.path.join(directory, "h5py-finished.h5")
live = os.path.join(directory, "h5py-live.h5")
for path in (finished, live):
    if os.path.exists(path):
        os.remove(path)
subprocess.run([writer, finished], check=True)
check(finished)
subprocess.run([writer, live, "live"], check=True)
check(live, swmr=True)
print("h5py reads both")
