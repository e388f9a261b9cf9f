// Normalisation over the pixels of each image and channel, scale, shift and perhaps ReLU, over channels-last images.
//
// Forward reads the images twice and writes once; backward reads both twice and writes once, and takes the ReLU's mask
// from what it computes anyway. Statistics are summed in runs of a fixed number of pixels, less the first pixel's
// value (so that nothing is lost where the mean is far larger than the spread), and the runs in double: in one order,
// whatever the number of threads.
//
// Images are [n, pixels, channels] in memory, float or bfloat16; everything per channel is float.

#include <cmath>
#include <cstdint>
#include <vector>

#include "vectors.h"

constexpr int64_t RUN = 512;  // pixels

struct Shape {
    int64_t count, pixels, channels;
    float eps;
    int32_t rectify;
};

template <int V> static inline Vec<V> rectified(Vec<V> value) {
    return value > 0.0f ? value : (value == value ? Vec<V>{} : value);
}

template <class T, int V>
static void run_sums(const T* x, const T* first, float* sums, const Shape& s, int64_t from, int64_t to, int64_t c) {
    const Vec<V> base = load<V>(first + c);
    Vec<V> sum[4] = {}, squares[4] = {};
    int64_t p = from;
    for (; p + 4 <= to; p += 4)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const Vec<V> value = load<V>(x + (p + k) * s.channels + c) - base;
            sum[k] += value;
            squares[k] += value * value;
        }
    for (; p < to; p++) {
        const Vec<V> value = load<V>(x + p * s.channels + c) - base;
        sum[0] += value;
        squares[0] += value * value;
    }
    store<V>(sums + c, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    store<V>(sums + s.channels + c, (squares[0] + squares[1]) + (squares[2] + squares[3]));
}

template <class T, int V>
static inline void finish(const T* x, T* y, const float* scale, const float* shift, const Shape& s, int64_t c) {
    const Vec<V> value = load<V>(x + c) * load<V>(scale + c) + load<V>(shift + c);
    store<V>(y + c, s.rectify ? rectified<V>(value) : value);
}

template <class T>
static void forward(const T* x, const float* weight, const float* bias, T* y, float* mean, float* inverse,
                    const Shape& s, int threads) {
    const int64_t C = s.channels, runs = (s.pixels + RUN - 1) / RUN;
    std::vector<float> sums(s.count * runs * 2 * C), scale(s.count * C), shift(s.count * C);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < s.count * runs; task++) {
        const int64_t n = task / runs, from = task % runs * RUN;
        const int64_t to = from + RUN < s.pixels ? from + RUN : s.pixels;
        const T* image = x + n * s.pixels * C;
        OVER_CHANNELS(C, (run_sums<T, V>(image, image, sums.data() + task * 2 * C, s, from, to, c)))
    }
    for (int64_t n = 0; n < s.count; n++)
        for (int64_t c = 0; c < C; c++) {
            double sum = 0, squares = 0;
            for (int64_t run = 0; run < runs; run++) {
                sum += sums[(n * runs + run) * 2 * C + c];
                squares += sums[(n * runs + run) * 2 * C + C + c];
            }
            const double off = sum / s.pixels, variance = squares / s.pixels - off * off;
            const int64_t at = n * C + c;
            mean[at] = (float)(off + load<1>(x + n * s.pixels * C + c)[0]);
            inverse[at] = (float)(1 / std::sqrt((variance < 0 ? 0 : variance) + s.eps));
            scale[at] = inverse[at] * (weight ? weight[c] : 1.0f);
            shift[at] = (bias ? bias[c] : 0.0f) - mean[at] * scale[at];
        }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < s.count * runs; task++) {
        const int64_t n = task / runs, from = task % runs * RUN;
        const int64_t to = from + RUN < s.pixels ? from + RUN : s.pixels;
        for (int64_t p = n * s.pixels + from; p < n * s.pixels + to; p++)
            OVER_CHANNELS(C, (finish<T, V>(x + p * C, y + p * C, scale.data() + n * C, shift.data() + n * C, s, c)))
    }
}

