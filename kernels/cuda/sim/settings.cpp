// settings.cpp: which devices there are, failures on demand, and the functions of
// hooks.h that set them.
#include "hooks.h"
#include "machine.h"
#include "memory.h"
#include "runtime.h"
#include "stream.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace sim {

// From NVIDIA's data sheets and the programming guide's table of compute
// capabilities. Clocks are half the transfers per second of a pin.
static const Kind kKinds[] = {
    {"h100", "Simulated H100", 9, 0, 132, 227 << 10, 228 << 10, 2048, 50 << 20, 2619000, 5120, true},
    {"a100", "Simulated A100", 8, 0, 108, 163 << 10, 164 << 10, 2048, 40 << 20, 1593000, 5120, true},
    {"a10", "Simulated A10", 8, 6, 72, 99 << 10, 100 << 10, 1536, 6 << 20, 6251000, 384, true},
    {"l4", "Simulated L4", 8, 9, 58, 99 << 10, 100 << 10, 1536, 48 << 20, 6251000, 192, true},
    {"b200", "Simulated B200", 10, 0, 148, 227 << 10, 228 << 10, 2048, 126 << 20, 3996000, 8192, true},
    {"old", "Simulated T4", 7, 5, 40, 64 << 10, 64 << 10, 1024, 4 << 20, 5001000, 256, false},
    {"future", "Simulated GPU of the future", 99, 0, 200, 227 << 10, 228 << 10, 2048, 256 << 20, 4000000, 8192, false},
};

static Settings current;
static bool read_once;
static thread_local int device_now; // as cudaSetDevice left it

const Settings &settings() {
    if (!read_once) read_environment();
    return current;
}

size_t device_memory(int) { return settings().memory; }
size_t most_memory() { return settings().memory * size_t(settings().devices_n ? settings().devices_n : 1); }
int current_device() { return device_now; }
void set_device(int device) { device_now = device; }

static bool set_number(const char *value, uint64_t *out, bool units) {
    char *end = nullptr;
    if (*value < '0' || *value > '9') return false;
    uint64_t n = strtoull(value, &end, 10);
    int shift = 0;
    if (units && *end) {
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : -1;
        end++;
    }
    if (*end || shift < 0 || n > UINT64_MAX >> shift >> 8) return false;
    *out = n << shift;
    return true;
}

static bool set_devices(const char *value) {
    const Kind *devices[kMostDevices] = {};
    int n = 0;
    std::string list = strcmp(value, "none") == 0 ? "" : value;
    for (size_t at = 0; at < list.size(); n++) {
        size_t end = std::min(list.find(',', at), list.size());
        for (const Kind &k : kKinds)
            if (n < kMostDevices && list.compare(at, end - at, k.kind) == 0) devices[n] = &k;
        if (n == kMostDevices || !devices[n]) return false;
        at = end + 1;
    }
    std::copy(devices, devices + n, current.devices);
    current.devices_n = n;
    return true;
}

static bool set_driver(const char *value) {
    const bool none = strcmp(value, "missing") == 0, old = strcmp(value, "old") == 0;
    current.driver = none || old ? cudaErrorInsufficientDriver : cudaSuccess;
    current.driver_version = none ? 0 : old ? 11040 : CUDART_VERSION;
    return none || old || *value == 0 || strcmp(value, "fits") == 0;
}

bool change_setting(const char *name, const char *value) {
    settings();
    if (!name || !value) return false;
    uint64_t n = 0;
    if (strcmp(name, "seed") == 0) {
        if (!set_number(value, &n, false)) return false;
        current.seed = n;
        seed_machine(n);
        return true;
    }
    if (strcmp(name, "memory") == 0) {
        if (!set_number(value, &n, true) || n < 1 << 20) return false;
        current.memory = n;
        return true;
    }
    if (strcmp(name, "eager") == 0) {
        current.eager = strcmp(value, "1") == 0;
        return current.eager || strcmp(value, "0") == 0;
    }
    if (strcmp(name, "device") == 0) return set_devices(value);
    if (strcmp(name, "driver") == 0) return set_driver(value);
    if (strcmp(name, "fail") == 0) return plan_failures(value);
    return false;
}

