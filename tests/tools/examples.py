"""Runs the examples: examples.py GRADHEALTH DIRECTORY_OF_EXAMPLES DATASET PLACE. Broken ones are named, fixed ones healthy."""

import glob
import gzip
import json
import os
import shutil
import subprocess
import sys

gradhealth, examples, dataset, place = sys.argv[1:]
shutil.rmtree(place, ignore_errors=True)
os.makedirs(place + "/images")
os.chdir(place)
for packed in glob.glob(dataset + "/*.gz"):
    with gzip.open(packed) as source, open("images/" + os.path.basename(packed)[:-3], "wb") as target:
        shutil.copyfileobj(source, target)

CAUSES = {
    "gan": {"accumulating-gradient"},
    "lstm": {"exploding-gradient", "update-too-large"},
    "mnist": {"unnormalized-input"},
    "tabular": {"unnormalized-input"},
    "transformer": {"double-softmax"},
}

for example, causes in CAUSES.items():
    for which in ("broken", "fixed"):
        run = f"{example}-{which}/" if example == "gan" else f"{example}-{which}.h5"
        inputs = ["images"] if example == "mnist" else []
        trained = subprocess.run([f"{examples}/example_{example}", which, *inputs, run], check=True, text=True,
                                 capture_output=True)
        print(example, which, trained.stdout.splitlines()[-1])
        checked = subprocess.run([gradhealth, "check", run, "--json", "checked.json"], stdout=subprocess.DEVNULL)
        with open("checked.json") as file:
            report = json.load(file)
        rules = [each["rule"] for each in report["diagnoses"] if each["severity"] != "info"]
        assert checked.returncode == (1 if which == "broken" else 0), (run, checked.returncode, rules)
        assert rules[0] in causes if which == "broken" else not rules, (run, rules)
