/**
 * A script a shell. Each asks `gantry __complete`, which answers a candidate a line (with a tab before its description)
 * and at the end a colon and what else there is: `files`, `folders`, `nospace` or nothing.
 */
export const COMPLETION_SCRIPTS: Readonly<Record<string, string>> = {
  bash: `# bash completion for gantry
_gantry() {
  local row directive= rows=()
  COMPREPLY=()
  while IFS= read -r row; do rows+=("$row"); done < <(
    GANTRY_COMPLETE_BREAKS=$COMP_WORDBREAKS "\${COMP_WORDS[0]}" __complete --line "\${COMP_LINE:0:COMP_POINT}" 2>/dev/null </dev/null
  )
  for row in "\${rows[@]}"; do
    case $row in
      :*) directive=\${row#:} ;;
      *) COMPREPLY+=("\${row%%$'\\t'*}") ;;
    esac
  done
  case $directive in
    files) compopt -o filenames; while IFS= read -r row; do COMPREPLY+=("$row"); done < <(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}") ;;
    folders) compopt -o filenames; while IFS= read -r row; do COMPREPLY+=("$row"); done < <(compgen -d -- "\${COMP_WORDS[COMP_CWORD]}") ;;
    nospace) compopt -o nospace ;;
  esac
}
complete -F _gantry gantry
`,
  zsh: `#compdef gantry
_gantry() {
  local row directive= ; local -a rows
  local tab=$'\\t'
  for row in "\${(@f)$(\${words[1]} __complete --words "\${(@Q)words[2,CURRENT]}" 2>/dev/null </dev/null)}"; do
    case $row in
      :*) directive=\${row#:} ;;
      ?*) rows+=("\${\${row%%$tab*}//:/\\\\:}\${\${(M)row%%*$tab*}:+:\${row#*$tab}}") ;;
    esac
  done
  local -a space
  [[ $directive == nospace ]] && space=(-S '')
  (( $#rows )) && _describe -t candidates candidate rows $space
  case $directive in
    files) _files ;;
    folders) _files -/ ;;
  esac
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _gantry gantry
`,
  fish: `# fish completion for gantry
function __gantry_complete
  set -l words (commandline -opc) (commandline -ct)
  for row in (command gantry __complete --words $words[2..-1] 2>/dev/null </dev/null)
    switch $row
      case ':files'
        __fish_complete_path (commandline -ct)
      case ':folders'
        __fish_complete_directories (commandline -ct)
      case ':*'
      case '*'
        echo $row
    end
  end
end
complete -c gantry -e
complete -c gantry -f -a '(__gantry_complete)'
`,
};
