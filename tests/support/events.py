"""The events of the log: verb, level, the keys that follow, and when. The code and the pages are tested against it."""

from __future__ import annotations

RELIABLE = ("ready", "accept", "close", "refuse", "full", "summary", "reload", "upgrade", "drain", "stopped", "error")

EVENTS = {
    "ready": ("info", "listen max_children", "the daemon accepts"),
    "accept": ("debug", "peer fd listener", "a client was accepted"),
    "fork": ("debug", "child fd", "it was given a process"),
    "child": ("debug", "fd", "the child has closed all but its connection"),
    "read": ("debug", "fd bytes", "the first bytes came, or the client's FIN"),
    "write": ("debug", "fd bytes", "the first bytes were sent back"),
    "signal": ("debug", "name", "a child got a signal"),
    "shutdown": ("debug", "fd", "a child has sent its FIN first, for idle_timeout, max_lifetime or a drain"),
    "exit": ("debug", "status reason fd", "a child is about to exit"),
    "signals": ("debug", "pending", "the daemon got signals"),
    "waitpid": ("debug", "child status peer slot", "a child was reaped"),
    "close": ("info", "peer child reason in out secs", "a client is gone"),
    "crash": ("error", "child at", "a bug has ended a child; or the daemon, then with what and why in place of child"),
    "refuse": ("info", "peer reason", "a client was closed unserved"),
    "full": ("warning", "clients max_children", "max_children is reached"),
    "summary": ("info", "source clients in out secs", "the clients of a source in log_summary, by reason"),
    "reload": ("info", "generation changed", "new settings are in effect"),
    "upgrade": ("info", "version from clients", "a new version serves"),
    "drain": ("info", "clients", "a stop has begun; or, at warning, killed: its time was over"),
    "stopped": ("info", "", "the daemon is about to exit"),
    "error": ("warning", "call why", "a call has failed; at error, a reload, a reopen or an upgrade"),
    "log": ("warning", "lost", "lines could not be written"),
}