// The gradient that arrives before the ReLU, and the normalised value.
template <class T, int V>
static inline Vec<V> arriving(const T* x, const T* g, const float* mean, const float* inverse, const float* weight,
                              const float* bias, const Shape& s, int64_t c, Vec<V>& normalised) {
    normalised = (load<V>(x + c) - load<V>(mean + c)) * load<V>(inverse + c);
    const Vec<V> grad = load<V>(g + c);
    if (!s.rectify) return grad;
    return normalised * load<V>(weight + c) + load<V>(bias + c) > 0.0f ? grad : Vec<V>{};
}

template <class T, int V>
static void run_gradients(const T* x, const T* g, const float* mean, const float* inverse, const float* weight,
                          const float* bias, float* sums, const Shape& s, int64_t from, int64_t to, int64_t c) {
    Vec<V> sum[2] = {}, products[2] = {}, normalised;
    for (int64_t p = from; p < to; p++) {
        const Vec<V> grad =
            arriving<T, V>(x + p * s.channels, g + p * s.channels, mean, inverse, weight, bias, s, c, normalised);
        sum[p & 1] += grad;
        products[p & 1] += grad * normalised;
    }
    store<V>(sums + c, sum[0] + sum[1]);
    store<V>(sums + s.channels + c, products[0] + products[1]);
}

template <class T, int V>
static inline void pass(const T* x, const T* g, const float* mean, const float* inverse, const float* weight,
                        const float* bias, const float* means, T* out, const Shape& s, int64_t c) {
    Vec<V> normalised;
    const Vec<V> grad = arriving<T, V>(x, g, mean, inverse, weight, bias, s, c, normalised);
    const Vec<V> left = grad - load<V>(means + c) - normalised * load<V>(means + s.channels + c);
    store<V>(out + c, left * (load<V>(weight + c) * load<V>(inverse + c)));
}

// `sums` is [n, 2, channels]: of the arriving gradient (the shift's), and of it times the normalised value (the scale's).
template <class T>
static void backward(const T* x, const T* g, const float* weight, const float* bias, const float* mean,
                     const float* inverse, T* out, float* sums, const Shape& s, int threads) {
    const int64_t C = s.channels, runs = (s.pixels + RUN - 1) / RUN;
    std::vector<float> of_runs(s.count * runs * 2 * C), means(s.count * 2 * C);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < s.count * runs; task++) {
        const int64_t n = task / runs, from = task % runs * RUN, at = n * s.pixels * C;
        const int64_t to = from + RUN < s.pixels ? from + RUN : s.pixels;
        OVER_CHANNELS(C, (run_gradients<T, V>(x + at, g + at, mean + n * C, inverse + n * C, weight, bias,
                                             of_runs.data() + task * 2 * C, s, from, to, c)))
    }
    for (int64_t n = 0; n < s.count; n++)
        for (int64_t c = 0; c < 2 * C; c++) {
            double sum = 0;
            for (int64_t run = 0; run < runs; run++) sum += of_runs[(n * runs + run) * 2 * C + c];
            sums[n * 2 * C + c] = (float)sum;
            means[n * 2 * C + c] = (float)(sum / s.pixels);
        }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < s.count * runs; task++) {
        const int64_t n = task / runs, from = task % runs * RUN;
        const int64_t to = from + RUN < s.pixels ? from + RUN : s.pixels;
        for (int64_t p = n * s.pixels + from; p < n * s.pixels + to; p++)
            OVER_CHANNELS(C, (pass<T, V>(x + p * C, g + p * C, mean + n * C, inverse + n * C, weight, bias,
                                        means.data() + n * 2 * C, out + p * C, s, c)))
    }
}

extern "C" {
void forward_float(const float* x, const float* w, const float* b, float* y, float* mean, float* inverse,
                   const Shape* s, int threads) {
    forward(x, w, b, y, mean, inverse, *s, threads);
}
void forward_bfloat16(const bf16* x, const float* w, const float* b, bf16* y, float* mean, float* inverse,
                      const Shape* s, int threads) {
    forward(x, w, b, y, mean, inverse, *s, threads);
}
void backward_float(const float* x, const float* g, const float* w, const float* b, const float* mean,
                    const float* inverse, float* out, float* sums, const Shape* s, int threads) {
    backward(x, g, w, b, mean, inverse, out, sums, *s, threads);
}
void backward_bfloat16(const bf16* x, const bf16* g, const float* w, const float* b, const float* mean,
                       const float* inverse, bf16* out, float* sums, const Shape* s, int threads) {
    backward(x, g, w, b, mean, inverse, out, sums, *s, threads);
}
}
