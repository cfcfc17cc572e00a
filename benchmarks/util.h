/* What every part of the load generator uses. */
#ifndef UTIL_H
#define UTIL_H

double now(void); /* seconds, monotonic */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
