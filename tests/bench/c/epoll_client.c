/* The limit of one core: hand-packed questions, non-blocking sockets, one epoll.
 *   epoll_client PORT CONNECTIONS EXCHANGES   prints {"cpu_s":..,"wall_s":..} */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}
static double wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int links = atoi(argv[2]), one = 1, ep = epoll_create1(0);
    long total = atol(argv[3]), sent = 0, done = 0;
    uint64_t sum = 0;
    uint8_t ask[12] = {0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 40};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    int *fds = calloc(links, sizeof *fds);
    for (int i = 0; i < links; i++) {
        int fd = fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&at, sizeof at)) { perror("connect"); return 1; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    }
    double c0 = cpu(), w0 = wall();
    for (int i = 0; i < links && sent < total; i++)
        if (write(fds[i], ask, 12) == 12) sent++;
    struct epoll_event got[512];
    while (done < total) {
        int n = epoll_wait(ep, got, 512, 5000);
        if (n <= 0) { fprintf(stderr, "stalled at %ld of %ld\n", done, total); return 1; }
        for (int i = 0; i < n; i++) {
            uint8_t in[512];
            ssize_t size = read(got[i].data.fd, in, sizeof in);
            if (size != 89) { fprintf(stderr, "answer of %zd bytes\n", size); return 1; }
            for (int r = 9; r < 89; r += 2) sum += in[r] << 8 | in[r + 1];
            done++;
            if (sent < total && write(got[i].data.fd, ask, 12) == 12) sent++;
        }
    }
    printf("{\"cpu_s\":%.6f,\"wall_s\":%.6f,\"sum\":%llu}\n", cpu() - c0, wall() - w0, (unsigned long long)sum);
    return 0;
}
