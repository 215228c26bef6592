// abi_scenarios.cpp: what abi_check.cpp does with a context, with failures and without.
#include "abi_check.h"

#include <cmath>
#include <cstring>

// DO calls a function of the context and leaves the scenario when it fails.
#define DO(function, ...)                                                                                              \
    do {                                                                                                               \
        r.call = #function;                                                                                            \
        int status_ = function(r.c, ##__VA_ARGS__);                                                                    \
        if (status_ != SBC_OK) return status_;                                                                         \
    } while (0)
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        int status_ = (call);                                                                                          \
        if (status_ != SBC_OK) return status_;                                                                         \
    } while (0)

Step::Step(const std::vector<std::pair<int, int>> &seqs) {
    for (auto [rows, length] : seqs) {
        const int q = int(lens.size());
        for (int i = 0; i < 8; i++) blocks.push_back(q * 8 + i);
        for (int p = length - rows; p < length; p++) {
            tokens.push_back(int(tokens.size()) * 5 % 16);
            positions.push_back(p);
            slots.push_back(blocks[size_t(q * 8 + p / 4)] * 4 + p % 4);
        }
        lens.push_back(length);
        starts.push_back(int(tokens.size()));
        out.push_back(int(tokens.size()) - 1);
    }
}

sbc_step *Step::get() {
    s = {int(tokens.size()), int(lens.size()), 8, int(out.size()), 0, 0, tokens.data(), from.empty() ? nullptr : from.data(),
         positions.data(), slots.data(), starts.data(), lens.data(), blocks.data(), out.data()};
    return &s;
}

namespace {

// Numbers that bfloat16 and float16 hold exactly, -4 to 4.
float number(uint64_t i) { return float(int(i * 2654435761u >> 7 & 63) - 32) / 8; }

std::vector<float> numbers(size_t n, uint64_t seed) {
    std::vector<float> v(n);
    for (size_t i = 0; i < n; i++) v[i] = number(seed * 7919 + i);
    return v;
}

// encode is a number as an element of a dtype; those of 16 bits are exact.
std::vector<unsigned char> encode(const std::vector<float> &v, int dtype) {
    std::vector<unsigned char> out(v.size() * (dtype == SBC_F32 ? 4 : 2));
    for (size_t i = 0; i < v.size(); i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], 4);
        if (dtype == SBC_F32) {
            memcpy(&out[4 * i], &bits, 4);
            continue;
        }
        uint16_t half = uint16_t(bits >> 16);
        if (dtype == SBC_F16) half = v[i] == 0 ? 0 : uint16_t((bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 1023));
        memcpy(&out[2 * i], &half, 2);
    }
    return out;
}

// Tensor is a weight on the device.
int alloc_weight(Run &r, sbc_weight *w, int n, int k, bool table) {
    *w = {0, n, k, table ? 0 : (k + 15) / 16 * 16, 0};
    DO(sbc_alloc, sbc_weight_bytes(r.dtype, n, k, table), &w->data);
    return SBC_OK;
}

int new_weight(Run &r, sbc_weight *w, int n, int k, bool table, uint64_t seed, float scale = 1) {
    TRY(alloc_weight(r, w, n, k, table));
    auto src = numbers(size_t(n) * k, seed);
    for (float &x : src) x *= scale;
    DO(sbc_load, w, src.data(), SBC_F32, 0, 0, n);
    return SBC_OK;
}

int new_buffer(Run &r, sbc_ptr *p, int rows, int width) {
    DO(sbc_alloc, uint64_t(rows) * width * 4, p);
    return SBC_OK;
}

// expect_row compares row i of a buffer of 32 with row of a table plus row of another.
int expect_row(Run &r, sbc_ptr buffer, int i, uint64_t table, int row, uint64_t other, int position) {
    float *got = nullptr;
    DO(sbc_read, buffer + uint64_t(i) * 32 * 4, 32, &got);
    for (int j = 0; j < 32; j++) {
        const float want = number(table * 7919 + uint64_t(row) * 32 + j) + number(other * 7919 + uint64_t(position) * 32 + j);
        EXPECT(got[j] == want, "row %d, column %d is %g, want %g", i, j, got[j], want);
        if (got[j] != want) break;
    }
    return SBC_OK;
}

