"""Validates what write_formats writes, with validators that are not ours.

validate_formats.py FORMAT WRITE_FORMATS FOLDER SCHEMA     FORMAT: json gitlab junit markdown github
"""

import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys


def strict(schema):
    """The schema without room for members that it does not document."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        if "properties" in closed:
            closed.setdefault("additionalProperties", False)
        return closed
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


def check_json(folder, schema_path):
    import jsonschema

    schema = json.loads(pathlib.Path(schema_path).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(strict(schema))
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        for error in validator.iter_errors(document):
            yield f"{path.name}: {error.message[:300]} at {list(error.absolute_path)}"
        for member in document:
            if validator.is_valid({key: document[key] for key in document if key != member}):
                yield f"{path.name}: valid without {member}"
    suppressed = json.loads((folder / "suppressed.json").read_text())["models"][0]["suppressed"]
    if [each["rule"] for each in suppressed] != ["plateaued-loss"]:
        yield "suppressed.json does not show what is suppressed"


def check_gitlab(folder, _):
    severities = {"info", "minor", "major", "critical", "blocker"}
    for path in sorted(folder.glob("*.gitlab")):
        issues = json.loads(path.read_text())
        fingerprints = [issue["fingerprint"] for issue in issues]
        if len(set(fingerprints)) != len(fingerprints):
            yield f"{path.name}: fingerprints are not unique"
        for issue in issues:
            location = issue["location"]
            if issue["severity"] not in severities or not issue["description"] or not issue["check_name"]:
                yield f"{path.name}: {issue}"
            if location["path"].startswith(("/", "./")) or location["lines"]["begin"] < 1:
                yield f"{path.name}: {location}"
    for name in ("empty", "nothing", "unhealthy"):
        if not json.loads((folder / f"{name}.gitlab").read_text()):
            yield f"{name}.gitlab reads as healthy"


def check_junit(folder, _):
    import junitparser

    for path in sorted(folder.glob("*.xml")):
        seen = set()
        for suite in junitparser.JUnitXml.fromfile(str(path)):
            before = (suite.tests, suite.failures, suite.errors, suite.skipped)
            suite.update_statistics()
            after = (suite.tests, suite.failures, suite.errors, suite.skipped)
            if before != after:
                yield f"{path.name}: {suite.name} says {before}, has {after}"
            for case in suite:
                # GitLab and Jenkins take cases of one class and name for one.
                if (case.classname, case.name) in seen:
                    yield f"{path.name}: {case.classname} {case.name} twice"
                seen.add((case.classname, case.name))


def check_github(folder, _):
    command = re.compile(r"::(error|warning|notice) title=([^:,]*),file=([^:,]*),line=12::(.*)")
    for path in sorted(folder.glob("*.github")):
        lines = path.read_text().split("\n")[:-1]
        parsed = [command.fullmatch(line) for line in lines]
        if not all(parsed):
            yield f"{path.name}: {lines[parsed.index(None)]!r} is no command"
            continue
        for kind in ("error", "warning", "notice"):
            if sum(match[1] == kind for match in parsed) > 10:
                yield f"{path.name}: more than ten of {kind}"
        if any(re.search(r"%(?!25|0A|0D|3A|2C)", part) for match in parsed for part in match.groups()):
            yield f"{path.name}: a percent sign is not escaped"


class Page(html.parser.HTMLParser):
    """Text, and what in it GitHub and GitLab would take for markup or a reference."""

    tags = set("h1 h2 h3 p table thead tbody tr th td code pre details summary strong ul li".split())
    reference = re.compile(r"@\w|#\d|GH-\d|://\w|www\.\w|:[\w+-]+:")

    def __init__(self):
        super().__init__(convert_charrefs=False)
        self.text, self.chunk, self.code, self.problems = "", "", 0, []

    def flush(self):
        if not self.code and self.reference.search(self.chunk):
            self.problems.append(f"a reference: {self.chunk!r}")
        self.text += self.chunk
        self.chunk = ""

    def handle_starttag(self, tag, attributes):
        self.flush()
        self.code += tag in ("code", "pre")
        if tag not in self.tags or any(name not in ("class", "align") for name, _ in attributes):
            self.problems.append(f"<{tag}> {attributes}")

    def handle_endtag(self, tag):
        self.flush()
        self.code -= tag in ("code", "pre")

    def handle_comment(self, data):
        self.flush()
        if data.strip():
            self.problems.append(f"a comment: {data!r}")

    def handle_data(self, data):
        self.chunk += data

    def handle_entityref(self, name):
        self.chunk += html.unescape(f"&{name};")

    def handle_charref(self, name):
        self.chunk += html.unescape(f"&#{name};")


def check_markdown(folder, _):
    cmark = shutil.which("cmark-gfm")
    if cmark is None:
        yield "cmark-gfm is missing"
        return
    extensions = [word for name in ("table", "strikethrough", "autolink") for word in ("-e", name)]
    for path in sorted(folder.glob("*.md")):
        if path.stat().st_size > 1_000_000:
            yield f"{path.name} has {path.stat().st_size} bytes"
        made = subprocess.run([cmark, "--unsafe", *extensions, str(path)], capture_output=True, check=True)
        page = Page()
        page.feed(made.stdout.decode())
        page.flush()
        for problem in page.problems:
            yield f"{path.name}: {problem}"
        if made.stdout.count(b"<table>") != path.read_text().count("\n| evidence | of "):
            yield f"{path.name}: a table is none"
        if path.with_suffix(".text").exists():
            # In a heading, a paragraph, a table, code, a list: what was written is what is read.
            wanted = " ".join(path.with_suffix(".text").read_text().split())
            found = " ".join(page.text.split()).count(wanted)
            if found < 8:
                yield f"{path.name}: {wanted!r} is shown {found} times"


def main(kind, writer, folder, schema):
    folder = pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([writer, str(folder)], check=True)
    if not any(folder.glob("hostile-*")):
        sys.exit("nothing was written")
    problems = list(globals()[f"check_{kind}"](folder, schema))
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


main(*sys.argv[1:])
