"""Compares what `gradhealth export` writes with the run file as h5py reads it:
exports.py GRADHEALTH WRITE_SAMPLE DIRECTORY. Exit code 77: a Python package is missing."""

import csv
import math
import os
import shutil
import struct
import subprocess
import sys

try:
    import h5py
    import numpy as np
    from google.protobuf import descriptor_pb2, descriptor_pool
    try:
        from google.protobuf.message_factory import GetMessageClass
    except ImportError:
        from google.protobuf.message_factory import MessageFactory
        GetMessageClass = MessageFactory().GetPrototype
except ImportError as missing:
    print("not run:", missing)
    sys.exit(77)

AXES = ("named", "parameter", "activation", "feature", "input_bin")


def event_class():
    """TensorFlow's Event, as far as scalars need it, from its published field numbers."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        m = file.message_type.add(name=name)
        for number, fname, kind, label, type_name in fields:
            f = m.field.add(name=fname, number=number, type=kind, label=label)
            if type_name:
                f.type_name = type_name

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message("Value", (1, "tag", field.TYPE_STRING, one, ""), (2, "simple_value", field.TYPE_FLOAT, one, ""))
    message("Summary", (1, "value", field.TYPE_MESSAGE, many, ".t.Value"))
    message("Event", (1, "wall_time", field.TYPE_DOUBLE, one, ""), (2, "step", field.TYPE_INT64, one, ""),
            (3, "file_version", field.TYPE_STRING, one, ""), (5, "summary", field.TYPE_MESSAGE, one, ".t.Summary"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def crc32c(data):
    """Bit by bit, reflected: nothing in common with the tables of the implementation under test."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def records(path):
    def checked(data, stored):
        crc = crc32c(data)
        assert stored == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF, "checksum"
        return data

    with open(path, "rb") as file:
        while True:
            length = file.read(8)
            if not length:
                return
            checked(length, struct.unpack("<I", file.read(4))[0])
            data = file.read(struct.unpack("<Q", length)[0])
            yield checked(data, struct.unpack("<I", file.read(4))[0])


def recorded(path):
    """{(step, quantity, subject): value} of everything in the file that is not NaN, and the numbers of steps."""
    values, finite = {}, 0
    with h5py.File(path, "r", swmr=True) as run:
        rows = run["committed_rows"][()]
        steps = [int(s) for s in run["step"][:rows]]
        for name, item in list(run.items()):
            if isinstance(item, h5py.Dataset) and item.ndim == 1 and name != "step":
                for step, value in zip(steps, item[:rows]):
                    if not math.isnan(value):
                        values[step, name, ""] = value
        for axis in AXES:
            count = run[axis]["committed_subjects"][()]
            names = run[axis]["name"].asstr("utf-8")[:count]
            for quantity, item in run[axis].items():
                if item.ndim != 2:
                    continue
                block = item[:rows, :count]
                for row, step in enumerate(steps):
                    for subject in range(block.shape[1]):
                        if not math.isnan(block[row, subject]):
                            values[step, f"{axis}/{quantity}", names[subject]] = block[row, subject]
        events = run["committed_events"][()]
        told = [(int(run["event/step"][i]), run["event/kind"].asstr()[i], run["event/text"].asstr()[i])
                for i in range(events)]
    return steps, values, told


def same(text, value):
    return np.float64(text) == value if value.dtype == np.float64 else np.float32(text) == value


gradhealth, write_sample, place = sys.argv[1:]
shutil.rmtree(place, ignore_errors=True)
os.makedirs(place)
run = os.path.join(place, "run.h5")
subprocess.run([write_sample, run, "live"], check=True)
steps, values, events = recorded(run)
assert len(values) > 1000 and any(math.isinf(v) for v in values.values()) and events


def export(kind, output):
    subprocess.run([gradhealth, "export", run, "--to", kind, "-o", output], check=True, cwd=place)
    return os.path.join(place, output)


# Long: exactly the recorded values, and what is NaN by its count.
with open(export("csv-long", "long.csv"), newline="") as file:
    lines = list(csv.DictReader(file, strict=True))
seen = {(int(l["step"]), l["quantity"], l["subject"]): l["value"] for l in lines}
assert len(seen) == len(lines)
for key, value in values.items():
    assert same(seen[key], value), (key, seen[key], value)
extra = {key for key in seen if key not in values}
assert all(seen[key] == "nan" for key in extra), extra

# Wide: the same numbers at the crossings.
with open(export("csv", "wide.csv"), newline="") as file:
    lines = list(csv.DictReader(file, strict=True))
assert [int(l["step"]) for l in lines] == steps
for line in lines:
    assert None not in line, "a line is longer than the titles"
crossings = {(int(l["step"]), title): cell for l in lines for title, cell in l.items()
             if title not in ("step", "model") and cell != ""}
expected = {(s, q + ("/" + n if n else "")): seen[s, q, n] for s, q, n in seen}
assert crossings == expected
raw = open(os.path.join(place, "wide.csv"), "rb").read()
assert raw.count(b"\r\n") == raw.count(b"\n") == len(lines) + 1

# Events: beside it.
with open(os.path.join(place, "wide.events.csv"), newline="") as file:
    lines = list(csv.DictReader(file, strict=True))
assert sorted((int(l["step"]), l["kind"], l["text"]) for l in lines) == sorted(events)

# TensorBoard: by Protocol Buffers' own decoder.
logs = export("tensorboard", "logs")
files = [os.path.join(folder, name) for folder, _, names in os.walk(logs) for name in names]
assert len(files) == 1 and os.path.basename(files[0]).startswith("events.out.tfevents.17"), files
Event = event_class()
decoded = [Event.FromString(data) for data in records(files[0])]
assert decoded[0].file_version == "brain.Event:2"
begin = decoded[0].wall_time
assert begin == 1767323045
scalars = {}
for event in decoded[1:]:
    assert event.SerializeToString(deterministic=True) and event.ByteSize() > 0
    if event.step == 8:
        assert event.wall_time == begin + float(values[8, "wall_time", ""])
    for value in event.summary.value:
        scalars[event.step, value.tag] = value.simple_value
assert [event.step for event in decoded[1:]] == steps
tags = {(s, q.replace("/", "_") + ("/" + n if n else "")): cell for (s, q, n), cell in seen.items() if q != "wall_time"}
assert scalars.keys() == tags.keys(), (len(scalars), len(tags))
for key, cell in tags.items():
    wanted = np.float32(float(cell))
    got = np.float32(scalars[key])
    assert got == wanted or (math.isnan(got) and math.isnan(wanted)), (key, got, cell)
print(f"{len(values)} values in {len(steps)} steps, {len(events)} events, {len(scalars)} scalars agree")
