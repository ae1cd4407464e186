// The floor: what a canned answer costs with nothing but epoll, recv and send. floor PORT
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!";

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // accepted sockets inherit it
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 1024)) return 1;

    static char buffer[65536];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    int poll = epoll_create1(0);
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    event.data.fd = fd;
                    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                }
            } else if (recv(fd, buffer, sizeof buffer, 0) <= 0) {
                close(fd);
            } else {
                send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
            }
        }
    }
}
