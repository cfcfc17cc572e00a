/* The load generator's engine: connections that send a known pattern and check what comes back. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#define UNBOUNDED UINT64_MAX /* an exchange that lasts until the deadline */

struct client {
    int fd;             /* -1: not connected */
    uint32_t watched;   /* the events epoll knows of; 0: not registered */
    uint64_t phase;     /* where in the pattern this connection's first byte lies */
    uint64_t sent, got; /* bytes of this connection */
    uint64_t goal;      /* the exchange is over when so many have come back */
    double began;       /* seconds: when the exchange began, its connect included */
};

struct load {
    uint64_t window;   /* bytes that a client may have sent and not yet had back */
    double deadline;   /* seconds; no UNBOUNDED exchange sends after it */
    uint64_t verified; /* bytes that came back, right, before it */
    unsigned busy;     /* exchanges under way */
    void (*done)(struct client *); /* an exchange is over; may start the next */
    void (*fail)(struct client *, const char *why); /* a connection is lost; NULL: that ends the program */
};
extern struct load load;

void engine_open(const char *host, const char *port); /* where to connect to; IPv4, numeric */
bool engine_run(void); /* until no exchange is under way; false: some are, and nothing came for 10 s */

void client_start(struct client *, uint64_t bytes); /* connects where needed, sends, expects the bytes back */
bool client_connect(struct client *); /* begins to, and sends nothing; false: errno says why */
void client_close(struct client *);
void client_abandon(struct client *, const char *why); /* the connection is lost: closes it and tells load.fail */
void client_finish(struct client *); /* half-closes; the server must close too and send nothing more */

#endif
