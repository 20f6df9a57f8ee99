"""Run files that HDF5 itself has made wrong: structured.py WRITE_SAMPLE DIRECTORY writes them.

Every file is a valid HDF5 file; what is in it is not what lib/run_file/FORMAT.md says, or would do harm where it is shown.
"""
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np

ATTACKS = [
    b"\x1b[31mred\x1b[0m", b"\x1b]0;title\x07", b"\x9b31m", "\u202eabc\u2066".encode(), b"\xff\xfe\x80\xc0\xaf",
    b"</script><script>alert(1)</script>", b"<img src=x onerror=alert(1)>", b"a\n::error::b", b"::set-output name=x::y",
    b"=HYPERLINK(\"http://x\")", b"@SUM(A1)", b"-1+cmd|'/C calc'!A0", b"a\r\nb,\"c\"", b"]]>&amp;<!--", b"`|*_[x](javascript:y)",
    b"../../../etc/passwd", b"%0A::error::x", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x7f\x00hidden", b"A" * 255,
    "\u2028\u200b\ufeff\uffff".encode(), b"{{7*7}}${x}", b"'\"&<>", b" ", b"",
]
NUMBERS = [-1, -(2**63), 2**63 - 1, 2**40, 2**31, 1_000_000, 41, 0]


def text(width):
    return h5py.string_dtype("utf-8", width)


def attribute(run, name, value):
    run.attrs.create(name, np.array(value, text(1024)), dtype=text(1024))


def replace(run, name, **how):
    if name in run:
        del run[name]
    return run.create_dataset(name, **how)


