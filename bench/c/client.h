// What the clients share: the clock, the address, a list of times and what is printed of it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
#define REQUEST_SIZE (sizeof REQUEST - 1)

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS + t.tv_nsec;
}

__attribute__((noreturn)) static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

__attribute__((unused)) static int connected(uint16_t port) {  // blocking, and Nagle's algorithm off
    struct sockaddr_in address = loopback(port);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (void *)&address, sizeof address)) fail("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static int64_t *times;  // nanoseconds, one a request
static size_t count, room;

__attribute__((unused)) static void record(int64_t ns) {
    if (count == room) {
        room = room ? 2 * room : 1 << 16;
        times = realloc(times, room * sizeof *times);
        if (!times) fail("no memory");
    }
    times[count++] = ns;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

__attribute__((unused)) static void report(int64_t elapsed) {
    if (!count) {
        errno = ETIMEDOUT;
        fail("no answers");
    }
    qsort(times, count, sizeof *times, ascending);
    printf("requests %zu\nseconds %.6f\n", count, (double)elapsed / NS);
    printf("p50 %.1f\np99 %.1f\np999 %.1f\nmost %.1f\n", times[count / 2] / 1e3, times[count * 99 / 100] / 1e3,
           times[count * 999 / 1000] / 1e3, times[count - 1] / 1e3);
}
