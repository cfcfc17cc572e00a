/* load: a load generator for echo servers, which checks every byte.
 *
 *     load connect|pingpong|bulk|slam|hold [-c CLIENTS] [-s BYTES] [-t SECONDS] [-w WINDOW] [-i SECONDS] HOST PORT
 *
 * connect   each client in a loop: connect, send BYTES (64), have them back, close; with -i the next connection of the
 *           one client begins so many seconds after the last one began
 * pingpong  each client connects once; in a loop: send BYTES (64), have them back
 * bulk      each client sends and receives at the same time, for SECONDS or, with -s, BYTES in all; it is never more
 *           than WINDOW (262144) bytes ahead of what it has had back
 * slam      one client in a loop, as fast as it can: connect, close
 * hold      connections are kept open: see hold.c
 *
 * Prints one line of JSON; times in it are microseconds, sizes bytes, "cores" is the processor time that the generator
 * itself took, per second. A wrong byte, a lost connection or 10 s of silence: one line on stderr, exit code 1.
 */
#include "engine.h"
#include "modes.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct mode {
    const char *name;
    void (*run)(const struct options *);
} modes[] = {
    {"connect", mode_connect},
    {"pingpong", mode_pingpong},
    {"bulk", mode_bulk},
    {"slam", mode_slam},
    {"hold", mode_hold},
};

_Noreturn static void usage(void)
{
    fputs("usage: load connect|pingpong|bulk|slam|hold [-c CLIENTS] [-s BYTES] [-t SECONDS] [-w WINDOW] [-i SECONDS] "
          "HOST PORT\n",
          stderr);
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

static const struct mode *find_mode(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(name, modes[i].name))
            return &modes[i];
    usage();
}

static struct options read_options(int argc, char **argv)
{
    struct options options = {.clients = 1, .bytes = 0, .seconds = 1};
    for (int option; (option = getopt(argc, argv, "+c:s:t:w:i:")) != -1;) {
        if (option == 'c')
            options.clients = number(optarg, 1, 10000);
        else if (option == 's')
            options.bytes = number(optarg, 1, 1e15);
        else if (option == 't')
            options.seconds = number(optarg, 0.001, 3600);
        else if (option == 'i')
            options.interval = number(optarg, 0.001, 3600);
        else if (option == 'w')
            load.window = number(optarg, 1, 1e15);
        else
            usage();
    }
    if (argc - optind != 2)
        usage();
    if (options.interval > 0 && options.clients > 1)
        die("-i: for one client");
    engine_open(argv[optind], argv[optind + 1]);
    return options;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        usage();
    const struct mode *mode = find_mode(argv[1]);
    struct options options = read_options(argc - 1, argv + 1);
    mode->run(&options);
    return 0;
}
