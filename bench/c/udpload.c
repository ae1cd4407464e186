// Echoes of datagrams, so many on the way at any time that no queue overflows. udpload PORT WINDOW SECONDS
#include "client.h"

#define SIZE 64

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct sockaddr_in address = loopback(atoi(argv[1]));
    int window = atoi(argv[2]), fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct timeval patience = {.tv_usec = 200000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (void *)&address, sizeof address)) fail("cannot connect");
    int64_t data[SIZE / sizeof(int64_t)] = {0}, start = now(), end = start + (int64_t)(atof(argv[3]) * NS), lost = 0;
    int on_the_way = 0;
    for (;;) {
        for (; on_the_way < window && now() < end; on_the_way++) {
            data[0] = now();  // what comes back tells when it went
            if (send(fd, data, sizeof data, 0) != sizeof data) fail("cannot send");
        }
        if (!on_the_way) break;
        if (recv(fd, data, sizeof data, 0) == sizeof data) {
            record(now() - data[0]);
            on_the_way--;
        } else if (errno == EAGAIN) {
            lost += on_the_way;
            on_the_way = 0;
        } else {
            fail("cannot receive");
        }
    }
    report(now() - start);
    printf("lost %lld\n", (long long)lost);
}