// Scenarios.

int scenario_open(Run &r) {
    sbc_device about;
    DO(sbc_about, &about);
    EXPECT(about.simulated == 1 && about.major >= 8 && about.sms > 0 && about.free_memory > 0 && about.free_memory <= about.memory,
           "the device is %d.%d with %d multiprocessors, %llu bytes free", about.major, about.minor, about.sms,
           static_cast<unsigned long long>(about.free_memory));
    sbc_ptr p = 0;
    DO(sbc_alloc, 4096, &p);
    EXPECT(p % 256 == 0, "memory is at %llx", static_cast<unsigned long long>(p));
    float *got = nullptr;
    DO(sbc_read, p, 1024, &got);
    for (int i = 0; i < 1024; i++) EXPECT(got[i] == 0, "memory is not zeroed at %d", 4 * i);
    DO(sbc_read, p + 4, 1023, &got);
    DO(sbc_free, p);
    DO(sbc_free, 0);
    DO(sbc_wait);
    return SBC_OK;
}

// load_one loads rows [n0, n0+n) of a weight [37, 45] and looks at all of it.
int load_one(Run &r, int dtype, bool transposed, bool table) {
    const int n = 37, k = 45, n0 = 5, part = 21, ld = table ? k : 48;
    sbc_weight w;
    TRY(alloc_weight(r, &w, n, k, table));
    auto values = numbers(size_t(part) * k, 3); // [part, k]
    auto given = values;
    for (int i = 0; i < part && transposed; i++)
        for (int j = 0; j < k; j++) given[size_t(j) * part + i] = values[size_t(i) * k + j];
    auto src = encode(given, dtype);
    DO(sbc_load, &w, src.data(), dtype, transposed, n0, part);
    memset(src.data(), 0x7f, src.size()); // it may be changed from here on
    const int element = table ? int(SBC_F32) : r.dtype;
    std::vector<float> padded(size_t(n) * ld);
    for (int i = 0; i < part; i++)
        for (int j = 0; j < k; j++) padded[size_t(n0 + i) * ld + j] = values[size_t(i) * k + j];
    auto want = encode(padded, element);
    want.resize(want.size() / 4 * 4);
    float *got = nullptr;
    DO(sbc_read, w.data, want.size() / 4, &got);
    EXPECT(memcmp(got, want.data(), want.size()) == 0, "a weight from dtype %d, transposed %d, table %d, is not what was loaded", dtype,
           transposed, table);
    DO(sbc_free, w.data);
    return SBC_OK;
}

int scenario_load(Run &r) {
    for (int dtype : {SBC_F32, SBC_BF16, SBC_F16})
        for (int kind = 0; kind < 4; kind++) TRY(load_one(r, dtype, kind & 1, kind & 2));
    DO(sbc_load_done);
    TRY(load_one(r, SBC_F32, false, false)); // as if it were the first time
    DO(sbc_load_done);
    DO(sbc_load_done);
    return SBC_OK;
}

