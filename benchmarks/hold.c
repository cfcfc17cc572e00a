/* load hold: many connections kept open at once.
 *
 * Each line of stdin is a number: so many connections in all shall be open. The missing ones are made, each echoes 64
 * bytes as it comes; then every connection that is open echoes 64 bytes more, and one line of JSON tells how many did.
 * The same number again is therefore another round over all. The first connection that is not served, or the end of
 * the time for one line (-t), stops the ramp: "stopped" gives the reason. All are closed when stdin is.
 */
#include "engine.h"
#include "modes.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    MOST = 60000,
    WINDOW = 32, /* exchanges under way at once: connects never fill a backlog, even xinetd's of 64 */
};

static struct client clients[MOST];
static unsigned opened, next, end, echoed;
static char stopped[128];
static bool ramping;
static double ramp_deadline;

static void stop(const char *why)
{
    if (!*stopped)
        snprintf(stopped, sizeof stopped, "%s", why);
}

static void advance(void)
{
    while (load.busy < WINDOW && next < end) {
        if (ramping && now() > ramp_deadline)
            stop("out of time");
        if (ramping && *stopped)
            end = next;
        else if (ramping || clients[next].fd >= 0)
            client_start(&clients[next++], 64);
        else
            next++;
    }
}

static void done(struct client *c)
{
    (void)c;
    echoed++;
    advance();
}

static void fail(struct client *c, const char *why)
{
    (void)c;
    stop(why);
}

/* One exchange with each of clients[from..to). */
static void sweep(unsigned from, unsigned to)
{
    next = from, end = to, echoed = 0;
    do {
        advance();
        if (!engine_run())
            for (unsigned i = from; i < end; i++)
                if (clients[i].got < clients[i].goal)
                    client_abandon(&clients[i], "no answer for 10 s");
    } while (next < end);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit = {.rlim_cur = MOST + 64, .rlim_max = MOST + 64};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void reach(unsigned total, double seconds)
{
    double began = now();
    *stopped = 0;
    if (total > opened) {
        ramping = true, ramp_deadline = began + seconds;
        sweep(opened, total);
        opened = next;
    }
    double ramped = now();
    ramping = false;
    sweep(0, opened);
    printf("{\"mode\": \"hold\", \"wanted\": %u, \"held\": %u, \"ramp\": %.3f, \"stopped\": \"%s\"}\n", total, echoed,
           ramped - began, stopped);
    fflush(stdout);
}

void mode_hold(const struct options *options)
{
    char line[32], *rest;
    raise_descriptor_limit();
    load.done = done, load.fail = fail;
    for (unsigned i = 0; i < MOST; i++)
        clients[i].fd = -1;
    while (fgets(line, sizeof line, stdin)) {
        unsigned long total = strtoul(line, &rest, 10);
        if (rest == line || *rest != '\n' || total > MOST)
            die("not a number up to %d: %s", MOST, strtok(line, "\n"));
        reach(total, options->seconds);
    }
}
