"""Writes the completions of echod and echoc for bash, zsh and fish, from their parsers: `make completions`."""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab

from echod.cli import main
from echod.common.config.settings import SETTINGS
from echod.echoc import options, patterns

HERE = Path(__file__).parent
NAMES = {"bash": "{}.bash", "zsh": "_{}", "fish": "{}.fish"}

KEYS = {"bash": "_echod_keys", "zsh": "_echod_keys", "fish": "(_echod_keys)"}
HOSTS = {"bash": "_echoc_hosts", "zsh": "_hosts", "fish": "(__fish_print_hostnames)"}
ECHOC_BASH = """\
_echoc_hosts() {
  compgen -A hostname -- "$1"
}"""
# What completes the value of a setting, in each shell; the words of other settings come from their kind
FILE = {
    "bash": "-f",
    "zsh": "_files",
    "fish": "(__fish_complete_path (string replace -r '^[^=]*=' '' -- (commandline -ct)))",
}
VALUES = {
    "user": {"bash": "-u", "zsh": "_users", "fish": "(__fish_complete_users)"},
    "group": {"bash": "-g", "zsh": "_groups", "fish": "(__fish_complete_groups)"},
    "pid_file": FILE,
    "directory": FILE,
    "log": FILE,
}
CASES = {
    "bash": '  {name}=*) compgen -P "$prefix" {values} -- "$value" ;;',
    "zsh": "    {name}) {values} ;;",
    "fish": "    case '{name}=*'\n      printf '{name}=%s\\n' {values}",
}
HELPS = {"bash": "", "zsh": "      '{name}:{help}'", "fish": "        {name} '{help}'"}
WORDS = {"bash": '-W "{}"', "zsh": "compadd -- {}", "fish": "{}"}
# readline replaces only what is after the =, if that separates words
BASH = """\
_echod_keys() {{
  local value=${{1#*=}} prefix=
  [[ $COMP_WORDBREAKS == *=* ]] || prefix=${{1%%=*}}=
  case $1 in
{cases}
  *=*) ;;
  *) compgen -S = -W "{keys}" -- "$1" ;;
  esac
}}"""
ZSH = """\
_echod_keys() {{
  if compset -P 1 '*='; then
    case ${{${{IPREFIX#-o}}%=}} in
{cases}
    esac
  else
    local -a keys=(
{helps}
    )
    _describe setting keys -S = -q
  fi
}}"""
FISH = """\
function _echod_keys
  switch (commandline -ct)
{cases}
    case '*=*'
    case '*'
      printf '%s=\\t%s\\n' \\
{helps}
  end
end"""
PREAMBLE = {"bash": BASH, "zsh": ZSH, "fish": FISH}

# readline takes KEY=VALUE and HOST:PORT for several words, and puts a blank after KEY=
BASH_WORDS = """
_{prog}() {{
  local cur words cword
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n =: cur words cword
    local COMP_WORDS=("${{words[@]}}") COMP_CWORD=$cword
  fi
  _shtab_{prog}
  [[ ${{COMPREPLY[0]}} != *= ]] || compopt -o nospace
}}
complete -o bashdefault -F _{prog} {prog}
"""


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each program, its arguments marked with what completes them."""
    made: dict[str, argparse.ArgumentParser] = {"echod": main.parser(), "echoc": options.grammar()}
    for parser in made.values():
        _mark(parser)
    return made


def _mark(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # noqa: SLF001 - as shtab itself reads them
        if action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "KEY=VALUE":
            action.complete = KEYS  # type: ignore[attr-defined]
        elif action.metavar == "HOST":
            action.complete = HOSTS  # type: ignore[attr-defined]
        elif action.metavar == "NAME,...":
            action.choices = [pattern.name for pattern in patterns.PATTERNS]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            for sub in action.choices.values():
                _mark(sub)


def cases(shell: str) -> str:
    """Return what completes the value of each setting whose values a shell can know."""
    found = {
        name: VALUES[name][shell] if name in VALUES else WORDS[shell].format(" ".join(row.kind.words))
        for name, row in SETTINGS.items()
        if name in VALUES or row.kind.words
    }
    return "\n".join(CASES[shell].format(name=name, values=values) for name, values in found.items())


def helps(shell: str) -> str:
    """Return each setting with its line of help, for a shell that shows it."""
    lines = [HELPS[shell].format(name=name, help=row.help.rstrip(".")) for name, row in SETTINGS.items()]
    return (" \\\n" if shell == "fish" else "\n").join(lines)


def completion(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the completion of one program for one shell."""
    if parser.prog == "echod":
        preamble = PREAMBLE[shell].format(keys=" ".join(SETTINGS), cases=cases(shell), helps=helps(shell))
    else:
        preamble = ECHOC_BASH if shell == "bash" else ""
    text = shtab.complete(parser, shell, preamble=preamble)
    if shell == "bash":
        text += BASH_WORDS.format(prog=parser.prog)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def files() -> dict[str, str]:
    """Return the text of each file, by its name."""
    return {
        name.format(prog): completion(shell, parser)
        for prog, parser in parsers().items()
        for shell, name in NAMES.items()
    }


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text)
