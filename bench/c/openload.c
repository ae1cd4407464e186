// Requests at a fixed rate, whatever the answers do: an open loop. openload PORT CONNECTIONS SECONDS RATE
//
// Request i is due at start + i / rate, and its latency counts from there, not from when it was sent: a server that
// stalls is charged with every request that came due meanwhile ("coordinated omission" is what forgets them). A
// request waits here while all connections are busy, and that counts, too.
#include "client.h"

#include <sys/prctl.h>

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int connections = atoi(argv[2]);
    double seconds = atof(argv[3]), gap = NS / atof(argv[4]);
    int *idle = calloc(connections, sizeof *idle), head = 0, idles = connections;  // a ring: all take their turns
    int64_t *due = calloc(connections, sizeof *due);
    int *fds = calloc(connections, sizeof *fds), poll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        fds[i] = connected(atoi(argv[1]));
        idle[i] = i;
        epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &event);
    }
    prctl(PR_SET_TIMERSLACK, 1);  // nanoseconds; 50,000 by default
    static char buffer[65536];
    struct epoll_event events[256];
    int64_t start = now(), all = seconds * NS / gap, sent = 0, end = start + seconds * NS + 5 * NS;
    while ((int64_t)count < all) {
        int64_t t = now();
        if (t > end) {
            errno = ETIMEDOUT;
            fail("the server does not keep up with this rate");
        }
        for (; sent < all && idles && start + (int64_t)(sent * gap) <= t; sent++) {
            int i = idle[head];
            head = (head + 1) % connections;
            idles--;
            due[i] = start + (int64_t)(sent * gap);
            if (send(fds[i], REQUEST, REQUEST_SIZE, MSG_NOSIGNAL) != (ssize_t)REQUEST_SIZE) fail("cannot send");
        }
        int64_t wait = sent < all && idles ? start + (int64_t)(sent * gap) - now() : NS / 100;
        struct timespec timeout = {.tv_nsec = wait > 0 ? wait % NS : 0, .tv_sec = wait > 0 ? wait / NS : 0};
        int ready = epoll_pwait2(poll, events, 256, &timeout, NULL);
        for (int k = 0; k < ready; k++) {
            int i = events[k].data.u32;
            if (recv(fds[i], buffer, sizeof buffer, 0) <= 0) fail("a connection ended");
            record(now() - due[i]);
            idle[(head + idles++) % connections] = i;
        }
    }
    report(now() - start);
}
