"""What people type who run other daemons, and what they are told: one line that names the form that does it here."""

from __future__ import annotations

import pytest

from echod.cli import habits, main
from echod.common.config.settings import SETTINGS

# the command line, and the end of the answer
HABITS = {
    # sshd
    "-t": "unknown option -t; `echod check` examines the config",
    "-T": "unknown option -T; `echod check` examines the config",
    "-D": "unknown option -D; `echod run` serves in the foreground",
    "-d": "unknown option -d; -o log_level=debug logs every step; `echod start` starts the daemon",
    "-f /etc/echod.conf start": "unknown option -f; -c FILE names the config file",
    "-p 7777": "unknown option -p; -o listen=*:PORT sets the port",
    "-E /var/log/echod.log start": "unknown option -E; -o log=FILE sets the log",
    "check -o ListenAddress=127.0.0.1": "-o ListenAddress=127.0.0.1: unknown setting; did you mean listen?",
    "check -o MaxSessions=7": "unknown setting; did you mean max_children?",
    "check -o MaxStartups=7": "unknown setting; did you mean max_children_per_source?",
    "check -o ClientAliveInterval=7": "unknown setting; did you mean keepalive?",
    "check -o LogLevel=debug": "unknown setting; did you mean log_level?",
    "check -o PidFile=/x": "unknown setting; did you mean pid_file?",
    # nginx
    "-s reload": "unknown option -s; the command is a word: echod stop, echod reload, echod reopen",
    "-v": "unknown option -v; -V prints the version; -o log_level=debug logs every step",
    "quit": "unknown command 'quit'; did you mean `echod stop`?",
    "check -o worker_processes=4": "unknown setting; did you mean max_children?",
    "check -o error_log=/x": "unknown setting; did you mean log?",
    "check -o worker_shutdown_timeout=5s": "unknown setting; did you mean drain_timeout?",
    # xinetd
    "check -o port=7": "unknown setting; did you mean listen?",
    "check -o instances=7": "unknown setting; did you mean max_children?",
    "check -o per_source=7": "unknown setting; did you mean max_children_per_source?",
    "check -o only_from=10.0.0.0/8": "unknown setting; did you mean allow?",
    "check -o no_access=10.0.0.0/8": "unknown setting; did you mean deny?",
    "check -o bind=127.0.0.1": "unknown setting; did you mean listen?",
    "-dontfork": "unknown option -dontfork; `echod run` serves in the foreground",
    # PostgreSQL
    "check -o max_connections=7": "unknown setting; did you mean max_children?",
    "check -o listen_addresses=*": "unknown setting; did you mean listen?",
    "check -o idle_session_timeout=5s": "unknown setting; did you mean idle_timeout?",
    "check -o tcp_keepalives_idle=5s": "unknown setting; did you mean keepalive?",
    "check -o log_connections=yes": "unknown setting; did you mean log_clients?",
    "check -o max_clients=7": "unknown setting; did you mean max_children?",
    "stop -m fast": "unknown option -m; see echod stop --help",
    # containers, service managers
    "--port 7": "unknown option --port; -o listen=VALUE sets that",
    "--config x start": "unknown option --config; -c FILE names the config file",
    "--foreground": "unknown option --foreground; `echod run` serves in the foreground",
    "--daemon": "unknown option --daemon; `echod start` starts the daemon",
    "--log-level debug start": "unknown option --log-level; -o log_level=VALUE sets that",
    "--reload": "unknown option --reload; the command is `echod reload`",
    "up": "unknown command 'up'; did you mean `echod start`?",
    "serve": "unknown command 'serve'; did you mean `echod run`?",
    "configtest": "unknown command 'configtest'; did you mean `echod check`?",
    "force-reload": "unknown command 'force-reload'; did you mean `echod reload`?",
    "check -o logfile=/x": "unknown setting; did you mean log?",
    "check -o timeout=5s": "unknown setting; did you mean idle_timeout?",
    # anybody
    "stat": "unknown command 'stat'; did you mean `echod status`?",
    "relaod": "unknown command 'relaod'; did you mean `echod reload`?",
    "help sotp": "unknown command 'sotp'; did you mean `echod stop`?",
    "7777": "unknown command '7777'; -o listen=*:7777 sets the port",
    "start 7777": "unexpected word '7777' after start; -o listen=*:7777 sets the port",
    "start listen=*:7": "unexpected word 'listen=*:7' after start; settings follow -o: -o listen=VALUE",
    "/etc/echod.conf": "unknown command '/etc/echod.conf'; -c FILE names the config file",
    "-o listen start": "-o listen: has no value; write -o listen=VALUE",
    "-oport start": "-o port: has no value; write -o listen=VALUE",
    "check -o listen=eth0": "has no port from 0 to 65535; allowed: a list of ",
    "check -o listen=a..b:7": "is not a host name: its parts have 1 to 63 characters; allowed: a list of ",
    f"check -o listen={'x' * 64}:7": "is not a host name: its parts have 1 to 63 characters; allowed: a list of ",
    "check -o idle_timeout=30": "-o idle_timeout=30: has no unit; allowed: a time with its unit, such as ",
    "check -o idle_timeout=30sec": "has the unknown unit 'sec'; allowed: a time with its unit, such as ",
    "check -o log='x'": "-o log='x': is in quotes; leave them out",
    "check -o max_children=many": "-o max_children=many: is not a whole number; allowed: a whole number from 1 to ",
    "check -o max_children=-1": "-o max_children=-1: is out of range; allowed: a whole number from 1 to 65536",
    "check -o log_level=loud": "-o log_level=loud: is unknown; allowed: error, warning, info or debug",
    "check -o allow=10.0.0.1/8": "-o allow=10.0.0.1/8: has host bits set; the network is 10.0.0.0/8",
}


@pytest.mark.parametrize("typed", HABITS)
def test_a_habit_is_answered_with_the_form_that_does_it_here(typed, capsys, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    words = typed.split()
    code = main.main(["-c", "/dev/null", *words] if words[0] == "check" else words)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("echod: ")
    assert said.err.count("\n") == 1
    assert HABITS[typed] in said.err
    assert code == (6 if words[0] == "check" else 2)
    value = words[-1].partition("=")[2]
    assert len(value) < 3 or said.err.count(value) == 1, "each thing once"


def test_there_are_forty():
    assert len(HABITS) >= 40


def test_what_the_tables_name_exists():
    assert set(habits.SYNONYMS.values()) <= set(SETTINGS)
    assert {words.split()[0] for words in habits.COMMANDS.values()} <= {*main.COMMANDS, "--version"}
    assert not set(habits.COMMANDS) & set(main.COMMANDS)
    assert not {habits.plain(name) for name in SETTINGS} & set(habits.SYNONYMS)
    known = main.parser()._option_string_actions
    assert not set(habits.OPTIONS) & set(known)


@pytest.mark.parametrize("words", [["--vers"], ["-V"], ["stop", "--he"], ["help", "status"], []])
def test_what_argparse_knows_is_left_to_it(words, capsys):
    try:
        code = main.main(words)
    except SystemExit as done:
        code = int(done.code or 0)
    assert code == (0 if words else 2)
    assert capsys.readouterr().out
