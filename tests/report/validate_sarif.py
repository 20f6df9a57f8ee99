"""Validates SARIF by the standard's own schema and by GitHub's ingestion rules, both from Microsoft's SARIF Multitool.

validate_sarif.py WRITE_FORMATS FOLDER TOOLS     TOOLS: where npm puts the Multitool, once
Exits 77 with a reason where the Multitool cannot be had.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

PACKAGE = "@microsoft/sarif-multitool-linux"
VERSION = "5.7.0"


def skip(reason):
    print(f"Skipped: {reason}")
    sys.exit(77)


def multitool(tools):
    place = tools / "node_modules" / PACKAGE
    if not (place / "sarif-2.1.0.json").exists():
        if shutil.which("npm") is None:
            skip("npm is missing, which brings the schema of SARIF")
        tools.mkdir(parents=True, exist_ok=True)
        options = ["--no-audit", "--no-fund", "--fetch-retries=1"]
        command = ["npm", "install", *options, "--prefix", str(tools), f"{PACKAGE}@{VERSION}"]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode != 0:
            skip(f"npm could not install {PACKAGE}: {ran.stderr[-500:]}")
    return place


def schema_problems(schema, documents):
    import jsonschema

    validator = jsonschema.validators.validator_for(schema)(schema)
    for name, document in documents.items():
        for error in validator.iter_errors(document):
            yield f"{name}: {error.message[:300]} at {list(error.absolute_path)}"


def ingestion_problems(program, files):
    log = files[0].parent / "validation.log"
    environment = {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    command = [str(program), "validate", *map(str, files), "--rule-kind", "Sarif;Gh;Ghas", "--level", "Error;Warning"]
    try:
        ran = subprocess.run([*command, "--output", str(log), "--log", "ForceOverwrite"], capture_output=True,
                             text=True, env=environment)
    except OSError as error:
        skip(f"{program} does not run here: {error}")
    if not log.exists():
        skip(f"{program} does not run here: {(ran.stdout + ran.stderr)[-500:]}")
    for result in json.loads(log.read_text())["runs"][0].get("results", []):
        # The project has no page of its own to name.
        if result["ruleId"].startswith("SARIF2005") or result.get("level", "warning") not in ("error", "warning"):
            continue
        where = result["locations"][0]["physicalLocation"]["artifactLocation"]
        yield f"{where}: {result['ruleId']} {result.get('message')}"


def main(writer, folder, tools):
    folder, tools = pathlib.Path(folder), pathlib.Path(tools)
    place = multitool(tools)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([writer, str(folder)], check=True)
    files = sorted(folder.glob("*.sarif"))
    documents = {path.name: json.loads(path.read_text()) for path in files}
    schema = json.loads((place / "sarif-2.1.0.json").read_text(encoding="utf-8-sig"))
    problems = list(schema_problems(schema, documents))
    for name, document in documents.items():
        results = document["runs"][0]["results"]
        fingerprints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]
        if len(set(fingerprints)) != len(fingerprints):
            problems.append(f"{name}: fingerprints are not unique")
        rules = document["runs"][0]["tool"]["driver"]["rules"]
        if any(rules[result["ruleIndex"]]["id"] != result["ruleId"] for result in results):
            problems.append(f"{name}: a ruleIndex names another rule")

    # Both validators must see what is wrong.
    broken = json.loads(json.dumps(documents["unhealthy.sarif"]))
    del broken["runs"][0]["tool"]["driver"]["name"]
    if not list(schema_problems(schema, {"broken": broken})):
        problems.append("the schema takes a tool without a name")
    broken = json.loads(json.dumps(documents["unhealthy.sarif"]))
    broken["runs"][0]["results"][0]["locations"] = []
    (folder / "broken").mkdir()
    (folder / "broken" / "broken.sarif").write_text(json.dumps(broken))
    program = place / "Sarif.Multitool"
    if not list(ingestion_problems(program, [folder / "broken" / "broken.sarif"])):
        problems.append("the ingestion rules take a result without a location")
    problems += ingestion_problems(program, files)
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


main(*sys.argv[1:])
