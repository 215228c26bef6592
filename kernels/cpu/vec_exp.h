// vec_exp.h: the exponential that activations and attention use; included once a
// vector width.

// v_exp is eˣ, relative error below 1.5·2⁻²³ for x in [-87.33, 88.37]; 0 below
// (what is left of float32's range there are subnormals), infinite above, NaN
// for NaN, exactly 1 at 0. With n = round(x/ln 2) and r = x − n·ln 2 it is
// 2ⁿ·(1 + r + r²·q(r)); q is the minimax polynomial for the relative error
// (0.06·2⁻²⁴ before rounding), ln 2 is taken in two parts, the first exact in n·ln 2.
FN V v_exp(V x) {
    V n = v_round(v_mul(x, v_set1(1.44269504f)));
    V r = v_fnma(n, v_set1(0.693359375f), x);
    r = v_fnma(n, v_set1(-2.12194440e-4f), r);
    V q = v_fma(v_set1(0.0013814599f), r, v_set1(0.008368717f));
    q = v_fma(q, r, v_set1(0.04166839f));
    q = v_fma(q, r, v_set1(0.16666521f));
    q = v_fma(q, r, v_set1(0.49999994f));
    V y = v_fma(v_mul(r, r), q, r);
    return v_clip(v_mul(v_add(y, v_set1(1)), v_pow2(n)), x, -87.33f, 88.37f);
}
