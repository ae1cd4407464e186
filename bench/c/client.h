// What the clients share: the clock, the address, a list of times and what is printed of it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

__attribute__((unused)) static int connecting(uint16_t port) {  // writable when it is connected
    // From eight addresses of the loopback, with 28,000 ports each: there are enough for all that rest in TIME_WAIT.
    static unsigned turn;
    struct sockaddr_in address = loopback(port), source = loopback(0);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) fail("no socket");
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % 8);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (void *)&source, sizeof source)) fail("cannot bind");
    if (connect(fd, (void *)&address, sizeof address) && errno != EINPROGRESS) fail("cannot connect");
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

__attribute__((unused)) static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

__attribute__((unused)) static void report(int64_t elapsed) {
    if (!count) {
        errno = ETIMEDOUT;
        fail("no answers");
    }
    // Percentiles of each tenth of the run, and of those the median: when somebody else has the core for 20 ms, one
    // tenth of the run is spoiled and not all of it. `most` is the longest of all.
    size_t tenths = count < 1000 ? 1 : 10, size = count / tenths;
    int64_t p50[10], p99[10], p999[10], most = 0;
    for (size_t i = 0; i < tenths; i++) {
        int64_t *tenth = times + i * size;
        qsort(tenth, size, sizeof *tenth, ascending);
        p50[i] = tenth[size / 2];
        p99[i] = tenth[size * 99 / 100];
        p999[i] = tenth[size * 999 / 1000];
        most = most < tenth[size - 1] ? tenth[size - 1] : most;
    }
    qsort(p50, tenths, sizeof *p50, ascending);
    qsort(p99, tenths, sizeof *p99, ascending);
    qsort(p999, tenths, sizeof *p999, ascending);
    printf("requests %zu\nseconds %.6f\n", count, (double)elapsed / NS);
    printf("p50 %.1f\np99 %.1f\np999 %.1f\nmost %.1f\n", p50[tenths / 2] / 1e3, p99[tenths / 2] / 1e3,
           p999[tenths / 2] / 1e3, most / 1e3);
}
