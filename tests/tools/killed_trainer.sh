#!/usr/bin/env bash
# Kills a real trainer with SIGKILL at several moments and lets every command read what it left:
#   killed_trainer.sh GRADHEALTH TRAINER DIRECTORY
set -u
gradhealth=$1 trainer=$2 place=$3
failed=0
complain() { echo "killed_trainer: $*" >&2; failed=1; }

for moment in 0 0.05 0.2 0.6 1.3; do
  rm -rf "$place"
  mkdir -p "$place"
  "$trainer" --out "$place" >/dev/null 2>&1 &
  pid=$!
  for _ in $(seq 600); do
    [ -e "$place/raw.h5" ] && break
    sleep 0.05
  done
  sleep "$moment"
  kill -KILL "$pid" 2>/dev/null || complain "the trainer had ended before it was killed ($moment s)"
  wait "$pid" 2>/dev/null
  run=$place/raw.h5
  "$gradhealth" report "$run" >"$place/report.txt" 2>"$place/errors.txt" || complain "report: exit code $? after $moment s"
  "$gradhealth" report "$run" -o "$place/report.html" 2>>"$place/errors.txt" || complain "html: exit code $? after $moment s"
  "$gradhealth" check "$run" --quiet --json "$place/run.json" --junit "$place/run.xml" >/dev/null 2>>"$place/errors.txt"
  code=$?
  # Findings, or a run that was not finished: never healthy, never a defect.
  [ "$code" = 1 ] || [ "$code" = 2 ] || complain "check: exit code $code after $moment s"
  grep -q '"finished": false' "$place/run.json" || complain "the JSON does not say that the run was not finished"
done
# The last kill comes after the first twenty steps: the cause is in the file.
grep -q unnormalized-input "$place/report.txt" || complain "the root cause is missing from what the last trainer left"
exit $failed
