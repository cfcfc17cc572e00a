"""echod: a classic forking TCP echo daemon (RFC 862) for Linux.

The launcher's rooms: cli, control, status, launch, pidfile.
The server's rooms: boot, server, reload, children, admission, signals, session, log, notify.
Both sides: config, values, handover, listener, scoreboard, lean.
"""

__version__ = "0.1.0"
