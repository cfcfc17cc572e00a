"""The daemon as a service: `echod run` under a service manager that is notified, logging to a syslog of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from campaign.scene import Scene
from campaign.scenes_clients import OneClient
from campaign.scenes_end import Drain
from campaign.scenes_reload import Reload, ReloadChanges
from support.processes import MountNamespace

OWN_DEV = """
mkdir {home}/dev
mount -t tmpfs -o mode=755 tmpfs {home}/dev
cp -a /dev/null /dev/zero /dev/random /dev/urandom {home}/dev
mount --bind {home}/dev /dev
"""
# reads both sockets; the syslog's lines go where a log file would be
LISTENER = """
import os, select, socket, sys
log, notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
notify.bind(sys.argv[2])
for path in ("/dev/log", sys.argv[2]):
    os.chmod(path, 0o666)
print("ready", flush=True)
with open(sys.argv[1], "ab", 0) as file:
    while True:
        for one in select.select([log, notify], [], [])[0]:
            data = one.recv(9999)
            if one is log:
                file.write(data + b"\\n")
"""


class Supervised(Scene):
    """A mix-in: another way to start, and to log."""

    def settings(self):
        return super().settings() | {"log": "syslog"}

    def start(self):
        """Start the daemon in the place of `echod start`; all its processes are this one's children."""
        home, echod = self.target.home, self.target.echod
        space = MountNamespace(OWN_DEV.format(home=home)).__enter__()
        command = [*space.prefix, sys.executable, "-c", LISTENER, str(echod.log), str(home / "notify")]
        listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert listener.stdout.readline() == "ready\n"
        environment = os.environ | {"NOTIFY_SOCKET": str(home / "notify")}
        echod.prefix = space.prefix
        server = subprocess.Popen(echod.command("run"), env=environment, stderr=subprocess.DEVNULL)
        echod.prefix = ()
        for process in (listener, server, space.holder):
            process.returncode = 0  # Target.end waits for them, and Target.ended for the server
            for stream in (process.stdin, process.stdout):
                self.target.streams += [stream] if stream else []
        self.target.wait_until_running()


class OneClientSupervised(Supervised, OneClient):
    name = "one client, syslog"


class ReloadSupervised(Supervised, Reload):
    name = "reload, notifying"


class ReloadFromSyslog(Supervised, ReloadChanges):
    name = "reload, from syslog to a file"


class DrainSupervised(Supervised, Drain):
    name = "drain, notifying"
