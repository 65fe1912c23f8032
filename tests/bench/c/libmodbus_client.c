/* libmodbus (Debian's libmodbus-dev): blocking contexts, asked in turn.
 *   libmodbus_client PORT CONNECTIONS EXCHANGES   prints {"cpu_s":..,"wall_s":..} */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

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
    int links = atoi(argv[2]);
    long total = atol(argv[3]);
    uint64_t sum = 0;
    modbus_t **link = calloc(links, sizeof *link);
    for (int i = 0; i < links; i++) {
        link[i] = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
        modbus_set_slave(link[i], 1);
        if (modbus_connect(link[i])) { fprintf(stderr, "%s\n", modbus_strerror(errno)); return 1; }
    }
    double c0 = cpu(), w0 = wall();
    for (long n = 0; n < total; n++) {
        uint16_t registers[40];
        if (modbus_read_registers(link[n % links], 0, 40, registers) != 40) return 1;
        for (int r = 0; r < 40; r++) sum += registers[r];
    }
    printf("{\"cpu_s\":%.6f,\"wall_s\":%.6f,\"sum\":%llu}\n", cpu() - c0, wall() - w0, (unsigned long long)sum);
    return 0;
}
