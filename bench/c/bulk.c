// The floor of bulk: send from one buffer until the kernel takes no more, wait, go on. bulk PORT SIZE
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    size_t size = atoll(argv[2]);
    char *buffer = malloc(size), input[65536];
    for (size_t i = 0; i < size; i++) buffer[i] = 'x';
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 64)) return 1;
    for (int fd; (fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0; close(fd)) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        while (poll(&wait, 1, -1) > 0 && recv(fd, input, sizeof input, 0) > 0) {
            for (size_t sent = 0; sent < size;) {
                ssize_t n = send(fd, buffer + sent, size - sent, MSG_NOSIGNAL);
                struct pollfd room = {.fd = fd, .events = POLLOUT};
                if (n > 0) {
                    sent += n;
                } else if (poll(&room, 1, -1) < 0 || room.revents & (POLLERR | POLLHUP)) {
                    break;
                }
            }
        }
    }
}
