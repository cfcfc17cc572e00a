"""textbook.py PORT PID_FILE LOG: an echo daemon, one child a client, by the book (UNP 5.9, TLPI 26.3, 37.2, 60.3)."""

import atexit, contextlib, fcntl, os, signal, socket, sys, time  # noqa: E401 - to fit a page

CAP = 100
children = set()


def become_daemon(log):
    os.fork() and os._exit(0)  # the shell goes on, and the child leads no process group
    os.setsid()
    os.fork() and os._exit(0)  # who leads no session gets no terminal again
    os.umask(0o022)
    os.chdir("/")
    for number, path in enumerate(("/dev/null", log, log)):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644), number)
    os.closerange(3, 1024)


def reap(signum, frame):
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:  # one SIGCHLD may stand for many
            children.discard(pid)


def serve_next(listener):
    while len(children) >= CAP:
        time.sleep(0.05)
    try:
        conn, peer = listener.accept()
    except OSError as error:  # the client has gone already: the next one
        return print("accept:", error, file=sys.stderr)
    print("client", *peer, file=sys.stderr)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # until the child is in the set
    if (pid := os.fork()) == 0:
        try:
            listener.close()
            while data := conn.recv(4096):
                conn.sendall(data)
        finally:
            os._exit(0)
    children.add(pid)
    conn.close()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


port, pid_file, log = int(sys.argv[1]), *map(os.path.abspath, sys.argv[2:])
become_daemon(log)
with open(pid_file, "a") as lock, socket.create_server(("127.0.0.1", port)) as listener:
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is the lock that says whether it runs
    lock.truncate(0)
    print(os.getpid(), file=lock, flush=True)
    atexit.register(os.unlink, pid_file)
    signal.signal(signal.SIGCHLD, reap)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("listening on port", port)
    while True:
        serve_next(listener)
