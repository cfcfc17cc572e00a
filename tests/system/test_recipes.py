"""The recipes of docs/deploying.md, each tried: in network namespaces, and in a systemd box."""

from __future__ import annotations

import errno
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from support.daemon import Echod
from support.network import HERE, THERE, Hosts
from support.sockets import receive_all
from support.systemd_box import UNITS, EchodBox
from support.wait import DEADLINE, need, skip, wait_for

ROOT = UNITS.parent
PAGE = (ROOT / "docs" / "deploying.md").read_text()
FAIL2BAN = ROOT / "etc" / "fail2ban" / "filter.d" / "echod.conf"
EXPEDITED = 46 << 2  # DSCP EF as a byte of IP_TOS


@pytest.fixture
def hosts():
    with Hosts() as hosts:
        yield hosts


@pytest.fixture
def far(public, hosts):
    """Return a daemon that serves at HERE."""
    daemon = Echod(public, prefix=hosts.prefix, listen=f"{HERE}:0")
    yield daemon.start()
    daemon.cleanup()


def echo(conn, data=b"hello"):
    """Return what comes back."""
    conn.sendall(data)
    conn.shutdown(socket.SHUT_WR)
    return receive_all(conn)


def test_a_dscp_is_reflected(hosts, far):
    assert "sysctl -w net.ipv4.tcp_reflect_tos=1" in PAGE
    hosts.drop(hosts.there, f"tcp sport {far.port} ip dscp != ef", hooks=["input"])

    def connect():
        with hosts.enter(hosts.there):
            conn = socket.socket()
        conn.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)
        conn.settimeout(DEADLINE)
        return conn

    with connect() as conn:
        conn.settimeout(1)
        assert conn.connect_ex((HERE, far.port)) == errno.EAGAIN  # no answer
    hosts.sysctl(hosts.here, "net/ipv4/tcp_reflect_tos", 1)
    with connect() as conn:
        conn.connect((HERE, far.port))
        assert echo(conn, b"x" * 100_000) == b"x" * 100_000


def test_delay_and_loss_by_netem(hosts, far):
    (words,) = re.findall(r"^    tc (qdisc add dev .* root netem .*)$", PAGE, re.MULTILINE)
    tc = [need("ip"), "netns", "exec", hosts.here, need("tc")]
    if subprocess.run([*tc, *words.replace("eth0", "cable").split()]).returncode:
        skip("netem in the kernel")
    with hosts.connect(far.port) as conn:
        assert echo(conn, b"x" * 100_000) == b"x" * 100_000
    shown = subprocess.run([*tc, "-s", "qdisc", "show", "dev", "cable"], capture_output=True, text=True, check=True)
    assert "netem" in shown.stdout
    assert int(re.findall(r"Sent \d+ bytes (\d+) pkt", shown.stdout)[0]) > 10


