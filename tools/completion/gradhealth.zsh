#compdef gradhealth
# The command itself knows what may come next. Where it knows nothing, files.
local line
local -a candidates
for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
  [[ -n $line ]] && candidates+=("${line%%$'\t'*}:${line#*$'\t'}")
done
if (( $#candidates )); then
  _describe gradhealth candidates
else
  _files
fi
