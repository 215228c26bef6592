// abi_check.h: what abi_check.cpp and abi_scenarios.cpp share.
#ifndef SERVEBENCH_CUDA_SIM_ABI_CHECK_H
#define SERVEBENCH_CUDA_SIM_ABI_CHECK_H

#include "../kernels.h"
#include "hooks.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

// say tells of an expectation that did not hold; EXPECT counts all of them.
void say(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
extern int checks;

#define EXPECT(holds, ...)                                                                                             \
    do {                                                                                                               \
        checks++;                                                                                                      \
        if (!(holds)) say(__FILE__, __LINE__, __VA_ARGS__);                                                            \
    } while (0)

// Run is a scenario under way.
struct Run {
    sbc_context *c = nullptr;
    const char *call = "sbc_open"; // under way
    int dtype = SBC_BF16;
};

// Scenario uses an open context and returns the first status that is not SBC_OK.
// What it reads back it compares with what it must be.
struct Scenario {
    const char *name;
    int (*run)(Run &);
};
extern const std::vector<Scenario> scenarios;

// scenario_pieces loads weights that are larger than the pieces they are loaded in.
int scenario_pieces(Run &r);

// Step is an sbc_step with its arrays. Each sequence is {rows, length}; its blocks are
// of 4 tokens and nobody else's. Every last row is wanted.
struct Step {
    std::vector<int32_t> tokens, from, positions, slots, starts{0}, lens, blocks, out;
    sbc_step s = {};

    explicit Step(const std::vector<std::pair<int, int>> &seqs);
    sbc_step *get(); // valid while the arrays are as they are
};

#endif
