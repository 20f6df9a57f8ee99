"""Small run files for the fuzzer: corpus.py DIRECTORY. Contiguous, so that a file is a few KB and its numbers and names,
which no checksum guards, are most of it."""
import os
import sys

import h5py
import numpy as np


def text(values, width):
    return np.array([v.encode() for v in values], h5py.string_dtype("utf-8", width))


def write(path, rows, libver, event=()):
    with h5py.File(path, "w", libver=libver) as run:
        for name, value in [("schema", "gradhealth-run"), ("name", "G"), ("created_utc", "2026-01-02T03:04:05Z"),
                            ("optimizer", "SGD"), ("continues", "")]:
            run.attrs.create(name, text([value], 24)[0], dtype=h5py.string_dtype("utf-8", 24))
        run.attrs.create("schema_version", np.int32(1))
        run.attrs.create("momentum", 0.9)
        run["state"], run["committed_rows"] = np.int32(1), np.int64(rows)
        run["committed_events"] = np.int64(len(event))
        run["step"] = np.arange(rows, dtype="i8")
        run["wall_time"] = np.arange(rows) * 0.1
        run["loss"] = 2.3 * 0.9 ** np.arange(rows)
        run["learning_rate"] = np.full(rows, 0.1)
        for axis, names in [("parameter", ["fc.weight", "fc.bias"]), ("activation", ["fc"])]:
            count = len(names)
            for column, values, width in [("name", names, 24), ("module", ["fc"] * count, 8), ("kind", ["linear"] * count, 8),
                                          ("shape", ["4x4"] * count, 8), ("dtype", ["float32"] * count, 8)]:
                run.create_dataset(f"{axis}/{column}", data=text(values, width), dtype=h5py.string_dtype("utf-8", width))
            run[f"{axis}/size"] = np.full(count, 16, "i8")
            run[f"{axis}/committed_subjects"] = np.int64(count)
        run["named/committed_subjects"] = run["feature/committed_subjects"] = np.int64(0)
        for quantity in ["gradient_norm", "weight_norm", "update_ratio"]:
            run[f"parameter/{quantity}"] = np.full((rows, 2), 0.5, "f4")
        run["activation/rms"] = np.ones((rows, 1), "f4")
        run["event/step"] = np.arange(len(event), dtype="i8")
        for column, values, width in [("kind", [kind for kind, _ in event], 24), ("subject", ["fc"] * len(event), 8),
                                      ("text", [words for _, words in event], 96)]:
            run.create_dataset(f"event/{column}", data=text(values, width), dtype=h5py.string_dtype("utf-8", width))


directory = sys.argv[1]
os.makedirs(directory, exist_ok=True)
write(os.path.join(directory, "checked.h5"), 24, ("v110", "v110"))
write(os.path.join(directory, "events.h5"), 24, ("v110", "v110"), [
    ("loss-operator", "op=cross_entropy_loss prediction=64x10:float32 target=64:int64 reduction=mean"),
    ("nonfinite-origin", "source=operator op=log place=in:fc pass=forward step=1 how=traced output=4:float32:0:1:1:1:4"),
    ("operator-pattern", "pattern=log-of-softmax op=log left=64x10 right=- output=64x10"),
    ("loop-order", "pattern=cleared-before-update"), ("parameter-not-optimized", "")])
# Of the oldest format, without checksums: damage gets farther.
write(os.path.join(directory, "unchecked.h5"), 8, ("earliest", "v108"))
