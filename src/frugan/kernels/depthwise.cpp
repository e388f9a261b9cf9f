// Depthwise convolution over channels-last images, and its two gradients, as shifted multiply-adds.
//
// One library is compiled for each kernel and stride (KH, KW, SH, SW), so that the loops over a row of taps unroll and a
// tile of neighbouring pixels stays in registers: every input vector is loaded once for all the taps of its row. The
// transposed layer goes by sub-pixel phases: a pixel of residue r takes the taps r, r + S, ... and nothing is multiplied
// by the zeros that a transposed layer inserts.
//
// Images are [n, height, width, channels] in memory, float or bfloat16; weights [KH * KW, channels] and all sums are
// float. Each output is summed in one order, whatever the batch and the number of threads.

#include <cstdint>

#include "vectors.h"

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE = 8;  // pixels whose sums are held in registers, of which there are 32
#else
constexpr int TILE = 4;
#endif
constexpr int AHEAD = (KW + SW - 1) / SW;  // taps of one phase along a row

static inline int floor_div(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

struct Shape {
    int64_t count, height, width, channels;  // of the layer's input
    int64_t out_height, out_width;           // of its output
    int64_t above, left;                     // padding; of a transposed layer, crop
};

// ------------------------------------------------------------------------------------------------------------ forward

template <class T, int V, bool EDGE>
static inline void forward_tile(const T* x, const float* w, const Vec<V> start, T* y, const Shape& s, int64_t oh,
                                int64_t ow) {
    constexpr int WIDE = (TILE - 1) * SW + KW;
    const int64_t C = s.channels, first = ow * SW - s.left;
    Vec<V> sums[TILE];
    for (int t = 0; t < TILE; t++) sums[t] = start;
    for (int i = 0; i < KH; i++) {
        const int64_t ih = oh * SH + i - s.above;
        if (ih < 0 || ih >= s.height) continue;
        const T* row = x + (ih * s.width + first) * C;
        Vec<V> xs[WIDE];
#pragma GCC unroll 64
        for (int k = 0; k < WIDE; k++)
            xs[k] = !EDGE || (first + k >= 0 && first + k < s.width) ? load<V>(row + k * C) : Vec<V>{};
#pragma GCC unroll 64
        for (int j = 0; j < KW; j++) {
            const Vec<V> tap = load<V>(w + (i * KW + j) * C);
#pragma GCC unroll 64
            for (int t = 0; t < TILE; t++) sums[t] += xs[t * SW + j] * tap;
        }
    }
    for (int t = 0; t < TILE; t++)
        if (!EDGE || ow + t < s.out_width) store<V>(y + (oh * s.out_width + ow + t) * C, sums[t]);
}

template <class T, int V>
static void forward_row(const T* x, const float* w, const float* bias, T* y, const Shape& s, int64_t oh, int64_t c) {
    const Vec<V> start = bias ? load<V>(bias + c) : Vec<V>{};
    for (int64_t ow = 0; ow < s.out_width; ow += TILE) {
        const int64_t first = ow * SW - s.left;
        const bool inside = first >= 0 && first + (TILE - 1) * SW + KW <= s.width && ow + TILE <= s.out_width;
        if (inside)
            forward_tile<T, V, false>(x + c, w + c, start, y + c, s, oh, ow);
        else
            forward_tile<T, V, true>(x + c, w + c, start, y + c, s, oh, ow);
    }
}

template <class T>
static void forward(const T* x, const float* w, const float* bias, T* y, const Shape& s, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < s.count * s.out_height; row++) {
        const int64_t n = row / s.out_height, oh = row % s.out_height;
        const T* in = x + n * s.height * s.width * s.channels;
        T* out = y + n * s.out_height * s.out_width * s.channels;
        OVER_CHANNELS(s.channels, (forward_row<T, V>(in, w, bias, out, s, oh, c)))
    }
}

// --------------------------------------------------------------------------- transposed, and the gradient of the input

template <class T, int V, bool EDGE>
static inline void transposed_tile(const T* g, const float* w, const Vec<V> start, T* y, const Shape& s, int64_t row,
                                   int64_t q) {
    constexpr int STEPS = SW >= TILE ? 1 : TILE / SW, WIDE = STEPS + AHEAD - 1;
    const int64_t C = s.channels, a = row + s.above;
    Vec<V> sums[SW][STEPS];
    for (int r = 0; r < SW; r++)
        for (int t = 0; t < STEPS; t++) sums[r][t] = start;
    for (int i = (int)(a - (int64_t)floor_div(a, SH) * SH); i < KH; i += SH) {
        const int64_t gh = floor_div(a - i, SH);
        if (gh < 0 || gh >= s.height) continue;
        const int64_t first = q - (AHEAD - 1);
        const T* line = g + (gh * s.width + first) * C;
        Vec<V> gs[WIDE];
#pragma GCC unroll 64
        for (int k = 0; k < WIDE; k++)
            gs[k] = !EDGE || (first + k >= 0 && first + k < s.width) ? load<V>(line + k * C) : Vec<V>{};
#pragma GCC unroll 64
        for (int j = 0; j < KW; j++) {
            const Vec<V> tap = load<V>(w + (i * KW + j) * C);
#pragma GCC unroll 64
            for (int t = 0; t < STEPS; t++) sums[j % SW][t] += gs[t + AHEAD - 1 - j / SW] * tap;
        }
    }
    for (int t = 0; t < STEPS; t++)
        for (int r = 0; r < SW; r++) {
            const int64_t column = (q + t) * SW + r - s.left;
            if (!EDGE || (column >= 0 && column < s.out_width))
                store<V>(y + (row * s.out_width + column) * C, sums[r][t]);
        }
}

