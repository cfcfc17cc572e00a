"""The Debian package of each program that tests need, and what the last lines of a run say about skipped tests."""

from __future__ import annotations

import os
import shutil
from collections import Counter

ROOT_REASON = "needs root"
PYTHON_PACKAGES = ["pybuild-plugin-pyproject", "python3-all", "python3-hatchling"]  # what `make deb` builds with
# What `support.wait.need` is asked for, by package. A name with a slash is a file.
TOOLS_OF_PACKAGE = {
    "bash-completion": ["/usr/share/bash-completion/bash_completion"],
    "bash": ["bash"],
    "binutils": ["nm"],
    "dbus": ["dbus-daemon"],
    "debhelper": ["dh"],
    "dh-python": ["dh_python3"],
    "dpkg-dev": ["dpkg-buildpackage"],
    "fail2ban": ["fail2ban-regex"],
    "fish": ["fish"],
    "gcc": ["cc"],
    "haproxy": ["haproxy"],
    "iproute2": ["ip", "ss", "tc"],
    "libc6-dev": ["/usr/include/stdio.h"],
    "lintian": ["lintian"],
    "logrotate": ["logrotate"],
    "mandoc": ["mandoc"],
    "mmdebstrap": ["mmdebstrap"],
    "monitoring-plugins-basic": ["/usr/lib/nagios/plugins/check_tcp"],
    "ncat": ["ncat"],
    "netbase": ["/etc/services"],
    "netcat-openbsd": ["nc.openbsd"],
    "netcat-traditional": ["nc.traditional"],
    "nftables": ["nft"],
    "openbsd-inetd": ["inetd"],
    "openssl": ["openssl"],
    "patch": ["patch"],
    "pipx": ["pipx"],
    "procps": ["ps"],
    "prometheus": ["prometheus", "promtool"],
    "prometheus-blackbox-exporter": ["prometheus-blackbox-exporter"],
    "prometheus-node-exporter": ["prometheus-node-exporter"],
    "psmisc": ["pstree"],
    "qemu-user-static": ["qemu-arm-static"],
    **{name: [f"/var/lib/dpkg/info/{name}.list"] for name in PYTHON_PACKAGES},
    "rsyslog": ["rsyslogd"],
    "runc": ["runc"],
    "runit": ["runsv", "sv"],
    "s6": ["s6-supervise", "s6-svc", "s6-svwait"],
    "shellcheck": ["shellcheck"],
    "socat": ["socat"],
    "strace": ["strace"],
    "stunnel4": ["stunnel4"],
    "supervisor": ["supervisord", "supervisorctl"],
    "systemd": ["systemctl", "systemd-analyze"],
    "ucspi-tcp": ["tcpserver"],
    "util-linux": ["nsenter", "prlimit", "setpriv", "unshare"],
    "xinetd": ["xinetd"],
    "zsh": ["zsh"],
}
PACKAGE_OF_TOOL = {tool: package for package, tools in TOOLS_OF_PACKAGE.items() for tool in tools}
CONFLICTS = {"openbsd-inetd": "xinetd"}  # apt-get refuses to install both; .ci/run unpacks the first


def find(tool):
    """Return the path of a program or file, or None; a user's PATH may lack the directories of root's programs."""
    if "/" in tool:
        return tool if os.path.exists(tool) else None
    return shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def missing_packages(tools):
    """Return the packages of those tools that are missing, without one that conflicts with another."""
    wanted = {PACKAGE_OF_TOOL[tool] for tool in tools if find(tool) is None}
    return sorted(wanted - CONFLICTS.keys())


def reasons(reports):
    """Return how many tests were skipped for each reason."""
    return Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)


def skip_summary(counts, whole):
    """Return lines that say how many tests were skipped for each reason, and how to install what is missing.

    A test is skipped for the first tool that it lacks. After the whole suite, the command has the packages of all tools
    so that the next run does not ask for more.
    """
    lines = [
        f"{count:4} {'test' if count == 1 else 'tests'} skipped: {reason}" for reason, count in counts.most_common()
    ]
    asked = [tool for reason in counts if (tool := reason.removeprefix("needs ")) in PACKAGE_OF_TOOL]
    packages = missing_packages(PACKAGE_OF_TOOL if asked and whole else asked)
    if packages:
        lines.append(f"To run them: apt-get install {' '.join(packages)}")
    if counts[ROOT_REASON]:
        lines.append("To run those that need root: make test as root")
    return lines
