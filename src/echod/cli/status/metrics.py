"""A snapshot as metrics, in Prometheus' text format (node_exporter, promtool) or in OpenMetrics 1.0 (a scraper).

The two differ in two things. Prometheus' text format declares the type of the counter `x_total` for `x_total`,
OpenMetrics for `x`. OpenMetrics ends with a line that says so. prometheus_client would write both, but its import takes
longer than all of `echod status`. Its parsers test what is written here.
Each sample names its daemon by the label `pid_file`. Otherwise two daemons on one host would be one to Prometheus.
"""

from __future__ import annotations

from echod.cli.status.snapshot import STATES
from echod.common.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Number = int | float

TOTAL = "_total"  # the end of a counter's name
SUCCESSFUL = "ok", "never"  # how the last reload ended
METRICS = {  # name: type, the label where it has one, help; the manual lists these
    "echod_up": ("gauge", "", "Whether the daemon runs."),
    "echod_build_info": ("gauge", "version", "Always 1; the version that runs."),
    "echod_state": ("gauge", "state", "1 for the state that the daemon is in."),
    "echod_start_time_seconds": ("gauge", "", "When the daemon started, since the epoch."),
    "echod_clients": ("gauge", "", "Clients that are being served."),
    "echod_clients_limit": ("gauge", "", "How many there may be: max_children."),
    "echod_clients_peak": ("gauge", "", "How many there were at most."),
    "echod_full_seconds": ("gauge", "", "For how long there has been no room, 0 where there is."),
    "echod_accept_queue_length": ("gauge", "", "Clients in the accept queues of the listeners."),
    "echod_connections_accepted_total": ("counter", "", "Clients that were given a child."),
    "echod_connections_closed_total": ("counter", "reason", "Clients that have gone, by why they ended."),
    "echod_connections_refused_total": ("counter", "reason", "Clients that were closed unserved, by why."),
    "echod_received_bytes_total": ("counter", "", "Bytes received from clients."),
    "echod_sent_bytes_total": ("counter", "", "Bytes sent back to clients."),
    "echod_config_generation": ("gauge", "", "How often settings were put in force."),
    "echod_config_last_reload_successful": ("gauge", "", "Whether the last reload took effect; 1 before the first."),
    "echod_log_lines_lost_total": ("counter", "", "Lines that the log could not take."),
}


def metrics(state: dict[str, Any] | None, pid_file: str, started: float = 0.0, *, openmetrics: bool = False) -> str:
    """Return the text: of a snapshot of a daemon that started at a time since the epoch, or where None runs."""
    found = {"echod_up": {"": 0}} if state is None else values(state, started)
    lines = [
        line
        for name, samples in found.items()
        for line in family(name, samples, f'pid_file="{escaped(pid_file)}"', openmetrics=openmetrics)
    ]
    return "\n".join([*lines, "# EOF"] if openmetrics else lines)


def values(state: dict[str, Any], started: float) -> dict[str, Mapping[str, Number]]:
    """Return the samples of each metric by the value of its label, of which an empty one is none."""
    single: dict[str, Number | None] = {
        "echod_up": 1,
        "echod_start_time_seconds": round(started, 3),
        "echod_clients": state["clients"],
        "echod_clients_limit": state["max_children"],
        "echod_clients_peak": state["peak_clients"],
        "echod_full_seconds": state["full_for"] or 0,
        "echod_accept_queue_length": state["accept_queue"],
        "echod_connections_accepted_total": state["accepted"],
        "echod_received_bytes_total": state["bytes_in"],
        "echod_sent_bytes_total": state["bytes_out"],
        "echod_config_generation": state["generation"],
        "echod_config_last_reload_successful": int(state["last_reload"] in SUCCESSFUL),
        "echod_log_lines_lost_total": state["log_lines_lost"],
    }
    found: dict[str, Mapping[str, Number]] = {name: {"": value} for name, value in single.items() if value is not None}
    found["echod_build_info"] = {state["version"]: 1}
    found["echod_state"] = {name: int(state["state"] == name) for name in STATES}
    found["echod_connections_closed_total"] = state["ended"]
    found["echod_connections_refused_total"] = state["refused"]
    return {name: found[name] for name in METRICS if name in found}


def family(name: str, samples: Mapping[str, Number], daemon: str, *, openmetrics: bool) -> Iterator[str]:
    """Yield the lines of a metric; `daemon` is the label that names the daemon.

    The numbers are another process's: a counter that is below zero would make the whole text invalid.
    """
    kind, label, text = METRICS[name]
    declared = name.removesuffix(TOTAL) if openmetrics else name
    yield f"# HELP {declared} {text}"
    yield f"# TYPE {declared} {kind}"
    for value, number in samples.items():
        other = f',{label}="{escaped(value)}"' if label else ""
        yield f"{name}{{{daemon}{other}}} {max(0, number)}"


def escaped(text: str) -> str:
    """Return a text as the value of a label; what a terminal cannot show is escaped first."""
    return printable(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