def variants():
    """Pairs of a name and what to do to an open run file."""
    for counter in ["committed_rows", "committed_events", "parameter/committed_subjects", "feature/committed_subjects"]:
        for number in NUMBERS:
            yield f"{counter}={number}", lambda run, c=counter, n=number: run[c].__setitem__((), n)
    for number in [-1, 4, 2**31 - 1]:
        yield f"state={number}", lambda run, n=number: run["state"].__setitem__((), n)
    for name in ["loss", "step", "wall_time", "committed_rows", "state", "event/step", "event/text", "parameter/name",
                 "parameter/size", "parameter/gradient_norm", "activation/rms", "feature/mean", "named/value"]:
        yield f"{name} is missing", lambda run, n=name: run.__delitem__(n)
        yield f"{name} is a group", lambda run, n=name: (run.__delitem__(n), run.create_group(n))
        yield f"{name} is text", lambda run, n=name: replace(run, n, data="text")
        yield f"{name} is compound", lambda run, n=name: replace(run, n, data=np.zeros(4, "i4,f8"))
        yield f"{name} is empty", lambda run, n=name: replace(run, n, dtype="f8", shape=(0, 0))
        yield f"{name} has three dimensions", lambda run, n=name: replace(run, n, data=np.zeros((2, 2, 2)))
        yield f"{name} is big-endian", lambda run, n=name: replace(run, n, dtype=">f8", shape=(40,))
        yield f"{name} is a soft link", lambda run, n=name: (run.__delitem__(n), run.__setitem__(n, h5py.SoftLink("/loss")))
        yield f"{name} links to itself", lambda run, n=name: (run.__delitem__(n), run.__setitem__(n, h5py.SoftLink("/" + n)))
        yield f"{name} is an external link", lambda run, n=name: (
            run.__delitem__(n), run.__setitem__(n, h5py.ExternalLink("healthy.h5", "/" + n)))
        yield f"{name} has variable length", lambda run, n=name: replace(
            run, n, data=np.array(["x", "y"], object), dtype=h5py.string_dtype())
    huge = 2**50
    yield "loss is huge", lambda run: replace(run, "loss", shape=(huge,), maxshape=(None,), chunks=(1024,), dtype="f8")
    yield "step is huge", lambda run: (
        replace(run, "step", shape=(huge,), maxshape=(None,), chunks=(1024,), dtype="i8"),
        run["committed_rows"].__setitem__((), 2**40 - 1))
    yield "everything is huge", lambda run: (
        [replace(run, n, shape=(2**39,), maxshape=(None,), chunks=(1024,), dtype=t)
         for n, t in [("step", "i8"), ("wall_time", "f8"), ("loss", "f8")]],
        run["committed_rows"].__setitem__((), 2**39))
    yield "a matrix is huge", lambda run: replace(
        run, "parameter/gradient_norm", shape=(40, 2**40), maxshape=(None, None), chunks=(16, 1024), dtype="f4")
    yield "a million subjects", lambda run: (
        [replace(run, f"parameter/{n}", shape=(1_000_000,), maxshape=(None,), chunks=(1024,), dtype=text(w))
         for n, w in [("name", 256), ("module", 256), ("kind", 32), ("shape", 64), ("dtype", 16)]],
        replace(run, "parameter/size", shape=(1_000_000,), maxshape=(None,), chunks=(1024,), dtype="i8"),
        run["parameter/committed_subjects"].__setitem__((), 1_000_000))
    yield "a million events", lambda run: (
        [replace(run, f"event/{n}", shape=(1_000_000,), maxshape=(None,), chunks=(1024,), dtype=text(w))
         for n, w in [("kind", 32), ("subject", 256), ("text", 512)]],
        replace(run, "event/step", shape=(1_000_000,), maxshape=(None,), chunks=(1024,), dtype="i8"),
        run["committed_events"].__setitem__((), 1_000_000))
    yield "wide text", lambda run: replace(run, "parameter/name", data=np.array([b"x" * 4096] * 3, text(4096)), dtype=text(4096))
    yield "text too wide", lambda run: replace(run, "parameter/name", data=np.array([b"x" * 9999] * 3, text(9999)), dtype=text(9999))
    yield "steps fall", lambda run: run["step"].__setitem__(slice(0, 25), np.arange(25)[::-1])
    yield "steps are extreme", lambda run: run["step"].__setitem__(slice(0, 25), np.resize(np.array(NUMBERS, "i8"), 25))
    yield "steps repeat", lambda run: run["step"].__setitem__(slice(0, 25), 7)
    yield "sizes are extreme", lambda run: run["parameter/size"].__setitem__(slice(0, 3), [-1, 2**63 - 1, -(2**63)])
    yield "events are of any step", lambda run: run["event/step"].__setitem__(0, -(2**63))
    for number in [np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324]:
        yield f"losses are {number}", lambda run, x=number: run["loss"].__setitem__(slice(0, 25), x)
        yield f"norms are {number}", lambda run, x=number: run["parameter/gradient_norm"].__setitem__(
            (slice(0, 25), slice(0, 3)), np.float32(x))
        yield f"times are {number}", lambda run, x=number: run["wall_time"].__setitem__(slice(0, 25), x)
        yield f"all is {number}", lambda run, x=number: [
            d.__setitem__(Ellipsis, x) for d in [run[n] for n in list(run)] if isinstance(d, h5py.Dataset) and d.dtype == "f8"
            and d.ndim == 1]
    for number in [np.nan, -1.0, 1e300, 2.0, 1 / 32]:
        def spoil_histograms(run, x=number):
            run["feature/min"][0:25], run["feature/max"][0:25] = -1, 1
            with np.errstate(over="ignore"):
                run["input_bin/share"][0:25, 0:32] = np.float32(x)
        yield f"shares are {number}", spoil_histograms
    yield "histograms lack a bin", lambda run: run["input_bin/committed_subjects"].__setitem__((), 31)
    yield "bins have no shares", lambda run: replace(run, "input_bin/share", shape=(25, 3), dtype="f4")
    yield "bins have no group", lambda run: run.__delitem__("input_bin")
    for number in [np.nan, -1.0, 1e300]:
        yield f"first_step={number}", lambda run, x=number: run.attrs.create("first_step", x)
        yield f"momentum={number}", lambda run, x=number: run.attrs.create("momentum", x)
    yield "an attribute is an array", lambda run: run.attrs.create("momentum", np.zeros(1000))
    yield "an attribute is text", lambda run: run.attrs.create("momentum", "0.9")
    yield "an attribute has variable length", lambda run: run.attrs.create("name", "x", dtype=h5py.string_dtype())
    yield "another version", lambda run: run.attrs.create("schema_version", 2)
    yield "a version that is no number", lambda run: run.attrs.create("schema_version", np.nan)
    yield "it continues itself", lambda run: attribute(run, "continues", b"run.h5")
    yield "it continues another place", lambda run: attribute(run, "continues", b"../healthy.h5")
    for i, attack in enumerate(ATTACKS):
        def spoil(run, attack=attack):
            for axis in ["parameter", "activation"]:
                for column in ["name", "module", "kind", "shape", "dtype"]:
                    run[f"{axis}/{column}"][0] = np.bytes_(attack)
            for column in ["kind", "subject", "text"]:
                run[f"event/{column}"][0] = np.bytes_(attack)
            for name in ["name", "created_utc", "command_line", "libraries", "optimizer", "loss_kind", "writer_version"]:
                attribute(run, name, attack)
        yield f"attack {i}", spoil
    for kind in ["loss-operator", "operator-pattern", "loop-order", "nonfinite-origin", "flight-recorder", "probe",
                 "intervention", "unregistered-parameter", "nonfinite-buffer", "parameter-not-optimized", "replay",
                 "automatic-step", "optimizer-holds-stranger", "nonfinite-optimizer-state", "frozen-parameter"]:
        def event(run, kind=kind):
            texts = [b"=", b"a=b=c", b"step=99999999999999999999 op= place=in: output=::::::",
                     b"pattern=\x1b[31m left=x right=- output=9999999999999999999x-1:q:nan:inf:-1:1e999:0 count=1e400",
                     b"prediction=0x0:float32 target=-1:int64 reduction=\xff op=</script> norm=nan threshold=-0 more_parameters=-5"]
            for i, text in enumerate(texts[: run["event/kind"].shape[0]]):
                run["event/kind"][i], run["event/text"][i], run["event/step"][i] = np.bytes_(kind), np.bytes_(text), i
        yield f"events {kind}", event


