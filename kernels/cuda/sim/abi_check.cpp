// abi_check.cpp: the functions of kernels.h on the simulated device, without Go, and
// what becomes of a context when the runtime fails.
//
//  1. Devices: each thing that may be wrong with a driver or a GPU has a status and a
//     message of its own.
//  2. Arguments that make no sense are SBC_ARGUMENT, name what is wrong, and change
//     nothing.
//  3. Scenarios (abi_scenarios.cpp) run without a failure, and what they read back is right.
//  4. Every scenario runs again for each call of the runtime that it makes, with that
//     call failing, and for each kernel and copy of it, failing while it runs. Each time
//     it must end with a status and a message; the context must then go on working, or
//     answer SBC_LOST and the same message to everything; and nothing may be held once
//     it is closed.
//
// The program links with the library, prints what did not hold, and exits with 1 if
// anything did not. An argument leaves only the scenarios of that name.
#include "abi_check.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

int checks;
static int mistakes;
static std::string where; // scenario and plan

void say(const char *file, int line, const char *format, ...) {
    if (++mistakes > 100) return; // the first ones tell enough
    printf("%s:%d: %s: ", file, line, where.c_str());
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

static const sbc_options small = {0, SBC_BF16, 32, 8, 8, 0};

// says tells whether a message has a word in it.
static bool says(const sbc_context *c, const char *word) { return strstr(sbc_message(c), word) != nullptr; }

// nothing_held is the end of every context.
static void nothing_held() {
    EXPECT(sim_live_objects() == 0 && sim_live_bytes() == 0, "%llu objects and %llu bytes are still held",
           static_cast<unsigned long long>(sim_live_objects()), static_cast<unsigned long long>(sim_live_bytes()));
    EXPECT(sim_reports() == 0, "the device reports: %s", sim_last_report());
}

// Devices.

static void check_device(const char *setting, const char *value, int status, const char *word) {
    where = std::string(setting) + "=" + value;
    sim_reset();
    EXPECT(sim_set(setting, value) == 0, "the device has no such setting");
    sbc_context *c = nullptr;
    const int got = sbc_open(&small, &c);
    EXPECT(got == status && (c != nullptr) == (status == SBC_OK), "sbc_open returned %d, want %d: %s", got, status, sbc_message(nullptr));
    EXPECT(status == SBC_OK || says(nullptr, word), "the message has no %s: %s", word, sbc_message(nullptr));
    sbc_close(c);
    nothing_held();
}

static void check_devices() {
    check_device("device", "h100", SBC_OK, "");
    check_device("device", "l4", SBC_OK, "");
    check_device("device", "none", SBC_NO_DEVICE, "no GPU");
    check_device("device", "old", SBC_ARCHITECTURE, "7.5");
    check_device("device", "future", SBC_ARCHITECTURE, "CUDA_ARCHS");
    check_device("driver", "missing", SBC_NO_DRIVER, "there is no NVIDIA driver");
    check_device("driver", "old", SBC_NO_DRIVER, "update the driver");
    check_device("memory", "1M", SBC_MEMORY, "no room");

    where = "two devices";
    sim_reset();
    sim_set("device", "h100,a100");
    sbc_device found[3] = {};
    int32_t count = -1;
    EXPECT(sbc_devices(found, 3, &count) == SBC_OK && count == 2, "%d devices: %s", count, sbc_message(nullptr));
    EXPECT(found[0].major == 9 && found[1].major == 8 && found[0].simulated == 1, "devices are of %d.x and %d.x", found[0].major, found[1].major);
    EXPECT(found[0].memory > 0 && found[0].sms > 0 && found[0].peak_read > 0 && found[0].driver >= found[0].runtime && strlen(found[0].bus_id) == 16,
           "%s at %s has no memory, no multiprocessors, no clock or no driver", found[0].name, found[0].bus_id);
    EXPECT(sbc_devices(found, 1, &count) == SBC_OK && count == 2, "one of %d devices is asked for", count);
    EXPECT(sbc_devices(nullptr, 0, &count) == SBC_OK && count == 2, "how many of %d devices there are is asked for", count);
    for (int device : {-1, 2}) {
        sbc_options o = small;
        o.device = device;
        sbc_context *c = nullptr;
        EXPECT(sbc_open(&o, &c) == SBC_NO_DEVICE && !c && says(nullptr, "2, counted from 0"), "GPU %d: %s", device, sbc_message(nullptr));
    }
    sim_set("device", "none");
    count = -1;
    EXPECT(sbc_devices(found, 3, &count) == SBC_NO_DEVICE && count == 0, "%d devices where there are none", count);
}

// Arguments.

// refused is a call that must be SBC_ARGUMENT with a word in its message.
#define REFUSED(word, function, ...)                                                                                   \
    do {                                                                                                               \
        const int status_ = function(__VA_ARGS__);                                                                     \
        EXPECT(status_ == SBC_ARGUMENT, "line %d: " #function " returned %d", __LINE__, status_);                      \
        EXPECT(says(c, word), "line %d: the message has no %s: %s", __LINE__, word, sbc_message(c));                   \
    } while (0)

static void check_options() {
    where = "options";
    sim_reset();
    sbc_context *c = nullptr;
    const struct {
        const char *word;
        sbc_options o;
    } cases[] = {{"dtype", {0, 3, 32, 8, 8, 0}},      {"dtype", {0, -1, 32, 8, 8, 0}},     {"max_tokens", {0, 0, 0, 8, 8, 0}},
                 {"max_tokens", {0, 0, 1 << 30, 8, 8, 0}}, {"max_seqs", {0, 0, 32, 0, 8, 0}}, {"max_seqs", {0, 0, 32, -8, 8, 0}},
                 {"max_blocks", {0, 0, 32, 8, 0, 0}}, {"max_blocks", {0, 0, 32, 8, 1 << 30, 0}}};
    for (const auto &k : cases) REFUSED(k.word, sbc_open, &k.o, &c);
    REFUSED("options", sbc_open, nullptr, &c);
    REFUSED("place", sbc_open, &small, nullptr);
    int32_t count = 0;
    REFUSED("room", sbc_devices, nullptr, 2, &count);
    REFUSED("NULL", sbc_wait, nullptr);
    EXPECT(sbc_close(nullptr) == SBC_OK, "nothing cannot be closed");
    EXPECT(sbc_weight_bytes(SBC_BF16, 3, 17, 0) == 3 * 32 * 2 && sbc_weight_bytes(SBC_F32, 3, 17, 0) == 3 * 32 * 4 &&
               sbc_weight_bytes(SBC_F16, 3, 17, 1) == 3 * 17 * 4 && sbc_weight_bytes(3, 3, 17, 0) == 0 && sbc_weight_bytes(0, 0, 17, 0) == 0,
           "sizes of weights");
    sbc_kv kv = {0, 3, 5, 4, 2, 10, 0};
    EXPECT(sbc_kv_bytes(SBC_BF16, &kv) == 3ull * 2 * 5 * 4 * 2 * 16 * 2, "a cache takes %llu bytes", static_cast<unsigned long long>(sbc_kv_bytes(SBC_BF16, &kv)));
    kv.layers = kv.blocks = kv.block_size = kv.kv_heads = 1 << 30;
    EXPECT(sbc_kv_bytes(SBC_BF16, &kv) == 0, "a cache of 2 to the 120th");
}

static void check_step_arguments(sbc_context *c) {
    const auto refused = [c](const char *word, void (*spoil)(Step &), void (*spoil_counts)(sbc_step &) = [](sbc_step &) {}) {
        Step step({{3, 5}, {1, 9}});
        spoil(step);
        sbc_step *s = step.get();
        spoil_counts(*s);
        REFUSED(word, sbc_begin, c, s);
    };
    const auto same = [](Step &) {};
    REFUSED("no step", sbc_begin, c, nullptr);
    refused("tokens_n", same, [](sbc_step &s) { s.tokens_n = 0; });
    refused("tokens_n", same, [](sbc_step &s) { s.tokens_n = 33; });
    refused("seqs", same, [](sbc_step &s) { s.seqs = 0; });
    refused("seqs", same, [](sbc_step &s) { s.seqs = 9; });
    refused("max_blocks", same, [](sbc_step &s) { s.max_blocks = 9; });
    refused("out_n", same, [](sbc_step &s) { s.out_n = 9; });
    refused("out_n", same, [](sbc_step &s) { s.out_n = -1; });
    refused("window", same, [](sbc_step &s) { s.window = -1; });
    refused("tokens is NULL", same, [](sbc_step &s) { s.tokens = nullptr; });
    refused("blocks is NULL", same, [](sbc_step &s) { s.blocks = nullptr; });
    refused("starts goes", [](Step &s) { s.starts[0] = 1; });
    refused("starts goes", [](Step &s) { s.starts[2] = 5; });
    refused("starts[1]", [](Step &s) { s.starts[1] = 0; });
    refused("starts[1]", [](Step &s) { s.starts[1] = 99; });
    refused("starts[2]", [](Step &s) { s.starts[1] = 4, s.positions = {5, 6, 7, 8}, s.lens[0] = 9; });
    refused("lens[0]", [](Step &s) { s.lens[0] = 6; });
    refused("lens[1]", [](Step &s) { s.lens[1] = 0; });
    refused("positions[1]", [](Step &s) { s.positions[1] = 7; });
    refused("positions[0]", [](Step &s) { s.positions = {-1, 0, 1, 8}, s.lens[0] = 2; });
    refused("slots[2]", [](Step &s) { s.slots[2] = -1; });
    refused("tokens[3]", [](Step &s) { s.tokens[3] = -5; });
    refused("from[1]", [](Step &s) { s.from = {-1, 0, -1, -1}; });
    refused("from[0]", [](Step &s) { s.from = {-2, -1, -1, -1}; });
    refused("out[0]", [](Step &s) { s.out[0] = 4; });
    refused("out[1]", [](Step &s) { s.out[1] = 2; });
}

static void check_arguments() {
    where = "arguments";
    sim_reset();
    sbc_context *c = nullptr;
    EXPECT(sbc_open(&small, &c) == SBC_OK, "sbc_open: %s", sbc_message(nullptr));
    if (!c) return;
    check_step_arguments(c);
    sbc_ptr p = 0, none = 0;
    EXPECT(sbc_alloc(c, 1024, &p) == SBC_OK, "sbc_alloc: %s", sbc_message(c));
    REFUSED("1 byte", sbc_alloc, c, 0, &none);
    REFUSED("sbc_alloc", sbc_free, c, p + 16);
    float *got = nullptr;
    REFUSED("within", sbc_read, c, p, 257, &got);
    REFUSED("within", sbc_read, c, p + 1024, 1, &got);
    REFUSED("within", sbc_read, c, p, UINT64_MAX / 2, &got);
    REFUSED("within", sbc_read, c, p, 0, &got);
    const float src[16] = {};
    sbc_weight w = {p, 4, 16, 16, 0};
    REFUSED("dtype", sbc_load, c, &w, src, 3, 0, 0, 1);
    REFUSED("rows", sbc_load, c, &w, src, SBC_F32, 0, 4, 1);
    REFUSED("rows", sbc_load, c, &w, src, SBC_F32, 0, 0, 5);
    REFUSED("rows", sbc_load, c, &w, src, SBC_F32, 0, -1, 1);
    REFUSED("source", sbc_load, c, &w, nullptr, SBC_F32, 0, 0, 1);
    w.ld = 24;
    REFUSED("rows of 24", sbc_load, c, &w, src, SBC_F32, 0, 0, 1);
    w.ld = 16, w.n = 33;
    REFUSED("within", sbc_load, c, &w, src, SBC_F32, 0, 0, 1);
    const sbc_draw draws[9] = {};
    int32_t ids[9];
    REFUSED("rows", sbc_draw_tokens, c, p, 16, 16, 9, draws);
    REFUSED("vocabulary", sbc_draw_tokens, c, p, 16, 17, 1, draws);
    REFUSED("within", sbc_draw_tokens, c, p, 256, 16, 2, draws);
    REFUSED("no step", sbc_drawn, c, ids, 1);
    for (int i = 0; i < SBC_DRAWN; i++) EXPECT(sbc_draw_tokens(c, p, 16, 16, 2, draws) == SBC_OK, "draw %d: %s", i, sbc_message(c));
    REFUSED("sbc_drawn", sbc_draw_tokens, c, p, 16, 16, 1, draws);
    REFUSED("2 were drawn", sbc_drawn, c, ids, 1);
    for (int i = 0; i < SBC_DRAWN; i++) EXPECT(sbc_drawn(c, ids, 2) == SBC_OK, "tokens of draw %d: %s", i, sbc_message(c));
    int32_t graph = 0;
    REFUSED("rows", sbc_graph_begin, c, 9);
    REFUSED("no graph", sbc_graph_end, c, &graph);
    Step one({{1, 4}}), two({{2, 4}});
    REFUSED("no graph 0", sbc_graph_run, c, 0, one.get());
    EXPECT(sbc_graph_begin(c, 1) == SBC_OK, "sbc_graph_begin: %s", sbc_message(c));
    REFUSED("recorded", sbc_begin, c, one.get());
    REFUSED("recorded", sbc_wait, c);
    REFUSED("recorded", sbc_graph_end, c, &graph); // what was refused is not in it
    EXPECT(sbc_graph_begin(c, 1) == SBC_OK && sbc_graph_end(c, &graph) == SBC_OK && graph == 0, "an empty graph: %s", sbc_message(c));
    REFUSED("tokens_n", sbc_graph_run, c, graph, two.get());
    double seconds = 0;
    REFUSED("start", sbc_time, c, 0, &seconds);
    REFUSED("limit 3", sbc_limit, c, 3, &seconds);
    EXPECT(sbc_alloc(c, 1ull << 60, &none) == SBC_MEMORY && none == 0 && says(c, "no room"), "2 to the 60th bytes: %s", sbc_message(c));
    EXPECT(sbc_begin(c, one.get()) == SBC_OK && sbc_wait(c) == SBC_OK, "the context cannot be used any more: %s", sbc_message(c));
    EXPECT(sbc_close(c) == SBC_OK, "sbc_close: %s", sbc_message(nullptr));
    nothing_held();
}

// Failures.

// works says whether a context that has failed can be used.
static void works(sbc_context *c) {
    Step one({{1, 4}});
    sbc_ptr p = 0;
    float *got = nullptr;
    EXPECT(sbc_begin(c, one.get()) == SBC_OK && sbc_wait(c) == SBC_OK, "no step can begin any more: %s", sbc_message(c));
    EXPECT(sbc_alloc(c, 64, &p) == SBC_OK && sbc_read(c, p, 16, &got) == SBC_OK && got[15] == 0 && sbc_free(c, p) == SBC_OK,
           "memory can no more be used: %s", sbc_message(c));
}

// lost says whether a lost context keeps to that.
static void lost(sbc_context *c) {
    const std::string message = sbc_message(c);
    Step one({{1, 4}});
    sbc_ptr p = 0;
    float *got = nullptr;
    double number = 0;
    int32_t ids[8], graph = 0;
    const int answers[] = {sbc_wait(c), sbc_begin(c, one.get()), sbc_alloc(c, 64, &p), sbc_read(c, 1, 1, &got), sbc_drawn(c, ids, 1),
                           sbc_load_done(c), sbc_limit(c, 0, &number), sbc_graph_begin(c, 1), sbc_graph_end(c, &graph), sbc_begin(c, nullptr)};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) EXPECT(answers[i] == SBC_LOST, "answer %zu of a lost context is %d", i, answers[i]);
    EXPECT(message == sbc_message(c), "a lost context says first %s, then %s", message.c_str(), sbc_message(c));
}

// Ending is what came of a scenario.
struct Ending {
    int status, closed;
    uint64_t calls, opening, injected, kernels; // opening: calls of sbc_open
};

static Ending live(const Scenario &s, const std::string &plan, const sbc_options &o) {
    where = std::string(s.name) + (plan.empty() ? "" : " with " + plan);
    sim_reset();
    sim_set("device", "l4"); // which gets by with little memory for cuBLASLt, that takes time to be made
    EXPECT(sim_fail(plan.c_str()) == 0, "the device cannot read the plan");
    Run r;
    r.dtype = o.dtype;
    Ending e = {};
    e.status = sbc_open(&o, &r.c);
    e.opening = sim_calls();
    if (e.status != SBC_OK) {
        EXPECT(!r.c, "sbc_open fails and gives a context");
        EXPECT(sbc_message(nullptr)[0], "sbc_open fails without a message");
    } else {
        e.status = s.run(r);
    }
    where += std::string(" in ") + r.call;
    e.calls = sim_calls(), e.injected = sim_injected(), e.kernels = sim_kernels();
    EXPECT(e.status >= SBC_OK && e.status <= SBC_LOST, "status %d", e.status);
    EXPECT(e.status != SBC_ARGUMENT, "a failure is said to be the caller's: %s", sbc_message(r.c));
    if (r.c && e.status != SBC_OK) {
        EXPECT(sbc_message(r.c)[0], "there is no message");
        if (e.status == SBC_LOST) {
            lost(r.c);
        } else {
            sim_fail(nullptr);
            works(r.c);
        }
    }
    const bool planned = e.status == SBC_OK; // the plan is still in force
    e.closed = sbc_close(r.c);
    if (planned) e.calls = sim_calls(), e.injected = sim_injected();
    EXPECT(e.closed == SBC_OK || sbc_message(nullptr)[0], "sbc_close fails without a message");
    EXPECT(plan.size() || (e.status == SBC_OK && e.closed == SBC_OK), "status %d, %d when closed: %s", e.status, e.closed, sbc_message(nullptr));
    nothing_held();
    return e;
}

// How failures are planned, and what of.
struct Plan {
    const char *name, *more;
    bool kernels; // there are as many as kernels, and not as calls
};
static const Plan plans[] = {{"any", "", false}, {"any", "+", false}, {"sticky", "", false}, {"kernel", "", true}, {"copy", "", true}};

// What may fail without consequence: the memory's clock is then unknown, and what
// cuBLASLt keeps of a product is host memory, whose giving back nothing depends on.
static const char *const harmless[] = {"cudaDeviceGetAttribute", "cublasLtMatmulDescDestroy", "cublasLtMatrixLayoutDestroy"};

// count_harmless gives how many such calls a scenario makes.
static uint64_t count_harmless(const Scenario &s, bool opening) {
    uint64_t count = 0;
    for (const char *name : harmless) {
        if (!opening && name == harmless[0]) continue;
        const Ending e = live(s, std::string(name) + ":1+", small);
        EXPECT(e.status == SBC_OK && e.closed == SBC_OK, "status %d, %d when closed", e.status, e.closed);
        count += e.injected;
    }
    return count;
}

// check_failures lets fail what a scenario does, and of sbc_open only in the first.
static void check_failures(const Scenario &s, bool opening) {
    const Ending whole = live(s, "", small);
    const uint64_t before = opening ? 0 : whole.opening, may = count_harmless(s, opening);
    EXPECT(whole.calls > 0 && whole.kernels > 0, "%llu calls and %llu kernels are nothing to fail", static_cast<unsigned long long>(whole.calls),
           static_cast<unsigned long long>(whole.kernels));
    for (const Plan &p : plans) {
        uint64_t failed = 0, absorbed = 0;
        for (uint64_t n = p.kernels ? 1 : before + 1; n <= 2 * whole.calls; n++) {
            const Ending e = live(s, std::string(p.name) + ":" + std::to_string(n) + p.more, small);
            if (e.injected == 0) break;
            failed++;
            if (e.status == SBC_OK && e.closed == SBC_OK) absorbed++;
        }
        EXPECT(failed > 0, "nothing failed of %s", p.name);
        EXPECT(p.kernels || failed == whole.calls - before, "%llu of %llu calls failed", static_cast<unsigned long long>(failed),
               static_cast<unsigned long long>(whole.calls - before));
        const uint64_t want = strcmp(p.name, "any") == 0 && !*p.more ? may : 0;
        EXPECT(absorbed == want, "%llu failures of %s were without consequence, want %llu", static_cast<unsigned long long>(absorbed), p.name,
               static_cast<unsigned long long>(want));
        printf("%-6s %-7s %4llu failures, %llu of them without consequence\n", s.name, (std::string(p.name) + p.more).c_str(),
               static_cast<unsigned long long>(failed), static_cast<unsigned long long>(absorbed));
    }
}

int main(int argc, char **argv) {
    sim_quiet(1);
    check_devices();
    check_options();
    check_arguments();
    for (const Scenario &s : scenarios)
        for (int dtype : {SBC_F32, SBC_BF16, SBC_F16}) {
            sbc_options o = small;
            o.dtype = dtype;
            live(s, "", o);
        }
    live({"pieces", scenario_pieces}, "", small);
    for (const Scenario &s : scenarios)
        if (argc < 2 || strcmp(argv[1], s.name) == 0) check_failures(s, &s == &scenarios.front());
    sim_reset();
    printf("%d expectations, %d mistakes\n", checks, mistakes);
    return mistakes > 0;
}
