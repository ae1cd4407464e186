// Asks for so many bytes again and again on one connection, and throws them away. bulkload PORT SIZE SECONDS
#include "client.h"

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int fd = connected(atoi(argv[1]));
    int64_t size = atoll(argv[2]), start = now(), end = start + (int64_t)(atof(argv[3]) * NS), begun;
    static char buffer[1 << 20];
    while ((begun = now()) < end) {
        if (send(fd, REQUEST, REQUEST_SIZE, MSG_NOSIGNAL) != (ssize_t)REQUEST_SIZE) fail("cannot send");
        for (int64_t missing = size; missing > 0;) {
            // MSG_TRUNC: the kernel drops them without a copy, so that the server is what limits.
            ssize_t got = recv(fd, buffer, missing < (int64_t)sizeof buffer ? (size_t)missing : sizeof buffer, MSG_TRUNC);
            if (got <= 0) fail("the connection ended");
            missing -= got;
        }
        record(now() - begun);
    }
    report(now() - start);
}