// All operations, once with many rows and once with few.
int scenario_step(Run &r) {
    sbc_weight tokens, positions, qkv_w, o_w, up_w, down_w, head_w, norm_w, bias, table;
    TRY(new_weight(r, &tokens, 16, 32, false, 1));
    TRY(new_weight(r, &positions, 32, 32, true, 2));
    TRY(new_weight(r, &qkv_w, 64, 32, false, 3, 0.0625f));
    TRY(new_weight(r, &o_w, 32, 32, false, 4, 0.0625f));
    TRY(new_weight(r, &up_w, 96, 32, false, 5, 0.0625f));
    TRY(new_weight(r, &down_w, 32, 48, false, 6, 0.0625f));
    TRY(new_weight(r, &head_w, 16, 32, false, 7, 0.0625f));
    TRY(new_weight(r, &norm_w, 1, 32, true, 8));
    TRY(new_weight(r, &bias, 1, 64, true, 9));
    TRY(new_weight(r, &table, 32, 8, true, 10));
    DO(sbc_load_done);
    sbc_kv kv = {0, 1, 64, 4, 1, 16, 0};
    DO(sbc_alloc, sbc_kv_bytes(r.dtype, &kv), &kv.data);
    sbc_ptr x, h, qkv, att, up, act, wanted, logits;
    TRY(new_buffer(r, &x, 32, 32));
    TRY(new_buffer(r, &h, 32, 32));
    TRY(new_buffer(r, &qkv, 32, 64));
    TRY(new_buffer(r, &att, 32, 32));
    TRY(new_buffer(r, &up, 32, 96));
    TRY(new_buffer(r, &act, 32, 48));
    TRY(new_buffer(r, &wanted, 8, 32));
    TRY(new_buffer(r, &logits, 8, 16));
    const sbc_attn attn = {2, 1, 16, 0, 0.25f, 0};
    for (Step step : {Step({{20, 20}, {1, 1}, {3, 7}}), Step({{1, 21}, {1, 2}, {1, 8}})}) {
        const int t = int(step.tokens.size());
        DO(sbc_begin, step.get());
        DO(sbc_embed, x, &tokens, &positions);
        const sbc_norm_args rms = {h, x, 0, norm_w.data, 0, 1e-5f, 0, t, 32}, mean = {att, x, h, norm_w.data, bias.data, 1e-5f, 1, t, 32};
        DO(sbc_norm, &rms);
        DO(sbc_matmul, qkv, h, &qkv_w, bias.data, t);
        DO(sbc_store_kv, qkv, &kv, 0, 8, table.data, &attn);
        DO(sbc_attention, att, qkv, &kv, 0, &attn);
        DO(sbc_matmul, h, att, &o_w, 0, t);
        DO(sbc_norm, &mean);
        DO(sbc_matmul, up, att, &up_w, 0, t);
        DO(sbc_activate, act, up, SBC_SILU, 1, t, 48);
        DO(sbc_matmul, h, act, &down_w, 0, t);
        DO(sbc_add, x, h, t, 32);
        DO(sbc_gather, wanted, x, 0, 32);
        DO(sbc_matmul, logits, wanted, &head_w, 0, 3);
        float *got = nullptr;
        DO(sbc_read, logits, 3 * 16, &got);
        for (int i = 0; i < 3 * 16; i++) EXPECT(std::isfinite(got[i]), "logit %d is %g", i, got[i]);
    }
    return SBC_OK;
}

// set_logits makes id the greatest of a row's 16 logits, or none if it is negative.
int set_logits(Run &r, sbc_ptr logits, const std::vector<int> &ids) {
    std::vector<float> v;
    for (int id : ids)
        for (int i = 0; i < 16; i++) v.push_back(id < 0 ? NAN : i == id ? 5.0f : float(i) / 16);
    const sbc_weight w = {logits, int(ids.size()), 16, 0, 0};
    DO(sbc_load, &w, v.data(), SBC_F32, 0, 0, w.n);
    return SBC_OK;
}

int drawn(Run &r, const std::vector<int> &want) {
    std::vector<int32_t> ids(want.size(), -2);
    DO(sbc_drawn, ids.data(), int(ids.size()));
    for (size_t i = 0; i < want.size(); i++) EXPECT(ids[i] == want[i], "token %zu is %d, want %d", i, ids[i], want[i]);
    return SBC_OK;
}

