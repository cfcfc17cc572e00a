/* textbook: the forking echo server as the textbooks have it; what every other server is measured against.
 *
 *     textbook PORT        127.0.0.1, one child a client, 4 KiB buffer, backlog 4096
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACKLOG = 4096, BUFFER = 4096 };

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "textbook: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* One SIGCHLD may be for many exited children, and must not disturb the errno of what it interrupts. */
static void reap(int signal)
{
    int saved = errno;
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved;
}

static int write_all(int fd, const char *data, size_t left)
{
    while (left > 0) {
        ssize_t n = write(fd, data, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        left -= n;
    }
    return 0;
}

/* The child's exit code. A client that is gone is no error. */
static int echo(int connection)
{
    char buffer[BUFFER];
    for (;;) {
        ssize_t n = read(connection, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0;
        if (write_all(connection, buffer, n) < 0)
            return 1;
    }
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        fail("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0)
        fail("setsockopt");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    if (listen(fd, BACKLOG) < 0)
        fail("listen");
    return fd;
}

_Noreturn static void serve(int listener)
{
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            fail("accept");
        }
        switch (fork()) {
        case -1: /* this client is lost, the server is not */
            fprintf(stderr, "textbook: fork: %s\n", strerror(errno));
            break;
        case 0:
            close(listener);
            _exit(echo(connection));
        }
        close(connection);
    }
}

int main(int argc, char **argv)
{
    struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigemptyset(&on_child.sa_mask);
    if (argc != 2) {
        fputs("usage: textbook PORT\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (sigaction(SIGCHLD, &on_child, NULL) < 0)
        fail("sigaction");
    serve(listen_on(atoi(argv[1])));
}
