// load.cu: weights on their way from a mapped checkpoint to the device.
//
// A tensor goes in pieces of SBC_STAGE bytes: memcpy reads a piece from the mapped
// file into page-locked memory, a copy in the stream takes it to the device as it
// is, and a kernel there converts it into the weight's rows. Two pieces take turns,
// so that the disk is read while the piece before is copied and converted: loading
// goes at the disk's speed, or the bus', and takes 2 pieces of host memory whatever
// the size of the model.
//
// convert_kernel
//   Purpose   weight[row + r, column + i] = source[r, i], 0 where i is behind the source's columns
//   Inputs    source [rows, columns], dense, of type S
//   Outputs   rows of weight [n, ld] of type T: a matrix' of the context's dtype, padding
//             included, or a table's of float32
//   Rounding  to nearest, ties to even; S to float32 is exact
//   Grid      (elements / 256, at most 8 a multiprocessor); block 256
//
// transpose_kernel
//   Purpose   weight[row + r, column + i] = source[i, r], 0 where i is behind the source's rows
//   Inputs    source [columns, rows], dense, of type S
//   Outputs   as above
//   Grid      (tiles of 32 × 32, at most 8 a multiprocessor); block (32, 8)
//   Shared    32 · 33 float32, 4,224 bytes: the odd stride keeps its columns in 32 banks
//
// Both need no alignment. Roofline: a piece of 16 MiB of bf16 is read and written
// once, 32 MiB: 17 µs at 2.0 TB/s, 10 µs at 3.35 TB/s, while the bus takes 600 µs for
// it at 28 GB/s (PCIe 4.0) and 300 µs at 55 GB/s (5.0). Llama-2-7B's 13.5 GB are 804
// pieces: 14 ms and 8 ms of conversion in 480 ms and 245 ms of copies. The bus, or
// the disk, bounds it, so the kernels read and write elements one by one.
#include "host.cuh"

#include <algorithm>
#include <cstring>

namespace sbc {

constexpr int kConvertThreads = 256;
constexpr int kTile = 32;
constexpr int kTileRows = 8; // of threads; each takes kTile / kTileRows rows of a tile

// Part is the rectangle of a weight that a piece fills, and where it lies in it. Of
// the rectangle's width columns the piece has the first have; the others are padding.
template <typename T> struct Part {
    T *weight;
    int64_t ld, row, column;
    int rows, have, width;
};

template <typename S, typename T>
static __global__ void __launch_bounds__(kConvertThreads) convert_kernel(Part<T> p, const S *source) {
    const uint32_t n = uint32_t(p.rows) * uint32_t(p.width), step = gridDim.x * blockDim.x;
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        const int r = int(i / uint32_t(p.width)), k = int(i % uint32_t(p.width));
        const float x = k < p.have ? to_float(source[int64_t(r) * p.have + k]) : 0.0f;
        p.weight[(p.row + r) * p.ld + p.column + k] = from_float<T>(x);
    }
}

template <typename S, typename T>
static __global__ void __launch_bounds__(kTile * kTileRows) transpose_kernel(Part<T> p, const S *source) {
    SBC_SHARED(float, tile, kTile * (kTile + 1));
    const int across = ceil_div(p.width, kTile), tiles = across * ceil_div(p.rows, kTile);
    const int x = threadIdx.x;
    for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
        const int r0 = t / across * kTile, k0 = t % across * kTile;
        for (int y = threadIdx.y; y < kTile; y += kTileRows) {
            const int k = k0 + y, r = r0 + x;
            tile[y * (kTile + 1) + x] = k < p.have && r < p.rows ? to_float(source[int64_t(k) * p.rows + r]) : 0.0f;
        }
        __syncthreads();
        for (int y = threadIdx.y; y < kTile; y += kTileRows) {
            const int r = r0 + y, k = k0 + x;
            if (r < p.rows && k < p.width) p.weight[(p.row + r) * p.ld + p.column + k] = from_float<T>(tile[x * (kTile + 1) + y]);
        }
        __syncthreads();
    }
}

