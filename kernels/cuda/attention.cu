// attention.cu: sbc_attention, which checks what it is given and hands the step's
// rows to the kernels that are for them.
//
//   attention_decode.cu    sequences with one row in the step: bound by reading the cache
//   attention_prefill.cu   sequences with more, in tiles of 64 rows: bound by the tensor cores
//   attention_simple.cu    every row where the other two do not do: contexts in float32,
//                          whose arithmetic tensor cores do not have, and heads of more
//                          than 128 elements
//
// Bits. What a row holds never depends on the other sequences of the step, nor on
// where its blocks lie. attention_simple gives the same bits however a sequence is
// cut into steps. With the other two it matters whether a sequence has one row or
// more in the step: the one sums pieces of 256 positions side by side and then their
// sums, the other 64 positions after the other. Making them agree would take a second
// accumulator for every row of a prefill, for which there are no registers. Cuts that
// leave chunks of two rows or more do not show.
#include "attention.cuh"

namespace sbc {

constexpr int kMostHeads = 16384; // so that counters of decoding suffice (attention_decode.cu)

static int attention_check(sbc_context *c, sbc_ptr out, sbc_ptr qkv, const sbc_kv *kv, int layer, const sbc_attn *a) {
    if (!kv || !a) return fail(c, SBC_ARGUMENT, "attention: kv and a must be given");
    if (c->step.tokens_n <= 0) return fail(c, SBC_ARGUMENT, "attention: no step has begun");
    if (!out || !qkv || !kv->data || (out | qkv | kv->data) % 16)
        return fail(c, SBC_ARGUMENT, "attention: out, qkv and the cache must be memory of sbc_alloc");
    const bool heads = a->heads > 0 && a->heads <= kMostHeads && a->kv_heads > 0 && a->heads % a->kv_heads == 0;
    if (!heads || a->head_dim <= 0 || a->window < 0)
        return fail(c, SBC_ARGUMENT,
                    "attention: %d query heads and %d key heads of %d elements, window %d: query heads are a multiple of key heads, %d at most",
                    a->heads, a->kv_heads, a->head_dim, a->window, kMostHeads);
    if (a->kv_heads != kv->kv_heads || a->head_dim != kv->head_dim)
        return fail(c, SBC_ARGUMENT, "attention: %d key heads of %d elements, the cache has %d of %d", a->kv_heads, a->head_dim, kv->kv_heads,
                    kv->head_dim);
    if (kv->blocks <= 0 || kv->block_size <= 0 || layer < 0 || layer >= kv->layers)
        return fail(c, SBC_ARGUMENT, "attention: layer %d of a cache of %d layers of %d blocks of %d", layer, kv->layers, kv->blocks,
                    kv->block_size);
    // cache_row counts in int32.
    if (int64_t(kv->blocks) * kv->block_size > INT32_MAX / kv->kv_heads)
        return fail(c, SBC_ARGUMENT, "attention: a layer of %d blocks of %d with %d heads has more rows than an int32 counts", kv->blocks,
                    kv->block_size, kv->kv_heads);
    return SBC_OK;
}

} // namespace sbc

int sbc_attention(sbc_context *c, sbc_ptr out, sbc_ptr qkv, const sbc_kv *kv, int32_t layer, const sbc_attn *a) {
    using namespace sbc;
    SBC_TRY(enter(c, true));
    SBC_TRY(attention_check(c, out, qkv, kv, layer, a));
    const CacheView view = cache_view(c->options.dtype, kv, layer);
    float *to = reinterpret_cast<float *>(out);
    const float *from = reinterpret_cast<const float *>(qkv);
    if (c->options.dtype == SBC_F32 || attention_width(view.padded) == 0) return attention_simple(c, to, from, view, *a);
    if (c->step.single_n > 0) SBC_TRY(attention_decode(c, to, from, view, *a));
    if (c->step.tiles_n > 0) SBC_TRY(attention_prefill(c, to, from, view, *a));
    return SBC_OK;
}