int scenario_draw(Run &r) {
    sbc_weight tokens, positions;
    sbc_ptr logits, x;
    TRY(new_weight(r, &tokens, 16, 32, false, 1));
    TRY(new_weight(r, &positions, 32, 32, true, 2));
    TRY(new_buffer(r, &logits, 8, 16));
    TRY(new_buffer(r, &x, 32, 32));
    const std::vector<sbc_draw> greedy(8, sbc_draw{0, 1, 0, 0, 0, 0, 0});
    std::vector<sbc_draw> sampled(8, sbc_draw{0.8, 0.9, 0.01, 7, 0, 5, 0});
    Step step({{1, 3}, {2, 2}, {1, 9}});
    // Three steps of which none is waited for, each with tokens that the one before drew.
    TRY(set_logits(r, logits, {3, -1, 12}));
    DO(sbc_begin, step.get());
    DO(sbc_embed, x, &tokens, &positions);
    DO(sbc_draw_tokens, logits, 16, 16, 3, greedy.data());
    step.from = {2, -1, 0, 0};
    DO(sbc_begin, step.get());
    DO(sbc_embed, x, &tokens, &positions);
    TRY(set_logits(r, logits, {9, 15}));
    DO(sbc_draw_tokens, logits, 16, 10, 2, greedy.data());
    TRY(expect_row(r, x, 0, 1, 12, 2, 2));
    TRY(expect_row(r, x, 1, 1, step.tokens[1], 2, 0));
    TRY(expect_row(r, x, 2, 1, 3, 2, 1));
    TRY(expect_row(r, x, 3, 1, 3, 2, 8));
    TRY(drawn(r, {3, -1, 12}));
    step.from = {1, -1, -1, -1};
    DO(sbc_begin, step.get());
    DO(sbc_embed, x, &tokens, &positions);
    TRY(expect_row(r, x, 0, 1, 9, 2, 2)); // 15 is not below 10, of the rest the last is the largest
    DO(sbc_draw_tokens, logits, 16, 16, 8, sampled.data());
    TRY(drawn(r, {9, 9}));
    std::vector<int32_t> ids(8);
    DO(sbc_drawn, ids.data(), 8);
    for (int id : ids) EXPECT(id >= 0 && id < 16, "token %d of 16", id);
    return SBC_OK;
}

int scenario_graph(Run &r) {
    sbc_weight tokens, positions, square;
    sbc_ptr x, h, out, logits;
    TRY(new_weight(r, &tokens, 16, 32, false, 1));
    TRY(new_weight(r, &positions, 32, 32, true, 2));
    TRY(new_weight(r, &square, 32, 32, false, 3));
    TRY(new_buffer(r, &x, 32, 32));
    TRY(new_buffer(r, &h, 32, 32));
    TRY(new_buffer(r, &out, 8, 32));
    TRY(new_buffer(r, &logits, 8, 16));
    auto operations = [&](int rows) -> int {
        DO(sbc_embed, x, &tokens, &positions);
        DO(sbc_matmul, h, x, &square, 0, rows);
        DO(sbc_gather, out, x, 0, 32);
        return SBC_OK;
    };
    int32_t graphs[2] = {-1, -1};
    for (int i = 0; i < 2; i++) {
        const int rows = 3 + 5 * i;
        DO(sbc_graph_begin, rows);
        const int kept = operations(rows);
        const char *failed = r.call;
        r.call = "sbc_graph_end";
        const int status = sbc_graph_end(r.c, &graphs[i]);
        if (kept != SBC_OK) {
            EXPECT(status == kept, "%s returned %d, sbc_graph_end %d", failed, kept, status);
            EXPECT(graphs[i] == -1, "a graph that failed is number %d", graphs[i]);
        }
        if (status != SBC_OK) return status;
    }
    Step two({{1, 4}, {1, 1}});
    const std::vector<sbc_draw> greedy(8, sbc_draw{0, 1, 0, 0, 0, 0, 0});
    for (int32_t graph : graphs) {
        two.from.clear();
        DO(sbc_graph_run, graph, two.get());
        TRY(expect_row(r, out, 0, 1, two.tokens[0], 2, 3));
        TRY(expect_row(r, out, 1, 1, two.tokens[1], 2, 0));
        TRY(set_logits(r, logits, {6, 2}));
        DO(sbc_draw_tokens, logits, 16, 16, 2, greedy.data());
        two.from = {1, 0};
        DO(sbc_graph_run, graph, two.get());
        TRY(drawn(r, {6, 2}));
        TRY(expect_row(r, out, 0, 1, 2, 2, 3));
        TRY(expect_row(r, out, 1, 1, 6, 2, 0));
    }
    // A step of more rows than graphs have goes as steps go, and leaves them as they were.
    Step many({{20, 20}, {1, 5}});
    DO(sbc_begin, many.get());
    TRY(operations(21));
    two.from.clear();
    DO(sbc_graph_run, graphs[0], two.get());
    TRY(expect_row(r, out, 1, 1, two.tokens[1], 2, 0));
    return SBC_OK;
}

