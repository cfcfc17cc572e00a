"""The Debian package: built, judged by lintian, and installed, upgraded and purged under systemd."""

from __future__ import annotations

import re

import pytest

import echod as package
from support.debian import ROOT, run
from support.systemd_box import Box
from support.wait import need, need_root, wait_for

NEXT = "9.9.9"
METRICS = "/var/lib/prometheus/node-exporter"
PROBE = "while [ ! -e /run/done ]; do echoc --check 127.0.0.1 || echo $? >>/run/lost; echo >>/run/tried; done"

# One worker builds the package, boots a machine, and tries all this: a minute of processor time.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("debian"), pytest.mark.campaign]


@pytest.fixture(scope="module")
def upgrade(built, tmp_path_factory):
    """Return a package of a later version, whose config differs, too."""
    tree = tmp_path_factory.mktemp("next") / "tree"
    run("dpkg-deb", "-R", next(built.glob("*.deb")), tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub("^Version: .*", f"Version: {NEXT}", control.read_text(), flags=re.MULTILINE))
    init = tree / "usr/lib/python3/dist-packages/echod/__init__.py"
    init.write_text(init.read_text().replace(package.__version__, NEXT))
    with (tree / "etc/echod.conf").open("a") as file:
        file.write("# another setting\n")
    run("dpkg-deb", "--root-owner-group", "-b", tree, built / "next.deb")
    return built / "next.deb"


def test_the_version_is_the_modules():
    head = (ROOT / "debian/changelog").read_text().splitlines()[0]
    assert head.split()[1] == f"({package.__version__})"


def test_lintian_has_nothing_to_say(built):
    said = run(need("lintian"), "--allow-root", "--pedantic", "--fail-on", "none", next(built.glob("*.changes")))
    assert said == ""


@pytest.fixture
def box(built):
    need_root()
    box = Box(shared={str(built): "/packages"})
    # Without auto-update dpkg does not index all manuals of this machine after each step, which takes most of the time.
    box.run("rm -f /usr/sbin/policy-rc.d /var/lib/man-db/auto-update; export DEBIAN_FRONTEND=noninteractive")
    yield box
    box.close()


def status(box, what, options=""):
    return box.run(
        f"echod {options} status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"{what}\"])'"
    ).strip()


def files(box):
    return set(box.run("find /etc /lib /usr /var /run -name '*echod*'").splitlines())


def test_installed_upgraded_and_purged(box, upgrade):
    box.run(f"rm -rf {METRICS}; install -d -o prometheus -g prometheus {METRICS}")
    before = files(box)
    box.run(f"dpkg -i /packages/echod_{package.__version__}_all.deb")
    assert box.run("systemctl is-active echod; systemctl is-enabled echod").split() == ["active", "enabled"]
    assert "hello" in box.run("echo hello | echoc 127.0.0.1")
    assert status(box, "version") == package.__version__

    box.run("printf '[echod]\\nmax_children = 99\\n' >/etc/echod.conf; systemctl reload echod")
    assert status(box, "max_children") == "99"
    pid = status(box, "pid")
    box.run("exec 5<>/dev/tcp/127.0.0.1/27978; echo one >&5; read -r line <&5; [ $line = one ]")
    box.run(f"({PROBE}) >/dev/null &")
    box.run(f"dpkg --force-confdef -i /packages/{upgrade.name}")
    box.run("touch /run/done; wait; test -s /run/tried; test ! -e /run/lost")
    box.run("echo two >&5; read -r line <&5; [ $line = two ]; exec 5>&-")
    assert (status(box, "version"), status(box, "pid"), status(box, "max_children")) == (NEXT, pid, "99")

    box.run("systemctl enable --now echod.socket 2>/dev/null; systemctl enable --now echod-metrics.timer", None)
    wait_for(lambda: "echod_up" in box.run(f"cat {METRICS}/*", None), "the metrics")
    box.run("dpkg --remove echod")
    assert "max_children = 99" in box.run("cat /etc/echod.conf")
    assert "inactive" in box.run("systemctl is-active echod", None)
    assert box.run(f"ls -A {METRICS}") == ""
    box.run("dpkg --purge echod")
    assert files(box) - before == set()


def test_what_was_stopped_stays_stopped_and_an_installation_starts(box, upgrade):
    box.run(f"dpkg -i /packages/echod_{package.__version__}_all.deb; systemctl stop echod")
    box.run(f"dpkg --force-confdef -i /packages/{upgrade.name}")
    assert box.run("systemctl is-active echod", 3) == "inactive\n"
    assert box.run("systemctl is-enabled echod") == "enabled\n"
    box.run(f"dpkg --remove echod; dpkg --force-confdef -i /packages/{upgrade.name}")
    assert box.run("systemctl is-active echod") == "active\n"
    box.run("systemctl disable --now echod 2>/dev/null; dpkg --remove echod")
    box.run(f"dpkg --force-confdef -i /packages/{upgrade.name}")
    assert box.run("systemctl is-active echod", 3) == "inactive\n"


def test_daemons_that_were_started_by_hand_are_upgraded_or_named_and_none_is_left(box, upgrade):
    box.run(f"dpkg -i /packages/echod_{package.__version__}_all.deb; systemctl stop echod")
    box.run("echod start; echod start -o pid_file=/run/second/echod.pid -o listen=127.0.0.1:4022")
    box.run("install -d -o nobody /run/theirs")
    as_nobody = "setpriv --reuid nobody --regid nogroup --clear-groups"
    box.run(f"{as_nobody} echod start -o pid_file=/run/theirs/echod.pid -o listen=127.0.0.1:4023")
    pid = status(box, "pid")

    said = box.run(f"dpkg --force-confdef -i /packages/{upgrade.name}")
    assert f"echod: the daemon of /run/theirs/echod.pid continues as version {package.__version__}; " in said
    assert said.count(" continues as version ") == 1
    assert (status(box, "version"), status(box, "pid")) == (NEXT, pid)
    assert status(box, "version", "-o pid_file=/run/second/echod.pid") == NEXT
    assert box.run("systemctl is-active echod", 3) == "inactive\n"

    said = box.run("dpkg --remove echod")
    assert "is left without its files" not in said
    assert box.run("grep -ls dist-packages/echod /proc/[0-9]*/cmdline", None) == ""
    box.run("dpkg --purge echod")
    assert box.run("find /run -name 'echod*'") == ""


def test_a_service_that_waits_is_not_in_the_way_of_an_upgrade(box, upgrade):
    """A daemon that another installation has started holds its place."""
    box.run(f"dpkg -i /packages/echod_{package.__version__}_all.deb; systemctl stop echod; echod start")
    box.run("systemctl start echod 2>/dev/null", 1)
    box.run(f"dpkg --force-confdef -i /packages/{upgrade.name}")
    assert status(box, "version") == NEXT
    box.run("echod stop")
    wait_for(lambda: box.run("systemctl is-active echod", None) == "active\n", "the service")
    box.run("dpkg --purge echod")
