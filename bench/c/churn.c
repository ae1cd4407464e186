// A connection for each request: connect, ask, take the answer, close. churn PORT CONCURRENCY SECONDS
//
// The client closes first, so that it is its ports that rest in TIME_WAIT.
#include "client.h"

static int poll_fd;
static int64_t *begun;  // by file descriptor

static void begin(uint16_t port) {
    int fd = connecting(port);
    if (fd >= 65536) fail("no socket");
    begun[fd] = now();
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    uint16_t port = atoi(argv[1]);
    poll_fd = epoll_create1(0);
    begun = calloc(65536, sizeof *begun);
    int running = atoi(argv[2]);
    int64_t start = now(), end = start + (int64_t)(atof(argv[3]) * NS);
    for (int i = 0; i < running; i++) begin(port);
    static char buffer[65536];
    struct epoll_event events[256];
    while (running) {
        int ready = epoll_wait(poll_fd, events, 256, 5000);
        if (ready <= 0) {
            errno = ETIMEDOUT;
            fail("no answer for 5 seconds");
        }
        for (int k = 0; k < ready; k++) {
            int fd = events[k].data.fd;
            if (events[k].events & EPOLLOUT) {
                struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
                if (send(fd, REQUEST, REQUEST_SIZE, MSG_NOSIGNAL) != (ssize_t)REQUEST_SIZE) fail("cannot send");
                epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &event);
                continue;
            }
            if (recv(fd, buffer, sizeof buffer, 0) <= 0) fail("a connection ended without an answer");
            record(now() - begun[fd]);
            close(fd);
            if (now() < end) {
                begin(port);
            } else {
                running--;
            }
        }
    }
    report(now() - start);
}
