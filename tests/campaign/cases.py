"""One case: a system call that fails, for the n-th time it is made in a scene, with an errno; and what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess

from campaign import ptrace, start
from campaign.client import Client, WrongError
from campaign.errnos import ERRNOS, NEVER
from campaign.ptrace import Strace
from campaign.scenes import SCENES
from campaign.target import PORT, DeathError

SERVES, ENDED, FAILED, MISSED = "serves", "ended in order", "failed in order", "not reached"
DEATH, WRONG = "DEATH", "WRONG"
BROKEN = (DeathError, WrongError, OSError, AssertionError, ValueError, subprocess.TimeoutExpired)
OUTCOMES = (SERVES, ENDED, FAILED, MISSED, DEATH, WRONG)


@dataclasses.dataclass(frozen=True)
class Case:
    """`when`: the how-manieth call of that name in the scene, from 1 on."""

    scene: str
    call: str
    errno: str
    when: int

    def __str__(self):
        return f"{self.scene}:{self.call}:{self.errno}:{self.when}"

    @classmethod
    def parse(cls, text):
        scene, call, errno, when = text.rsplit(":", 3)
        return cls(scene, call, errno, int(when))

    def rank(self, seed):
        """Return where a sample with this seed has it; a case more or less moves no other."""
        return hashlib.sha256(f"{seed} {self}".encode()).digest()


def cases_of(scene, calls):
    """Return the cases of a scene in which calls are made: the first of each, the second and a later one."""
    found = []
    for call, places in sorted(calls.items()):
        if call not in NEVER and call not in ERRNOS:
            print(f"{call} in {scene!r}: not failed; errnos.py does not say which errnos its manual page names")
        if call in ERRNOS:
            times = sorted({*places[:2], places[2:][len(places[2:]) // 2] if places[2:] else places[0]})
            found += [Case(scene, call, errno, when) for errno in ERRNOS[call] for when in times]
    return found


def ready(target, name, call=""):
    """Have the daemon in its state before the scene, and return the scene."""
    scene = SCENES[name](target, call)
    if target.scene != name or not target.pid:
        target.end()
        target.renew(scene.owner, **scene.settings())
        target.start(scene)
        target.scene = name
    target.bystander.echo(10)
    scene.noted = target.bystander.back
    return scene


def observe(target, name):
    """Play a scene without a fault, and return the calls in it. Raises WrongError when it fails already so."""
    if name == start.NAME:
        return start.observe(target)
    scene = ready(target, name)
    prefix = target.home / "trace"
    before = target.await_clients(1)
    pid = scene.prepare()
    with Strace(pid, prefix, "-ff"):
        scene.act()
    judge(target, scene, before)
    paths = ptrace.files(prefix)
    if scene.follow:  # what the children do; the parent's own is another scene
        paths = [path for path in paths if path.suffix != f".{pid}"]
    else:
        paths = [path for path in paths if path.suffix == f".{pid}"]
    found: dict[str, list[int]] = {}
    for path in paths:
        for call, places in ptrace.calls(path, until=scene.until).items():
            found[call] = max(places, found.get(call, []), key=len)
    if scene.ends:
        target.end()
    return found


def play(target, case):
    """Play a case; return its outcome and the details of a bad one."""
    try:
        outcome = start.play(target, case) if case.scene == start.NAME else fail(target, case)
        if case.call in ("close", "close_range", "munmap"):  # strace did not let it happen: what is left open stays so
            target.end()
        return outcome, ""
    except DeathError as error:
        detail = DEATH, str(error)
    except BROKEN as error:
        detail = WRONG, f"{error}{'; ' + target.crash() if target.crash() else ''}"
    if case.scene != start.NAME and ptrace.impossible(target.home / "trace", target.traced):
        detail = MISSED, ""
    elif detail[0] == WRONG and (end := how_ended(target)):
        detail = DEATH, f"{end}; {detail[1]}"
    target.end()
    return detail


def how_ended(target):
    """Return how the daemon has ended, or is about to; an empty text when it goes on."""
    try:
        if target.pid and " crash " in target.crash():
            return target.ended()
        if target.pid:
            target.alive()
    except (DeathError, WrongError) as error:
        return str(error)
    return ""


def fail(target, case):
    """Have the call fail in its scene; raises DeathError or WrongError where a promise is not kept."""
    scene = ready(target, case.scene, case.call)
    before = target.await_clients(1)
    prefix = target.home / "trace"
    pid = target.traced = scene.prepare()
    words = ptrace.failing(case.call, case.errno, case.when, "execve")
    with Strace(pid, prefix, *(["-ff"] if scene.follow else []), *words):
        scene.act()
    hit = ptrace.injected(prefix)
    judge(target, scene, before)
    if scene.ends:
        target.end()
    if not hit:
        return MISSED
    return ENDED if scene.ends else SERVES


def judge(target, scene, before):
    """See, after the scene, that the promises were kept."""
    scene.lost()
    if target.crash():
        raise WrongError(target.crash())
    if scene.ends:
        scene.check()
        return
    scene.check()
    target.bystander.echo(10)
    if target.bystander.outcome != "open":
        raise WrongError("a client that had nothing to do with it was lost")
    fresh = Client((target.host(1), PORT)).echo(100).finish()
    if fresh.outcome != "served":
        raise WrongError(f"a client after it is {fresh.outcome}")
    after = target.await_clients(1)
    count(scene, before, after, [*scene.clients, fresh])


def refusals(counted):
    """Return how many the daemon has refused itself: whom a child refuses has been accepted, and ended."""
    return sum(number - counted["ended"].get(reason, 0) for reason, number in counted["refused"].items())


def count(scene, before, after, clients):
    """Compare the daemon's counters with what the clients have seen."""
    gone = {key: after[key] - before[key] for key in ("accepted", "closed", "bytes_in", "bytes_out")}
    refused = refusals(after) - refusals(before)
    if gone["accepted"] + refused != len(clients):
        raise WrongError(f"{len(clients)} clients came, {gone['accepted']} were accepted and {refused} refused")
    if after["accepted"] != after["closed"] + after["clients"]:
        raise WrongError(f"{after['accepted']} accepted, {after['closed']} closed, {after['clients']} there")
    there = scene.target.bystander
    sent = sum(len(client.sent) for client in clients) + len(there.sent) - scene.noted
    back = sum(client.back for client in clients) + there.back - scene.noted
    counted = gone["bytes_in"], gone["bytes_out"]
    whole = sent == back
    if (whole and counted != (sent, sent)) or not back <= counted[1] <= counted[0] <= sent:
        raise WrongError(f"clients sent {sent} bytes and got {back}; the daemon counts {counted}, in and out")
