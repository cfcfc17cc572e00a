/* load slam: a client that connects and closes as fast as it can, and sends nothing. */
#include "engine.h"
#include "modes.h"
#include "util.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { FULL_MS = 100 }; /* an accept queue that is full answers no SYN: try the next connection after so long */

void mode_slam(const struct options *options)
{
    double began = now();
    unsigned long count = 0;
    while (now() < began + options->seconds) {
        struct client c = {.fd = -1};
        if (!client_connect(&c))
            die("connect: %s", strerror(errno));
        struct pollfd connected = {.fd = c.fd, .events = POLLOUT};
        count += poll(&connected, 1, FULL_MS) == 1 && !(connected.revents & (POLLERR | POLLHUP));
        client_close(&c);
    }
    printf("{\"mode\": \"slam\", \"count\": %lu, \"rate\": %.2f}\n", count, count / (now() - began));
}