def test_tls_by_stunnel(echod, tmp_path):
    """The client that the log names is the client of stunnel, for stunnel sends a PROXY protocol header."""
    stunnel = need("stunnel4")
    echod.start(proxy_from="127.0.0.1")
    subprocess.run(
        [need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (service,) = re.findall(r"^    \[echo-tls\]\n(?:    .*\n)+", PAGE, re.MULTILINE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = (
        service.replace("    ", "").replace("accept = 7443", f"accept = 127.0.0.1:{port}")
        .replace("27978", str(echod.port)).replace("/etc/stunnel/echod.pem", str(tmp_path / "both.pem"))
    )  # fmt: skip
    (tmp_path / "both.pem").write_text((tmp_path / "key.pem").read_text() + (tmp_path / "cert.pem").read_text())
    (tmp_path / "both.pem").chmod(0o600)
    config = tmp_path / "stunnel.conf"
    config.write_text(f"foreground = yes\npid =\n{service}")
    process = subprocess.Popen([stunnel, config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    try:
        conn = wait_for(lambda: connected(port), "stunnel")
        name = "{}:{}".format(*conn.getsockname())
        with context.wrap_socket(conn, server_hostname="localhost") as secure:
            secure.sendall(b"hello")
            assert secure.recv(5) == b"hello"
        wait_for(lambda: any(f"peer={name} " in line for line in echod.events("close")), "the line")
    finally:
        process.terminate()
        process.wait(DEADLINE)


def connected(port):
    """Return a connection, or None while nothing listens."""
    try:
        return socket.create_connection(("127.0.0.1", port), DEADLINE)
    except ConnectionRefusedError:
        return None


def banned(log, directory):
    """Return the addresses that the filter finds in a log. It includes a file of fail2ban from its own directory."""
    tool = need("fail2ban-regex")
    shutil.copy(FAIL2BAN, directory / "echod.conf")
    shutil.copy("/etc/fail2ban/filter.d/common.conf", directory)
    words = [tool, "--out", "ip", log, directory / "echod.conf"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def test_the_filter_of_fail2ban_finds_refusals_and_nothing_else(tmp_path):
    lines = [
        "Dec  1 10:00:00 host echod[7]: refuse peer=192.0.2.66:5151 reason=access",
        "Dec  1 10:00:01 host echod[7]: refuse peer=[2001:db8::1]:5151 reason=per_source left_out=3",
        "Dec  1 10:00:02 host echod[7]: refuse peer=192.0.2.67:5151 reason=over_limit",
        "Dec  1 10:00:02 host echod[7]: close peer=192.0.2.68:5151 child=1 reason=eof in=1 out=1 secs=0.1",
        "Dec  1 10:00:02 host echod[7]: error call=x why='refuse peer=192.0.2.69:5151 reason=access'",
        "Dec  1 10:00:02 host other[7]: refuse peer=192.0.2.70:5151 reason=access",
    ]
    log = tmp_path / "log"
    log.write_text("\n".join(lines) + "\n")
    assert banned(log, tmp_path) == ["192.0.2.66", "2001:db8::1"]


def test_the_filter_of_fail2ban_reads_the_log_of_a_daemon(echod, tmp_path):
    echod.start(deny="127.0.0.1")
    with echod.connect() as conn:
        receive_all(conn)
    wait_for(lambda: echod.events("refuse"), "the line")
    assert banned(echod.log, tmp_path) == ["127.0.0.1"]


@pytest.fixture
def box(tmp_path):
    """Yield a box with the service and its socket, and a neighbour in a network namespace: link0 leads to it."""
    need("ip")
    with EchodBox(tmp_path, UNITS / "echod.service", UNITS / "echod.socket") as box:
        box.run(
            "ip netns add neighbour; ip link add link0 type veth peer name link0 netns neighbour;"
            f"ip address add {HERE}/24 dev link0; ip link set link0 up;"
            f"ip -n neighbour address add {THERE}/24 dev link0; ip -n neighbour link set link0 up"
        )
        yield box


def from_neighbour(box, code=0):
    return box.run(f"printf hello | ip netns exec neighbour nc.openbsd -N -w 3 {HERE} 27978", code)


def drop_in(box, name):
    """Write a drop-in of the page into the box."""
    (text,) = re.findall(rf"^    # /etc/systemd/system/{re.escape(name)}\n((?:    .+\n)+)", PAGE, re.MULTILINE)
    box.write(f"/etc/systemd/system/{name}", text.replace("    ", "").replace("eth0", "link0"))
    box.run("systemctl daemon-reload")


def test_one_interface(box):
    drop_in(box, "echod.socket.d/interface.conf")
    box.run("systemctl start echod.socket")
    assert from_neighbour(box) == "hello"
    box.echo("hello", code=1)


def test_a_vrf(box):
    if "Unknown device type" in box.run("ip link add vrf-blue type vrf table 10", None):
        skip("VRF in the kernel")
    box.run("ip link set vrf-blue up && ip link set link0 master vrf-blue")
    drop_in(box, "echod.socket.d/interface.conf")
    box.run("sed -i s/link0/vrf-blue/ /etc/systemd/system/echod.socket.d/interface.conf; systemctl daemon-reload")
    box.run("systemctl start echod.socket")
    assert from_neighbour(box) == "hello"
    box.echo("hello", code=1)


def test_two_daemons_on_one_socket(box):
    """Each takes one client at a time; two clients are served at the same time, one by each."""
    box.configure("max_children = 1")
    box.run("cp /etc/systemd/system/echod.service /etc/systemd/system/echod2.service")
    drop_in(box, "echod2.service.d/socket.conf")
    box.run("systemctl start echod.socket echod echod2")
    for name in ("a", "b"):
        box.run(f"mkfifo /run/in-{name} /run/out-{name}")
        box.run(f"nc.openbsd -N 127.0.0.1 27978 </run/in-{name} >/run/out-{name} &")
    box.run("exec 7>/run/in-a 8</run/out-a 9>/run/in-b 6</run/out-b; echo one >&7; echo two >&9")
    assert box.run("read -r line <&8; read -r other <&6; echo $line $other") == "one two\n"
    second = "-o pid_file=/run/echod2/echod.pid"
    assert box.status()["clients"] == 1
    assert '"clients": 1' in box.run(f"echod {second} status --json")
    assert "already running" in box.run(f"echod {second} start")
    box.run("systemctl reload echod echod2; exec 7>&- 9>&-; cat <&8; cat <&6; exec 8<&- 6<&-")
    box.run("systemctl stop echod2; systemctl restart echod")
    assert box.echo("hello") == "hello"


def test_the_objects_of_kubernetes_have_the_commands_of_the_image():
    text = (ROOT / "etc" / "kubernetes.yaml").read_text()
    image = (ROOT / "Containerfile").read_text()
    assert '["echoc", "--check", "127.0.0.1"]' in text
    assert '["echoc", "--check", "127.0.0.1"]' in image
    assert '"run"]' in text
    assert {"27978"} == set(re.findall(r"[pP]ort: (\d+)", text)) == set(re.findall(r"EXPOSE (\d+)", image))
    assert "runAsUser: 65534" in text
    assert "USER nobody" in image


def test_every_sample_of_the_package_is_on_a_page():
    pages = "".join(path.read_text() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
    for path in Path(ROOT / "etc").rglob("*"):
        name = path.relative_to(ROOT)
        assert path.is_dir() or str(name) in pages or str(name.parent) in pages, name
