// check.cpp: the simulator's test of itself, without the library: that kernels
// compute what the manuals say (check_warp.cpp), that every mistake which is looked
// for is found, and not found where there is none (check_faults.cpp), and that the
// runtime queues, fails and counts (check_runtime.cpp).
//
// It prints what did not hold, and exits with 1 if anything did not. An argument
// leaves only the tests with it in their names.
#include "check.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

int checks, resets;
static int mistakes;
static const char *current = "";

void say(const char *file, int line, const char *format, ...) {
    if (++mistakes > 100) return; // the first ones tell enough
    printf("%s:%d: %s: ", file, line, current);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

void right(const char *file, int line, cudaError_t e) {
    checks++;
    if (e != cudaSuccess || sim_reports() != 0)
        say(file, line, "nothing is wrong, but it ends in %s, with %llu reports: %s", cudaGetErrorName(e),
            static_cast<unsigned long long>(sim_reports()), sim_last_report());
}

void wrong(const char *file, int line, cudaError_t e, cudaError_t want, const char *word) {
    checks++;
    if (e != want || sim_reports() != 1 || !strstr(sim_last_report(), word))
        say(file, line, "got %s with %llu reports (%s), want %s and \"%s\"", cudaGetErrorName(e), static_cast<unsigned long long>(sim_reports()),
            sim_last_report(), cudaGetErrorName(want), word);
    if (want != cudaErrorInvalidValue && cudaDeviceSynchronize() != want) say(file, line, "%s does not stick", cudaGetErrorName(want));
    sim_reset();
    resets++;
}

int main(int argc, char **argv) {
    sim_quiet(1);
    int run = 0;
    for (const std::vector<Case> *cases : {&warp_cases, &fault_cases, &runtime_cases})
        for (const Case &c : *cases) {
            current = c.name;
            if (argc > 1 && !strstr(c.name, argv[1])) continue;
            sim_reset();
            c.run();
            const bool held = sim_live_objects() != 0 || sim_live_bytes() != 0;
            if (held) say(__FILE__, __LINE__, "%llu objects are held at the end", static_cast<unsigned long long>(sim_live_objects()));
            run++;
        }
    sim_reset();
    printf("%d tests, %d expectations, %d mistakes\n", run, checks, mistakes);
    return mistakes > 0 || run == 0;
}
