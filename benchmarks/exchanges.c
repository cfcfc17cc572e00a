/* load connect, pingpong, bulk: clients that exchange bytes with the server until the time is over. */
#include "engine.h"
#include "modes.h"
#include "util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static struct options options;

static struct {
    float *taken; /* seconds, one of each exchange that ended in time */
    size_t count, capacity;
} latencies;

static size_t exchanged;

static double cores_used(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile_us(double share)
{
    return latencies.count ? latencies.taken[(size_t)(share * (latencies.count - 1))] * 1e6 : NAN;
}

static void add(double latency)
{
    if (latencies.count == latencies.capacity) {
        latencies.capacity = latencies.capacity ? 2 * latencies.capacity : 1 << 16;
        latencies.taken = realloc(latencies.taken, latencies.capacity * sizeof *latencies.taken);
        if (!latencies.taken)
            die("out of memory");
    }
    latencies.taken[latencies.count++] = latency;
}

/* False: the time is over. What ends later does not count, but for the first: a slow server gets the time it needs.
 * With an interval the last one counts as well: it may be the one that had to wait for long. And while it waits, others
 * ought to have begun. Each of them would have waited for one interval less, so their latencies are added. */
static bool record(const struct client *c)
{
    double time = now();
    if (time >= load.deadline && latencies.count && options.interval <= 0)
        return false;
    if (time >= load.deadline)
        load.deadline = time;
    double latency = time - c->began;
    exchanged++;
    add(latency);
    for (double left = latency - options.interval; options.interval > 0 && left > 0; left -= options.interval)
        add(left);
    return time < load.deadline;
}

/* Nothing else is to be done meanwhile: there is one client. */
static void sleep_until(double moment)
{
    double left = moment - now();
    struct timespec t = {.tv_sec = left, .tv_nsec = (left - (time_t)left) * 1e9};
    if (left > 0)
        nanosleep(&t, NULL);
}

static void connect_again(struct client *c)
{
    client_close(c);
    if (!record(c))
        return;
    if (options.interval > 0)
        sleep_until(c->began + options.interval);
    client_start(c, options.bytes);
}

static void send_again(struct client *c)
{
    if (record(c))
        client_start(c, options.bytes);
}

static void rest(struct client *c) { (void)c; }

/* Runs the mode to its end and returns the seconds it lasted. */
static double run(void (*done)(struct client *))
{
    struct client *clients = calloc(options.clients, sizeof *clients);
    if (!clients)
        die("out of memory");
    double began = now();
    load.done = done;
    load.deadline = options.seconds > 0 ? began + options.seconds : INFINITY;
    for (unsigned i = 0; i < options.clients; i++) {
        clients[i].fd = -1;
        client_start(&clients[i], options.bytes);
    }
    if (!engine_run())
        die("no answer from the server for 10 s");
    double lasted = (options.seconds > 0 ? load.deadline : now()) - began;
    for (unsigned i = 0; i < options.clients; i++)
        if (clients[i].fd >= 0)
            client_finish(&clients[i]);
    free(clients);
    return lasted;
}

static void exchanges(const char *mode, const struct options *given, void (*done)(struct client *))
{
    options = *given;
    if (!options.bytes)
        options.bytes = 64;
    double lasted = run(done);
    qsort(latencies.taken, latencies.count, sizeof *latencies.taken, ascending);
    printf("{\"mode\": \"%s\", \"clients\": %u, \"bytes\": %llu, \"count\": %zu, \"rate\": %.2f, "
           "\"p50\": %.1f, \"p99\": %.1f, \"cores\": %.3f}\n",
           mode, options.clients, (unsigned long long)options.bytes, exchanged, exchanged / lasted,
           percentile_us(0.50), percentile_us(0.99), cores_used() / lasted);
}

void mode_connect(const struct options *given) { exchanges("connect", given, connect_again); }

void mode_pingpong(const struct options *given) { exchanges("pingpong", given, send_again); }

void mode_bulk(const struct options *given)
{
    options = *given;
    options.seconds = options.bytes ? 0 : options.seconds;
    options.bytes = options.bytes ? options.bytes : UNBOUNDED;
    double lasted = run(rest);
    printf("{\"mode\": \"bulk\", \"clients\": %u, \"bytes\": %llu, \"rate\": %.2f, \"cores\": %.3f}\n", options.clients,
           (unsigned long long)load.verified, load.verified / lasted, cores_used() / lasted);
}
