#!/usr/bin/env bash
# The manual page is formatted without a complaint: manual.sh PAGE. Exit code 77: nothing to format it with.
set -eu
checked=no
if command -v mandoc >/dev/null; then
  mandoc -T lint -W warning "$1"
  checked=yes
fi
if command -v groff >/dev/null; then
  complaints=$(groff -mandoc -ww -Tutf8 "$1" 2>&1 >/dev/null)
  [ -z "$complaints" ] || { echo "$complaints"; exit 1; }
  groff -mandoc -Tascii -P-cbou "$1" 2>/dev/null | grep -q -- '--format FORMAT' || { echo "no option can be read"; exit 1; }
  checked=yes
fi
[ "$checked" = yes ] || { echo "not run: neither mandoc nor groff is there"; exit 77; }
