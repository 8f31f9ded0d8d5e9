"""`eva completion bash|zsh`: a script that completes commands, flags and registered names."""

from eva_core import registry
from eva_core.errors import UsageError

FLAGS = (
    "--config --model --dataset --head --protocol --precision --output --device --devices --batch_size --on_error "
    "--quiet --verbose"
)

BASH = """_eva() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  case "$before" in
    eva) COMPREPLY=($(compgen -W "{commands}" -- "$word")) ;;
    --model|models) COMPREPLY=($(compgen -W "{models}" -- "$word")) ;;
    --dataset|datasets) COMPREPLY=($(compgen -W "{datasets}" -- "$word")) ;;
    download) COMPREPLY=($(compgen -W "{models} {datasets}" -- "$word")) ;;
    methods) COMPREPLY=($(compgen -W "{methods}" -- "$word")) ;;
    tasks) COMPREPLY=($(compgen -W "{tasks}" -- "$word")) ;;
    --head|heads) COMPREPLY=($(compgen -W "{heads}" -- "$word") $(compgen -d -- "$word")) ;;
    *) COMPREPLY=($(compgen -W "{flags}" -- "$word") $(compgen -f -- "$word")) ;;
  esac
}}
complete -F _eva eva"""


def main(argv: list[str]) -> int:
    """Print the script; names are those of the packages installed now."""
    if argv in (["-h"], ["--help"]):
        print("usage: eva completion bash|zsh\n\nIn bash: source <(eva completion bash)")
        return 0
    if argv not in (["bash"], ["zsh"]):
        raise UsageError(f"Expected `eva completion bash` or `zsh`, but got {' '.join(argv) or 'nothing'}.")
    script = BASH.format(
        commands=_names(registry.commands),
        models=_names(registry.models),
        datasets=_names(registry.datasets),
        heads=_names(registry.heads),
        methods=_names(registry.methods),
        tasks=_names(registry.tasks),
        flags=FLAGS,
    )
    print(script if argv == ["bash"] else f"autoload -U +X bashcompinit && bashcompinit\n{script}")
    return 0


def _names(names: registry.Registry) -> str:
    return " ".join(dict.fromkeys(e.name for e in names.entries()))
