/* Non-blocking connections on one epoll, in one thread: the generator must leave the cores to the server.
 *
 * TIME_WAIT: every connection is closed in order and by the client first, as real clients do (a reset would be
 * less work for the server), so the client's port waits for a minute. Ports do not run out: each is chosen at connect(2), where only
 * the whole four-tuple must be free (IP_BIND_ADDRESS_NO_PORT), and after PER_SOURCE connections the next address of
 * 127.0.0.0/8 is taken, while half of the last one's 28,000 ports are still free and quickly found. The first is
 * 127.0.0.1, the one that a server which looks up its clients' names finds in /etc/hosts.
 */
#define _GNU_SOURCE
#include "engine.h"
#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PRIME = 8191,      /* the pattern's period: no multiple of it is a plausible buffer size, so shifts and swaps show */
    CHUNK = 256 << 10, /* a call's worth: large enough to make calls rare, small enough for the second-level cache */
    STALL_MS = 10000,  /* no event for so long: the server hangs */
    PER_SOURCE = 12000,
};

struct load load = {.window = 256 << 10};
static unsigned char pattern[PRIME + CHUNK], incoming[CHUNK];
static struct sockaddr_in server;
static int epoll_fd;

void engine_open(const char *host, const char *port)
{
    uint32_t x = 2463534242; /* xorshift: bytes without structure */
    for (int i = 0; i < PRIME; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        pattern[i] = x >> 24;
    }
    for (int i = PRIME; i < PRIME + CHUNK; i++)
        pattern[i] = pattern[i - PRIME];
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(number)};
    if (*end || number < 1 || number > 65535 || inet_pton(AF_INET, host, &server.sin_addr) != 1)
        die("%s %s: not an IPv4 address and a port", host, port);
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll: %s", strerror(errno));
}

void client_abandon(struct client *c, const char *why)
{
    if (!load.fail)
        die("%s:%d: %s", inet_ntoa(server.sin_addr), ntohs(server.sin_port), why);
    load.busy -= c->got < c->goal; /* an idle connection may be closed as well */
    client_close(c);
    load.fail(c, why);
}

static void bind_source(int fd, unsigned serial)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    if (ntohl(server.sin_addr.s_addr) >> 24 != 127)
        return;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + serial / PER_SOURCE % 250);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int)) < 0 ||
        bind(fd, (struct sockaddr *)&source, sizeof source) < 0)
        die("bind: %s", strerror(errno));
}

bool client_connect(struct client *c)
{
    static unsigned serial;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *c = (struct client){.fd = fd, .phase = serial * 64 % PRIME, .began = c->began};
    if (fd < 0)
        return false;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    bind_source(fd, serial++);
    return connect(fd, (struct sockaddr *)&server, sizeof server) == 0 || errno == EINPROGRESS;
}

static uint64_t sendable(const struct client *c)
{
    uint64_t left = c->goal - c->sent, window = load.window - (c->sent - c->got);
    return left < window ? left : window;
}

/* False: the connection failed, errno says why. A connect still under way is EAGAIN here, a failed one its error. */
static bool send_some(struct client *c)
{
    uint64_t most = sendable(c);
    if (most > 0) {
        ssize_t n = send(c->fd, pattern + (c->phase + c->sent) % PRIME, most < CHUNK ? most : CHUNK, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        c->sent += n < 0 ? 0 : n;
    }
    uint32_t wanted = sendable(c) > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;
    struct epoll_event event = {.events = wanted, .data.ptr = c};
    if (wanted != c->watched && epoll_ctl(epoll_fd, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll: %s", strerror(errno));
    c->watched = wanted;
    return true;
}

static void verify(const struct client *c, size_t n)
{
    const unsigned char *expected = pattern + (c->phase + c->got) % PRIME;
    size_t i = 0;
    if (c->got + n > c->sent)
        die("wrong bytes: more came back than were sent");
    if (memcmp(incoming, expected, n) == 0)
        return;
    while (incoming[i] == expected[i])
        i++;
    die("wrong byte: number %llu came back as 0x%02x, was sent as 0x%02x", (unsigned long long)(c->got + i),
        incoming[i], expected[i]);
}

static void receive_some(struct client *c)
{
    ssize_t n = recv(c->fd, incoming, CHUNK, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        client_abandon(c, n ? strerror(errno) : "closed by the server before all had come back");
        return;
    }
    verify(c, n);
    c->got += n;
    double time = now();
    if (time < load.deadline)
        load.verified += n;
    else if (c->goal == UNBOUNDED)
        c->goal = c->sent;
    if (c->got == c->goal) {
        load.busy--;
        load.done(c);
    } else if (!send_some(c)) { /* the window has space again */
        client_abandon(c, strerror(errno));
    }
}

void client_start(struct client *c, uint64_t bytes)
{
    c->began = now();
    bool connected = c->fd >= 0 || client_connect(c);
    load.busy++;
    c->goal = bytes == UNBOUNDED ? UNBOUNDED : c->sent + bytes;
    if (!connected || !send_some(c))
        client_abandon(c, strerror(errno));
}

bool engine_run(void)
{
    struct epoll_event events[64];
    while (load.busy > 0) {
        int n = epoll_wait(epoll_fd, events, 64, STALL_MS);
        if (n < 0 && errno != EINTR)
            die("epoll: %s", strerror(errno));
        if (n == 0)
            return false;
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && !send_some(c))
                client_abandon(c, strerror(errno));
            else if (events[i].events & ~EPOLLOUT)
                receive_some(c);
        }
    }
    return true;
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void client_finish(struct client *c)
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    shutdown(c->fd, SHUT_WR);
    if (poll(&(struct pollfd){.fd = c->fd, .events = POLLIN}, 1, STALL_MS) != 1)
        die("not closed by the server within %d s of the client's end", STALL_MS / 1000);
    if (recv(c->fd, incoming, CHUNK, 0) > 0)
        die("wrong bytes: more came back than were sent");
    client_close(c);
}