int scenario_limit(Run &r) {
    for (int what : {SBC_LIMIT_READ, SBC_LIMIT_FMA, SBC_LIMIT_DOT}) {
        double most = 0, seconds = 0;
        DO(sbc_time, 1, nullptr);
        DO(sbc_time, 0, &seconds);
        DO(sbc_limit, what, &most);
        EXPECT(most > 0 && seconds >= 0, "limit %d is %g, nothing took %g s", what, most, seconds);
    }
    return SBC_OK;
}

} // namespace

// load_large loads numbers as [lines, length], or transposed, and looks at the ends of
// each line and the middle.
static int load_large(Run &r, int lines, int length, bool transposed, bool table) {
    auto src = numbers(size_t(lines) * size_t(length), 11);
    sbc_weight w;
    TRY(alloc_weight(r, &w, transposed ? length : lines, transposed ? lines : length, table));
    DO(sbc_load, &w, src.data(), SBC_F32, transposed, 0, w.n);
    DO(sbc_load_done);
    const int64_t ld = table ? w.k : w.ld;
    const size_t size = table || r.dtype == SBC_F32 ? 4 : 2;
    for (int line = 0; line < lines; line += lines > 8 ? lines / 7 : 1)
        for (int at : {0, 1, length / 2, length - 1}) {
            const int64_t row = transposed ? at : line, column = transposed ? line : at;
            const int64_t i = row * ld + column, first = i / 2 * 2; // 2 elements are whole numbers of float32
            const int64_t last = first + 1 < int64_t(w.n) * ld ? first + 1 : first;
            const std::vector<float> one = {number(11 * 7919 + uint64_t(line) * uint64_t(length) + uint64_t(at))};
            auto want = encode(one, size == 4 ? int(SBC_F32) : r.dtype);
            float *got = nullptr;
            DO(sbc_read, w.data + uint64_t(first) * size, uint64_t(last - first + 1) * size / 4, &got);
            const bool same = memcmp(reinterpret_cast<char *>(got) + uint64_t(i - first) * size, want.data(), size) == 0;
            EXPECT(same, "[%d, %d] is not what was loaded, of [%d, %d], transposed %d", line, at, lines, length, transposed);
            if (!same) return SBC_OK;
        }
    DO(sbc_free, w.data);
    return SBC_OK;
}

int scenario_pieces(Run &r) {
    const int most = SBC_STAGE / 4;
    TRY(load_large(r, 1, most + 5, false, true)); // a row that does not fit a piece
    TRY(load_large(r, 1, most + 5, true, true));
    TRY(load_large(r, most / 4096 + 3, 4099, false, false)); // a piece is some rows
    TRY(load_large(r, most / 4096 + 3, 4099, true, false));
    return load_large(r, most + 9, 1, false, true); // a vector
}

const std::vector<Scenario> scenarios = {{"open", scenario_open}, {"load", scenario_load},   {"step", scenario_step},
                                         {"draw", scenario_draw}, {"graph", scenario_graph}, {"limit", scenario_limit}};