// Rect is a piece: of a source's lines (rows, or columns of a transposed weight)
// some, whole, or a part of one that does not fit a piece.
struct Rect {
    int64_t line, at; // first line, and where in it the piece begins
    int lines, length;
};

template <typename S, typename T> static int convert(sbc_context *c, const sbc_weight *w, bool transposed, int n0, const Rect &r, const void *piece) {
    Part<T> p;
    p.weight = reinterpret_cast<T *>(w->data);
    p.ld = w->ld ? w->ld : w->k;
    p.row = n0 + (transposed ? r.at : r.line);
    p.column = transposed ? r.line : r.at;
    p.rows = transposed ? r.length : r.lines;
    p.have = transposed ? r.lines : r.length;
    // Whoever writes a row's last element writes its padding.
    p.width = int(p.column + p.have == w->k ? p.ld - p.column : p.have);
    const int most = 8 * c->about.sms;
    const S *source = static_cast<const S *>(piece);
    if (transposed && r.lines > 1) { // one line is one column of rows, as it is
        const int64_t tiles = int64_t(ceil_div(p.width, kTile)) * ceil_div(p.rows, kTile);
        const dim3 grid(unsigned(std::min<int64_t>(tiles, most)));
        return SBC_LAUNCH(c, (transpose_kernel<S, T>), grid, dim3(kTile, kTileRows), 0, p, source);
    }
    const int64_t blocks = (int64_t(p.rows) * p.width + kConvertThreads - 1) / kConvertThreads;
    const dim3 grid(unsigned(std::min<int64_t>(blocks, most)));
    return SBC_LAUNCH(c, (convert_kernel<S, T>), grid, dim3(kConvertThreads), 0, p, source);
}

template <typename S> static int convert_from(sbc_context *c, const sbc_weight *w, bool transposed, int n0, const Rect &r, const void *piece) {
    int status = SBC_ARGUMENT;
    SBC_BY_DTYPE(w->ld ? c->options.dtype : int(SBC_F32), status = convert<S, T>(c, w, transposed, n0, r, piece));
    return status;
}

// convert_piece converts a piece that is on the device.
static int convert_piece(sbc_context *c, const sbc_weight *w, int dtype, bool transposed, int n0, const Rect &r, const void *piece) {
    int status = SBC_ARGUMENT;
    SBC_BY_DTYPE(dtype, status = convert_from<T>(c, w, transposed, n0, r, piece));
    return status;
}

// open_pieces takes what pieces are loaded through, unless it is there.
static int open_pieces(sbc_context *c) {
    for (Piece &p : c->host->pieces) {
        void *host = nullptr, *device = nullptr;
        if (!p.done) SBC_TRY(event_take(c, cudaEventDisableTiming, &p.done));
        if (!p.host) {
            SBC_TRY(pinned_take(c, SBC_STAGE, "a piece of a weight", &host));
            p.host = static_cast<char *>(host);
        }
        if (!p.device) {
            SBC_TRY(device_take(c, SBC_STAGE, "a piece of a weight", &device));
            p.device = static_cast<char *>(device);
        }
    }
    return SBC_OK;
}

// close_pieces gives it back, all of it even if something cannot be, and returns the first failure.
static int close_pieces(sbc_context *c) {
    int status = SBC_OK;
    for (Piece &p : c->host->pieces) {
        char *host = p.host, *device = p.device;
        p.host = p.device = nullptr;
        p.used = false;
        int s = device ? device_give(c, device) : int(SBC_OK);
        if (status == SBC_OK) status = s;
        s = host ? pinned_give(c, host) : int(SBC_OK);
        if (status == SBC_OK) status = s;
    }
    return status;
}

