"""`barque completion`: the script that makes a shell complete `barque`'s words, by asking `barque __complete`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.flags import Command, Values

__all__ = ["COMPLETION"]

_BASH = r"""# bash completion of barque: source it, or put it into /etc/bash_completion.d/barque
_barque() {
    local line="${COMP_LINE:0:COMP_POINT}" breaks="${COMP_WORDBREAKS//[^:=]/}" current prefix="" candidate rest
    current="${line##*[[:space:]]}"
    # bash replaces only what follows the last of its word breaks
    [[ -n $breaks ]] && prefix="${current%"${current##*[$breaks]}"}"
    COMPREPLY=()
    while IFS=$'\t' read -r candidate rest; do
        case "$candidate" in
            :files) compopt -o default ;;
            :nospace) compopt -o nospace ;;
            *) COMPREPLY+=("${candidate#"$prefix"}") ;;
        esac
    done < <("${COMP_WORDS[0]}" __complete "$line" 2>/dev/null)
}
complete -F _barque barque
"""
_ZSH = r"""#compdef barque
# zsh completion of barque: put it as _barque into a directory of $fpath, or source it after compinit
_barque() {
    local line="${(j: :)words[1,CURRENT-1]} ${PREFIX}" value description files nospace
    local -a found
    while IFS=$'\t' read -r value description; do
        case "$value" in
            :files) files=1 ;;
            :nospace) nospace=1 ;;
            *) found+=("${value//:/\\:}:${description}") ;;
        esac
    done < <("${words[1]}" __complete "$line" 2>/dev/null)
    (( ${#found} )) && _describe 'barque' found ${nospace:+-S ''}
    [[ -n $files ]] && _files
}
if [[ "${funcstack[1]}" == "_barque" ]]; then _barque; else compdef _barque barque; fi
"""
_FISH = r"""# fish completion of barque: put it into ~/.config/fish/completions/barque.fish
function __barque_complete
    for found in (barque __complete (commandline -cp | string collect) 2>/dev/null)
        switch $found
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':nospace'
            case '*'
                echo $found
        end
    end
end
complete -c barque -f -a '(__barque_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(_context: Context, values: Values) -> int:
    """Print a shell's script."""
    shell = values.arguments[0]
    if shell not in _SCRIPTS:
        from barque.cli.errors import CliError

        raise CliError(f"no completion for {shell}", hint=f"there are scripts for {', '.join(_SCRIPTS)}")
    sys.stdout.write(_SCRIPTS[shell])
    return 0


COMPLETION = Command(
    summary="Generate the autocompletion script for the specified shell",
    usage="bash|zsh|fish",
    run=completion,
    arguments=(1, 1),
    examples=(
        "barque completion bash > /etc/bash_completion.d/barque",
        "barque completion zsh > ~/.zfunc/_barque",
        "barque completion fish > ~/.config/fish/completions/barque.fish",
    ),
)