void read_environment() {
    read_once = true;
    current = Settings();
    current.memory = 8ull << 30;
    current.seed = 1;
    set_devices("h100");
    set_driver("");
    seed_machine(current.seed);
    plan_failures("");
    static const char *const names[] = {"seed", "device", "driver", "memory", "eager", "fail"};
    for (const char *name : names) {
        std::string variable = "SBC_SIM_";
        for (const char *p = name; *p; p++) variable += char(*p - 'a' + 'A');
        const char *value = getenv(variable.c_str());
        if (value && *value && !change_setting(name, value))
            fprintf(stderr, "simulated device: %s=%s: not understood, see sim/hooks.h\n", variable.c_str(), value);
    }
}

// Failures on demand.

namespace {

struct Planned {
    std::string name;
    uint64_t nth;
    bool onwards;
    int code; // -1: the usual one
    uint64_t seen;
};
std::vector<Planned> planned;
uint64_t calls, failures;

bool read_planned(const std::string &text, Planned *p) {
    size_t colon = text.find(':');
    if (colon == std::string::npos || colon == 0) return false;
    *p = {text.substr(0, colon), 0, false, -1, 0};
    char *end = nullptr;
    const char *number = text.c_str() + colon + 1;
    if (*number < '0' || *number > '9') return false;
    p->nth = strtoull(number, &end, 10);
    if (*end == '+') p->onwards = true, end++;
    if (*end == '=') {
        if (end[1] < '0' || end[1] > '9') return false;
        p->code = int(strtoul(end + 1, &end, 10));
    }
    return *end == 0 && p->nth > 0;
}

// due counts for every plan that has one of the names.
bool due(const char *name, const char *kind, bool any, bool *sticks, int *code) {
    bool now = false;
    *sticks = false;
    for (Planned &p : planned) {
        bool sticky_plan = p.name == "sticky";
        if (p.name != name && !(kind && p.name == kind) && !(any && (sticky_plan || p.name == "any"))) continue;
        p.seen++;
        if (p.seen != p.nth && !(p.onwards && p.seen > p.nth)) continue;
        now = true;
        if (p.code >= 0) *code = p.code;
        *sticks |= sticky_plan;
    }
    failures += now;
    return now;
}

} // namespace

bool plan_failures(const char *plan) {
    planned.clear();
    calls = failures = 0;
    std::string list = plan ? plan : "";
    for (size_t at = 0; at < list.size();) {
        size_t end = std::min(list.find(',', at), list.size());
        Planned p;
        if (!read_planned(list.substr(at, end - at), &p)) {
            planned.clear();
            return false;
        }
        planned.push_back(p);
        at = end + 1;
    }
    return true;
}

bool fails(const char *name, const char *kind, int *code) {
    calls++;
    bool sticks = false;
    int named = -1;
    if (!due(name, kind, true, &sticks, &named)) return false;
    if (named >= 0) *code = named;
    if (sticks) {
        *code = named >= 0 ? named : int(cudaErrorIllegalAddress);
        set_sticky(cudaError_t(*code));
    }
    return true;
}

bool run_fails(const char *kind, int *code) {
    bool sticks = false;
    return due(kind, nullptr, false, &sticks, code);
}

uint64_t calls_counted() { return calls; }
uint64_t failures_made() { return failures; }

} // namespace sim

// The functions of hooks.h.

using Lock = std::lock_guard<std::recursive_mutex>;

int sim_set(const char *name, const char *value) {
    Lock lock(sim::runtime_lock());
    return sim::change_setting(name, value) ? 0 : -1;
}

int sim_fail(const char *plan) {
    Lock lock(sim::runtime_lock());
    sim::settings(); // which may plan too, before this does
    return sim::plan_failures(plan) ? 0 : -1;
}

uint64_t sim_calls(void) {
    Lock lock(sim::runtime_lock());
    return sim::calls;
}

uint64_t sim_injected(void) {
    Lock lock(sim::runtime_lock());
    return sim::failures;
}

uint64_t sim_live_bytes(void) {
    Lock lock(sim::runtime_lock());
    return sim::memory_held().bytes;
}

uint64_t sim_live_objects(void) {
    Lock lock(sim::runtime_lock());
    return sim::memory_held().objects + sim::streams_held();
}

void sim_reset(void) {
    Lock lock(sim::runtime_lock());
    sim::release_streams();
    sim::memory_release_all();
    sim::forget_errors();
    sim::forget_reports();
    sim::set_device(0);
    sim::read_environment();
}
