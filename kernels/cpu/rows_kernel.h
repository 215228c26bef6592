// rows_kernel.h: what works on whole rows; included once a vector width.
//
// Purpose   norm, activation and addition. doc.go of package kernels has the
//           equations, vec_exp.h the exponential.
// Shapes    rows [rows, width] float32, dense.
// Threads   a row belongs to one thread; rows.c deals them out.
// Sums      float32, four vectors of partial sums: term i goes to lane i mod 4W, the
//           lanes are added last, so a row's sums depend on its width alone.
// Bound by  memory (cache) for norm and addition, arithmetic (about 25 instructions
//           for 16 elements, one division) for activations.

KERNEL void ISA(vexp)(float *dst, const float *src, int n) {
    for (; n >= W; n -= W, dst += W, src += W)
        v_store(dst, v_exp(v_load(src)));
    if (n > 0)
        v_store_n(dst, v_exp(v_load_n(src, n)), n);
}

// moment is Σ (row[i] − mean)², or Σ row[i] when square is 0.
FN float ISA(moment)(const float *row, int width, float mean, const int square) {
    V s[4] = {v_set1(0), v_set1(0), v_set1(0), v_set1(0)}, m = v_set1(mean);
    for (int i = 0; i < width; i += 4 * W)
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            int n = width - i - u * W;
            if (n <= 0)
                break;
            const float *p = row + i + u * W;
            V v = n >= W ? v_load(p) : v_load_n(p, n);
            if (square) {
                v = v_sub(v, m);
                v = n >= W ? v : v_keep(v, v_set1(0), 0, n);
                s[u] = v_fma(v, v, s[u]);
            } else {
                s[u] = v_add(s[u], v);
            }
        }
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

KERNEL void ISA(add)(float *out, const float *x, const float *y, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W)
        v_store(out + i, v_add(v_load(x + i), v_load(y + i)));
    if (i < n)
        v_store_n(out + i, v_add(v_load_n(x + i, (int)(n - i)), v_load_n(y + i, (int)(n - i))), (int)(n - i));
}

KERNEL void ISA(norm)(const norm_job *j, int lo, int hi) {
    const int width = j->width;
    for (int t = lo; t < hi; t++) {
        float *x = j->x + (size_t)t * width, *out = j->out + (size_t)t * width;
        if (j->delta)
            ISA(add)(x, x, j->delta + (size_t)t * width, (size_t)width);
        float mean = j->mean ? ISA(moment)(x, width, 0, 0) / (float)width : 0;
        float variance = ISA(moment)(x, width, mean, 1) / (float)width;
        V m = v_set1(mean), scale = v_div(v_set1(1), v_sqrt(v_set1(variance + j->eps)));
        for (int i = 0; i < width; i += W) {
            int n = width - i;
            V v = n >= W ? v_load(x + i) : v_load_n(x + i, n);
            v = v_mul(v_sub(v, m), scale);
            V w = n >= W ? v_load(j->weight + i) : v_load_n(j->weight + i, n);
            if (j->bias)
                v = v_fma(v, w, n >= W ? v_load(j->bias + i) : v_load_n(j->bias + i, n));
            else
                v = v_mul(v, w);
            if (n >= W)
                v_store(out + i, v);
            else
                v_store_n(out + i, v, n);
        }
    }
}

// Both functions are x·σ(u) = x / (1 + e⁻ᵘ): SiLU with u = x, and, since
// (1 + tanh u)/2 = σ(2u), the tanh form of GELU with u = 2·√(2/π)·(x + 0.044715·x³).
// In this form the small values left of zero keep their relative precision.
FN V ISA(act)(V x, const int act) {
    V u = x;
    if (act == CPU_GELU_TANH)
        u = v_mul(v_mul(x, v_set1(1.59576912f)), v_fma(v_mul(x, x), v_set1(0.044715f), v_set1(1)));
    return v_div(x, v_add(v_set1(1), v_exp(v_sub(v_set1(0), u))));
}

FN void ISA(activate_row)(float *out, const float *x, int width, const int act, const int gated) {
    for (int i = 0; i < width; i += W) {
        int n = width - i;
        V y = ISA(act)(n >= W ? v_load(x + i) : v_load_n(x + i, n), act);
        if (gated)
            y = v_mul(y, n >= W ? v_load(x + width + i) : v_load_n(x + width + i, n));
        if (n >= W)
            v_store(out + i, y);
        else
            v_store_n(out + i, y, n);
    }
}

KERNEL void ISA(activate)(const activate_job *j, int lo, int hi) {
    for (int t = lo; t < hi; t++) {
        float *out = j->out + (size_t)t * j->width;
        const float *x = j->x + (size_t)t * j->width * (j->gated ? 2 : 1);
        if (j->act == CPU_GELU_TANH)
            j->gated ? ISA(activate_row)(out, x, j->width, CPU_GELU_TANH, 1)
                     : ISA(activate_row)(out, x, j->width, CPU_GELU_TANH, 0);
        else
            j->gated ? ISA(activate_row)(out, x, j->width, CPU_SILU, 1)
                     : ISA(activate_row)(out, x, j->width, CPU_SILU, 0);
    }
}
