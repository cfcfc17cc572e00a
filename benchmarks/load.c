/* load: a load generator for echo servers, which checks every byte.
 *
 *     load connect|pingpong|bulk|hold [-c CLIENTS] [-s BYTES] [-t SECONDS] [-w WINDOW] HOST PORT
 *
 * connect   each client in a loop: connect, send BYTES (64), have them back, close
 * pingpong  each client connects once; in a loop: send BYTES (64), have them back
 * bulk      each client sends and receives at the same time, for SECONDS or, with -s, BYTES in all; it is never more
 *           than WINDOW (262144) bytes ahead of what it has had back
 * hold      connections are kept open: see hold.c
 *
 * Prints one line of JSON; times in it are microseconds, sizes bytes, "cores" is the processor time that the generator
 * itself took, per second. A wrong byte, a lost connection or 10 s of silence: one line on stderr, exit code 1.
 */
#include "load.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static struct {
    unsigned clients;
    uint64_t bytes;
    double seconds;
} options = {.clients = 1, .bytes = 0, .seconds = 1};

static struct {
    float *taken; /* seconds, one of each exchange that ended in time */
    size_t count, room;
} latencies;

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

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

/* False: it ended too late to count. */
static bool record(const struct client *c)
{
    double time = now();
    if (time >= load.deadline)
        return false;
    if (latencies.count == latencies.room) {
        latencies.room = latencies.room ? 2 * latencies.room : 1 << 16;
        latencies.taken = realloc(latencies.taken, latencies.room * sizeof *latencies.taken);
        if (!latencies.taken)
            die("out of memory");
    }
    latencies.taken[latencies.count++] = time - c->began;
    return true;
}

static void connect_again(struct client *c)
{
    client_close(c);
    if (record(c))
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
    double lasted = options.seconds > 0 ? options.seconds : now() - began;
    for (unsigned i = 0; i < options.clients; i++)
        if (clients[i].fd >= 0)
            client_finish(&clients[i]);
    free(clients);
    return lasted;
}

static void exchanges(const char *mode, void (*done)(struct client *))
{
    if (!options.bytes)
        options.bytes = 64;
    double lasted = run(done);
    if (!latencies.count)
        die("no exchange ended within %g s", options.seconds);
    qsort(latencies.taken, latencies.count, sizeof *latencies.taken, ascending);
    printf("{\"mode\": \"%s\", \"clients\": %u, \"bytes\": %llu, \"count\": %zu, \"rate\": %.2f, "
           "\"p50\": %.1f, \"p99\": %.1f, \"cores\": %.3f}\n",
           mode, options.clients, (unsigned long long)options.bytes, latencies.count, latencies.count / lasted,
           percentile_us(0.50), percentile_us(0.99), cores_used() / lasted);
}

static void bulk(void)
{
    options.seconds = options.bytes ? 0 : options.seconds;
    options.bytes = options.bytes ? options.bytes : UNBOUNDED;
    double lasted = run(rest);
    printf("{\"mode\": \"bulk\", \"clients\": %u, \"bytes\": %llu, \"rate\": %.2f, \"cores\": %.3f}\n", options.clients,
           (unsigned long long)load.verified, load.verified / lasted, cores_used() / lasted);
}

_Noreturn static void usage(void)
{
    fputs("usage: load connect|pingpong|bulk|hold [-c CLIENTS] [-s BYTES] [-t SECONDS] [-w WINDOW] HOST PORT\n", stderr);
    exit(2);
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        die("%s: not a number from %g to %g", text, least, most);
    return value;
}

static void read_options(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "+c:s:t:w:")) != -1;) {
        if (option == 'c')
            options.clients = number(optarg, 1, 10000);
        else if (option == 's')
            options.bytes = number(optarg, 1, 1e15);
        else if (option == 't')
            options.seconds = number(optarg, 0.001, 3600);
        else if (option == 'w')
            load.window = number(optarg, 1, 1e15);
        else
            usage();
    }
    if (argc - optind != 2)
        usage();
    engine_open(argv[optind], argv[optind + 1]);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        usage();
    const char *mode = argv[1];
    read_options(argc - 1, argv + 1);
    if (!strcmp(mode, "connect"))
        exchanges(mode, connect_again);
    else if (!strcmp(mode, "pingpong"))
        exchanges(mode, send_again);
    else if (!strcmp(mode, "bulk"))
        bulk();
    else if (!strcmp(mode, "hold"))
        hold(options.seconds);
    else
        usage();
    return 0;
}
