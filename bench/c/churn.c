// A connection for each request: connect, ask, take the answer, close. churn PORT CONCURRENCY SECONDS
//
// The client closes first, so that its ports rest in TIME_WAIT, of which there are enough: it comes from eight
// addresses of the loopback, with 28,000 ports each.
#include "client.h"

static int poll_fd;
static int64_t *begun;  // by file descriptor

static void begin(uint16_t port) {
    static unsigned turn;
    struct sockaddr_in address = loopback(port), source = loopback(0);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || fd >= 65536) fail("no socket");
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % 8);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (void *)&source, sizeof source)) fail("cannot bind");
    begun[fd] = now();
    if (connect(fd, (void *)&address, sizeof address) && errno != EINPROGRESS) fail("cannot connect");
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
