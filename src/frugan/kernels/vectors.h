// Vectors of floats in whatever width the processor has, loaded from and stored as float or bfloat16.

#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

struct bf16 {
    uint16_t bits;
};

template <int V> struct Types {
    typedef float Floats __attribute__((vector_size(V * 4)));
    typedef uint32_t Wide __attribute__((vector_size(V * 4)));
    typedef uint16_t Half __attribute__((vector_size(V * 2)));
};
template <int V> using Vec = typename Types<V>::Floats;

template <int V> static inline Vec<V> load(const float* from) {
    Vec<V> value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

template <int V> static inline void store(float* to, Vec<V> value) { std::memcpy(to, &value, sizeof(value)); }

template <int V> static inline Vec<V> load(const bf16* from) {
    typename Types<V>::Half half;
    std::memcpy(&half, from, sizeof(half));
    const auto wide = __builtin_convertvector(half, typename Types<V>::Wide) << 16;
    return (Vec<V>)wide;
}

// To the nearest, ties to even; what is not a number stays none, so that it is found.
template <int V> static inline void store(bf16* to, Vec<V> value) {
    typedef typename Types<V>::Wide Wide;
    const Wide bits = (Wide)value;
    const Wide rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Wide number = (Wide)(value == value);
    const auto half = __builtin_convertvector((rounded & number) | (0x7fc0 & ~number), typename Types<V>::Half);
    std::memcpy(to, &half, sizeof(half));
}

// Runs `call`, which may use V and c, for blocks of V channels from c on: as wide as possible, then narrower ones.
#define OVER_CHANNELS_FROM(begin, end, call)                                  \
    {                                                                         \
        int64_t c = begin;                                                    \
        for (constexpr int V = LANES; c + V <= (end); c += V) call;           \
        for (constexpr int V = 4; c + V <= (end); c += V) call;               \
        for (constexpr int V = 1; c + V <= (end); c += V) call;               \
    }
#define OVER_CHANNELS(end, call) OVER_CHANNELS_FROM(0, end, call)
