# bash completion for gradhealth: the command itself knows what may come next. Where it knows nothing, files.
_gradhealth() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1))
}
complete -o bashdefault -o default -F _gradhealth gradhealth
