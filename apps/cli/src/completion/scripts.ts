/** What each shell runs. All of them ask `fulcrum __complete`, so that they know what this fulcrum knows. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** A line of the answer that is no candidate: file names fit here. */
export const FILES = ":files";

const BASH = `# bash completion for fulcrum: source <(fulcrum completion bash)
_fulcrum() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = "${FILES}" ]; then
      compopt -o default 2>/dev/null
    else
      COMPREPLY+=("\${line%%$'\\t'*}")
    fi
  done < <("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _fulcrum fulcrum
`;

const ZSH = `#compdef fulcrum
# zsh completion for fulcrum: source <(fulcrum completion zsh)
_fulcrum() {
  local line value
  local -a described
  local files=0
  while IFS= read -r line; do
    if [[ "$line" == "${FILES}" ]]; then
      files=1
    else
      value="\${line%%$'\\t'*}"
      described+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
    fi
  done < <("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#described} )) && _describe fulcrum described
  (( files )) && _files
}
compdef _fulcrum fulcrum
`;

const FISH = `# fish completion for fulcrum: fulcrum completion fish | source
function __fulcrum_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    for line in ($before[1] __complete -- $before[2..-1] "$current" 2>/dev/null)
        if test "$line" = "${FILES}"
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c fulcrum -f -a '(__fulcrum_complete)'
`;

const SCRIPTS: Record<Shell, string> = { bash: BASH, zsh: ZSH, fish: FISH };

export function shellScript(shell: Shell): string {
  return SCRIPTS[shell];
}
