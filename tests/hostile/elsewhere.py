"""Run files that point out of themselves are refused: elsewhere.py GRADHEALTH WRITE_SAMPLE PLUGIN DIRECTORY."""
import os
import shutil
import subprocess
import sys

gradhealth, write_sample, plugin, directory = sys.argv[1:]
shutil.rmtree(directory, ignore_errors=True)
os.makedirs(directory)
os.chdir(directory)
trace = os.path.abspath("loaded")
os.environ["HDF5_PLUGIN_PATH"] = os.path.dirname(plugin)
os.environ["PLANTED_PLUGIN_TRACE"] = trace

import h5py  # noqa: E402, after the path of plugins is set
import numpy as np  # noqa: E402

SECRET = 1234567.0
with h5py.File("secret.h5", "w") as other:
    other["loss"] = np.full(40, SECRET)
    for column in ["name", "module", "kind", "shape", "dtype"]:
        other[f"group/{column}"] = np.full(3, b"secret", h5py.string_dtype("utf-8", 16))
    other["group/committed_subjects"], other["group/size"] = np.int64(3), np.zeros(3, "i8")
np.full(40, SECRET).tofile("secret.bin")
subprocess.run([write_sample, "good.h5"], check=True)


def run(*arguments):
    ran = subprocess.run([gradhealth, *arguments], capture_output=True, text=True)
    assert ran.returncode in (0, 1, 2), ran
    return ran


def check(what, change, objects, words):
    path = what.replace(" ", "-") + ".h5"
    shutil.copy("good.h5", path)
    with h5py.File(path, "r+") as file:
        change(file)
    if os.path.exists(trace):
        os.remove(trace)
    for command in [("report", path), ("check", path), ("diff", "good.h5", path), ("watch", path, "--once"),
                    ("export", path, "--to", "csv", "-o", "out.csv")]:
        ran = run(*command)
        assert ran.returncode == 2 and ran.stdout == "", (what, command, ran)
        assert ran.stderr.count("\n") == 1 and path in ran.stderr, (what, ran.stderr)
        assert any(o in ran.stderr for o in objects) and any(w in ran.stderr for w in words), (what, ran.stderr)
    ran = run("recover", path, "-o", "fixed-" + path)
    assert ran.returncode in (1, 2), (what, ran)  # Something was lost.
    if ran.returncode == 1:
        for output in [("report", "fixed-" + path, "--format", "json"), ("export", "fixed-" + path, "--to", "csv-long", "-o", "-")]:
            text = run(*output).stdout
            assert "1234567" not in text and "secret" not in text, what
    assert not os.path.exists(trace), what + ": the plugin was loaded"


def replaced(name, put):
    def change(file):
        del file[name]
        put(file)
    return change


def external_storage(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_external(os.path.abspath("secret.bin").encode(), 0, 40 * 8)
    h5py.h5d.create(file.id, b"loss", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((40,)), plist)


def virtual(file):
    layout = h5py.VirtualLayout(shape=(40,), dtype="f8")
    layout[:] = h5py.VirtualSource("secret.h5", "loss", shape=(40,))
    file.create_virtual_dataset("loss", layout)


def filtered(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((40,))
    plist.set_filter(32017, h5py.h5z.FLAG_MANDATORY, ())
    data = h5py.h5d.create(file.id, b"loss", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((40,), (40,)), plist)
    data.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros(40))


link = ["is a link"]
check("soft link", replaced("loss", lambda f: f.__setitem__("loss", h5py.SoftLink("/step_time"))), ["/loss"], link)
check("soft link to a group", lambda f: (f.move("parameter", "p"), f.__setitem__("parameter", h5py.SoftLink("/p"))),
      ["/parameter"], link)
check("external link", replaced("loss", lambda f: f.__setitem__("loss", h5py.ExternalLink("secret.h5", "/loss"))),
      ["/loss"], link)
check("external link to a group",
      replaced("parameter", lambda f: f.__setitem__("parameter", h5py.ExternalLink("secret.h5", "/group"))),
      ["/parameter"], link)
check("external storage", replaced("loss", external_storage), ["/loss"], ["is stored outside the file"])
check("virtual dataset", replaced("loss", virtual), ["/loss"], ["is stored in another file"])
check("filter of a plugin", replaced("loss", filtered), ["/loss"], ["has a filter that the format does not know"])
# That the trap works: h5py, which allows plugins, falls into it.
subprocess.run([sys.executable, "-c", "import h5py; h5py.File('filter-of-a-plugin.h5')['loss'][:]"], check=True)
assert os.path.exists(trace)