template <class T, int V>
static void transposed_row(const T* g, const float* w, const float* bias, T* y, const Shape& s, int64_t row, int64_t c) {
    constexpr int STEPS = SW >= TILE ? 1 : TILE / SW;
    const Vec<V> start = bias ? load<V>(bias + c) : Vec<V>{};
    const int64_t last = floor_div(s.out_width - 1 + s.left, SW);
    for (int64_t q = floor_div(s.left, SW); q <= last; q += STEPS) {
        const int64_t first = q - (AHEAD - 1), column = q * SW - s.left;
        const bool inside =
            first >= 0 && q + STEPS <= s.width && column >= 0 && column + STEPS * SW <= s.out_width;
        if (inside)
            transposed_tile<T, V, false>(g + c, w + c, start, y + c, s, row, q);
        else
            transposed_tile<T, V, true>(g + c, w + c, start, y + c, s, row, q);
    }
}

template <class T>
static void transposed(const T* g, const float* w, const float* bias, T* y, const Shape& s, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t line = 0; line < s.count * s.out_height; line++) {
        const int64_t n = line / s.out_height, row = line % s.out_height;
        const T* in = g + n * s.height * s.width * s.channels;
        T* out = y + n * s.out_height * s.out_width * s.channels;
        OVER_CHANNELS(s.channels, (transposed_row<T, V>(in, w, bias, out, s, row, c)))
    }
}

// ---------------------------------------------------------------------------------------------- gradient of the weight

constexpr int CHAINS = KW < 4 ? 4 / KW : 1;  // so many sums for each tap that additions need not wait for one another
constexpr int STEP = 4;

template <class T, int V, bool EDGE>
static inline void weight_tile(const T* row, const T* grads, Vec<V> (&sums)[KW][CHAINS], const Shape& s, int64_t ow) {
    constexpr int WIDE = (STEP - 1) * SW + KW;
    const int64_t C = s.channels, first = ow * SW - s.left;
    Vec<V> xs[WIDE], gs[STEP];
#pragma GCC unroll 64
    for (int k = 0; k < WIDE; k++)
        xs[k] = !EDGE || (first + k >= 0 && first + k < s.width) ? load<V>(row + (first + k) * C) : Vec<V>{};
#pragma GCC unroll 64
    for (int t = 0; t < STEP; t++)
        gs[t] = !EDGE || ow + t < s.out_width ? load<V>(grads + (ow + t) * C) : Vec<V>{};
#pragma GCC unroll 64
    for (int t = 0; t < STEP; t++)
#pragma GCC unroll 64
        for (int j = 0; j < KW; j++) sums[j][t % CHAINS] += xs[t * SW + j] * gs[t];
}

template <class T, int V>
static void weight_block(const T* x, const T* g, float* out, const Shape& s, int64_t c) {
    Vec<V> totals[KH][KW] = {};
    for (int64_t oh = 0; oh < s.out_height; oh++) {
        const T* grads = g + oh * s.out_width * s.channels + c;
        for (int i = 0; i < KH; i++) {
            const int64_t ih = oh * SH + i - s.above;
            if (ih < 0 || ih >= s.height) continue;
            const T* row = x + ih * s.width * s.channels + c;
            Vec<V> sums[KW][CHAINS] = {};
            for (int64_t ow = 0; ow < s.out_width; ow += STEP) {
                const int64_t first = ow * SW - s.left;
                const bool inside = first >= 0 && first + (STEP - 1) * SW + KW <= s.width && ow + STEP <= s.out_width;
                if (inside)
                    weight_tile<T, V, false>(row, grads, sums, s, ow);
                else
                    weight_tile<T, V, true>(row, grads, sums, s, ow);
            }
            for (int j = 0; j < KW; j++)
                for (int k = 0; k < CHAINS; k++) totals[i][j] += sums[j][k];
        }
    }
    for (int i = 0; i < KH; i++)
        for (int j = 0; j < KW; j++) store<V>(out + (i * KW + j) * s.channels + c, totals[i][j]);
}

template <class T>
static void weight(const T* x, const T* g, float* out, const Shape& s, int threads) {
    const int64_t blocks = (s.channels + LANES - 1) / LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < s.count * blocks; task++) {
        const int64_t n = task / blocks, from = task % blocks * LANES;
        const int64_t to = from + LANES < s.channels ? from + LANES : s.channels;
        const T* in = x + n * s.height * s.width * s.channels;
        const T* grads = g + n * s.out_height * s.out_width * s.channels;
        float* sums = out + n * KH * KW * s.channels;  // [n, KH * KW, channels]: added up by the caller
        OVER_CHANNELS_FROM(from, to, (weight_block<T, V>(in, grads, sums, s, c)))
    }
}

extern "C" {
void forward_float(const float* x, const float* w, const float* b, float* y, const Shape* s, int threads) {
    forward(x, w, b, y, *s, threads);
}
void forward_bfloat16(const bf16* x, const float* w, const float* b, bf16* y, const Shape* s, int threads) {
    forward(x, w, b, y, *s, threads);
}
void transposed_float(const float* g, const float* w, const float* b, float* y, const Shape* s, int threads) {
    transposed(g, w, b, y, *s, threads);
}
void transposed_bfloat16(const bf16* g, const float* w, const float* b, bf16* y, const Shape* s, int threads) {
    transposed(g, w, b, y, *s, threads);
}
void weight_float(const float* x, const float* g, float* out, const Shape* s, int threads) {
    weight(x, g, out, *s, threads);
}
void weight_bfloat16(const bf16* x, const bf16* g, float* out, const Shape* s, int threads) {
    weight(x, g, out, *s, threads);
}
}
