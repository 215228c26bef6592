// report.cpp: writes what was found.
#include "report.h"

#include "hooks.h"
#include "machine.h"
#include "runtime.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace sim {

static uint64_t reports;
static std::string latest;
static bool quiet;
static uint64_t kernels_before;
static std::map<std::string, int64_t> shared_most; // bytes, by kernel

void report(cudaError_t sticky, const char *format, ...) {
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    reports++;
    latest = text;
    if (!quiet) fprintf(stderr, "simulated device: %s\n", text);
    if (sticky != cudaSuccess) set_sticky(sticky);
}

void forget_reports() {
    reports = 0;
    latest.clear();
    kernels_before = machine.launch;
    shared_most.clear();
}

void note_launch(const char *name, size_t shared) {
    int64_t &most = shared_most[name];
    most = std::max(most, int64_t(shared));
}

std::string source_of(uintptr_t pc) {
    Dl_info info = {};
    if (!dladdr(reinterpret_cast<void *>(pc - 1), &info) || !info.dli_fname) return "?";
    const uintptr_t offset = pc - 1 - reinterpret_cast<uintptr_t>(info.dli_fbase);
    char place[512];
    snprintf(place, sizeof place, "%s+0x%lx%s%s", info.dli_fname, static_cast<unsigned long>(offset), info.dli_sname ? ", " : "",
             info.dli_sname ? info.dli_sname : "");
    if (quiet) return place; // nobody reads it
    char command[768];
    if (strchr(info.dli_fname, '\'')) return place;
    snprintf(command, sizeof command, "addr2line -Cfipse '%s' 0x%lx 2>/dev/null", info.dli_fname, static_cast<unsigned long>(offset));
    FILE *f = popen(command, "r");
    if (!f) return place;
    std::string text;
    char line[512];
    while (text.size() < 1500 && fgets(line, sizeof line, f)) text += (text.empty() ? "" : "            ") + std::string(line);
    pclose(f);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text.empty() || text.compare(0, 2, "??") == 0 ? place : text;
}

} // namespace sim

uint64_t sim_reports(void) {
    std::lock_guard<std::recursive_mutex> lock(sim::runtime_lock());
    return sim::reports;
}

const char *sim_last_report(void) {
    std::lock_guard<std::recursive_mutex> lock(sim::runtime_lock());
    return sim::latest.c_str();
}

uint64_t sim_kernels(void) {
    std::lock_guard<std::recursive_mutex> lock(sim::runtime_lock());
    return sim::machine.launch - sim::kernels_before;
}

int64_t sim_shared(const char *name) {
    std::lock_guard<std::recursive_mutex> lock(sim::runtime_lock());
    int64_t most = -1;
    for (const auto &[kernel, bytes] : sim::shared_most)
        if (kernel.find(name) != std::string::npos) most = std::max(most, bytes);
    return most;
}

void sim_quiet(int on) {
    std::lock_guard<std::recursive_mutex> lock(sim::runtime_lock());
    sim::quiet = on != 0;
}
