#!/usr/bin/env bash
# Each file compiles by itself, without a warning: compiles.sh COMPILER OPTION... -- FILE...
# A header is included from nothing, as by somebody whose first line it is.
set -uo pipefail
command=()
while [ "$1" != -- ]; do
  command+=("$1")
  shift
done
shift
[ $# -gt 0 ] || { echo "compiles.sh: no files to compile"; exit 2; }
bad=0
for file in "$@"; do
  case "$file" in
    *.h) source=(-include "$file" -x c++ /dev/null) ;;
    *) source=("$file") ;;
  esac
  "${command[@]}" -fsyntax-only -Wall -Wextra -Werror "${source[@]}" || { echo "does not compile: $file"; bad=1; }
done
exit $bad