// send takes one piece to the device and converts it there.
static int send(sbc_context *c, const sbc_weight *w, const char *src, int dtype, bool transposed, int n0, const Rect &r) {
    Host *h = c->host;
    Piece &p = h->pieces[h->piece];
    if (p.used) SBC_TRY(check(c, cudaEventSynchronize(p.done), "waiting for a piece of a weight"));
    p.used = false;
    const size_t bytes = size_t(r.lines) * size_t(r.length) * dtype_bytes(dtype);
    memcpy(p.host, src, bytes);
    SBC_TRY(check(c, cudaMemcpyAsync(p.device, p.host, bytes, cudaMemcpyHostToDevice, c->stream), "copying a weight"));
    int status = convert_piece(c, w, dtype, transposed, n0, r, p.device);
    if (status == SBC_OK) status = check(c, cudaEventRecord(p.done, c->stream), "marking the end of a piece");
    if (status != SBC_OK) {
        drain(c); // the copy reads what the next piece is written over
        return status;
    }
    p.used = true;
    h->piece = (h->piece + 1) % kPieces;
    return SBC_OK;
}

// check_load says whether a tensor can be loaded into those rows of the weight.
static int check_load(sbc_context *c, const sbc_weight *w, const void *src, int dtype, int n0, int n) {
    if (!w || !src) return fail(c, SBC_ARGUMENT, "sbc_load needs a weight and a source");
    if (dtype < SBC_F32 || dtype > SBC_F16) return fail(c, SBC_ARGUMENT, "dtype %d is unknown", dtype);
    const uint64_t bytes = sbc_weight_bytes(c->options.dtype, w->n, w->k, w->ld == 0);
    if (bytes == 0 || (w->ld != 0 && w->ld != round_up(w->k, kMatrixAlign)))
        return fail(c, SBC_ARGUMENT, "there is no weight [%d, %d] with rows of %d", w->n, w->k, w->ld);
    if (!owns(c, w->data, bytes)) return fail(c, SBC_ARGUMENT, "weight [%d, %d] is not within memory that sbc_alloc gave", w->n, w->k);
    if (n0 < 0 || n < 1 || n > w->n - n0) return fail(c, SBC_ARGUMENT, "%d rows from row %d of a weight of %d", n, n0, w->n);
    return SBC_OK;
}

} // namespace sbc

using namespace sbc;

uint64_t sbc_weight_bytes(int32_t dtype, int32_t n, int32_t k, int32_t table) {
    if (dtype < SBC_F32 || dtype > SBC_F16 || n < 1 || k < 1 || k > INT32_MAX - kMatrixAlign) return 0;
    if (table) return uint64_t(n) * uint64_t(k) * sizeof(float);
    return uint64_t(n) * uint64_t(round_up(k, kMatrixAlign)) * dtype_bytes(dtype);
}

int sbc_load(sbc_context *c, const sbc_weight *w, const void *src, int32_t dtype, int32_t transposed, int32_t n0, int32_t n) {
    SBC_TRY(enter(c, false));
    SBC_TRY(check_load(c, w, src, dtype, n0, n));
    int status = open_pieces(c);
    if (status != SBC_OK) {
        close_pieces(c);
        return status;
    }
    const int64_t size = int64_t(dtype_bytes(dtype)), room = SBC_STAGE / size;
    const int64_t lines = transposed ? w->k : n, length = transposed ? n : w->k;
    const char *from = static_cast<const char *>(src);
    Rect r = {};
    for (r.line = 0; r.line < lines; r.line += r.lines) {
        r.lines = int(std::clamp<int64_t>(room / length, 1, lines - r.line));
        for (r.at = 0; r.at < length; r.at += r.length) {
            r.length = int(std::min(room, length - r.at));
            SBC_TRY(send(c, w, from + (r.line * length + r.at) * size, dtype, transposed, n0, r));
        }
    }
    return SBC_OK;
}

int sbc_load_done(sbc_context *c) {
    SBC_TRY(enter(c, false));
    int status = finish(c), closed = close_pieces(c);
    return status != SBC_OK ? status : closed;
}
