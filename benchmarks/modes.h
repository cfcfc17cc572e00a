/* The modes of the load generator; main.c registers them. */
#ifndef MODES_H
#define MODES_H

#include <stdint.h>

struct options {
    unsigned clients;
    uint64_t bytes; /* 0: the mode's default */
    double seconds;
    double interval; /* seconds from the start of one connection to that of the next; 0: none */
};

/* exchanges.c */
void mode_connect(const struct options *);
void mode_pingpong(const struct options *);
void mode_bulk(const struct options *);
/* slam.c */
void mode_slam(const struct options *);
/* hold.c */
void mode_hold(const struct options *);

#endif