def low_level(directory):
    """What h5py's datasets cannot say: storage elsewhere, filters, shared objects."""
    def changed(name, change):
        path = os.path.join(directory, name.replace(" ", "-") + ".h5")
        shutil.copy(os.path.join(directory, "base"), path)
        with h5py.File(path, "r+") as run:
            change(run)

    secret = os.path.join(directory, "secret.bin")
    with open(secret, "wb") as file:
        file.write(b"\x3f" * 8 * 64)

    def external(run):
        del run["loss"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_external(secret.encode(), 0, 8 * 64)
        h5py.h5d.create(run.id, b"loss", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((40,)), plist)

    def virtual(run):
        del run["loss"]
        layout = h5py.VirtualLayout(shape=(40,), dtype="f8")
        layout[:] = h5py.VirtualSource(os.path.join(directory, "base"), "loss", shape=(40,))
        run.create_virtual_dataset("loss", layout)

    def filtered(run, number):
        del run["loss"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((16,))
        plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
        h5py.h5d.create(run.id, b"loss", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((40,), (40,)), plist)

    def chunked(run, chunk):
        del run["loss"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((chunk,))
        h5py.h5d.create(run.id, b"loss", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((40,), (h5py.h5s.UNLIMITED,)), plist)

    def bomb(run):
        for name in ["loss", "wall_time", "step_time"]:
            del run[name]
            run.create_dataset(name, data=np.zeros(2**24), maxshape=(None,), chunks=(2**20,), compression=9, shuffle=True)

    def committed_type(run):
        del run["loss"]
        run["a type"] = np.dtype("f8")
        run.create_dataset("loss", shape=(40,), dtype=run["a type"])

    changed("external storage", external)
    changed("virtual dataset", virtual)
    changed("unknown filter", lambda run: filtered(run, 32017))
    changed("chunks of 2 GiB", lambda run: chunked(run, 2**28))
    changed("a bomb", bomb)
    changed("a committed type", committed_type)
    changed("step is loss", lambda run: (run.__delitem__("step"), run.__setitem__("step", run["loss"])))
    changed("loop of groups", lambda run: run["parameter"].__setitem__("again", run["/"]))
    os.remove(secret)


def main():
    write_sample, directory = sys.argv[1:]
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    base = os.path.join(directory, "base")
    subprocess.run([write_sample, base], check=True)
    for number, (name, change) in enumerate(variants()):
        path = os.path.join(directory, f"{number:03d} {name}".replace("/", ".").replace(" ", "-") + ".h5")
        shutil.copy(base, path)
        with h5py.File(path, "r+") as run:
            change(run)
    low_level(directory)
    os.remove(base)


main()
