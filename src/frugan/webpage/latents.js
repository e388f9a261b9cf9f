// The latents that `frugan sample --seed S` gives its first image, so that a seed means the same image here and there.
//
// Three steps, as in frugan.seeds and frugan.latents: a seed by name (BLAKE2b), random numbers (Mersenne Twister, Matsumoto
// and Nishimura 1998), normal ones in blocks of sixteen (Box and Muller 1958), which is how torch fills a tensor on a CPU.

const MASK = (1n << 64n) - 1n;
const INITIAL = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const ORDERS = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const MIXED = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];

// The 63-bit seed of the stream called `text`: the first eight bytes of its BLAKE2b-64, halved (RFC 7693; one block).
function derived(text) {
  const words = new Array(16).fill(0n);
  for (let i = 0; i < text.length; i++) words[i >> 3] |= BigInt(text.charCodeAt(i)) << BigInt(8 * (i & 7));
  const start = [...INITIAL];
  start[0] ^= 0x01010008n; // no key, a digest of eight bytes
  const v = [...start, ...INITIAL];
  v[12] ^= BigInt(text.length);
  v[14] ^= MASK; // this is the last block
  const turned = (value, bits) => ((value >> bits) | (value << (64n - bits))) & MASK;
  for (let round = 0; round < 12; round++) {
    const order = ORDERS[round % 10];
    MIXED.forEach(([a, b, c, d], i) => {
      v[a] = (v[a] + v[b] + words[order[2 * i]]) & MASK;
      v[d] = turned(v[d] ^ v[a], 32n);
      v[c] = (v[c] + v[d]) & MASK;
      v[b] = turned(v[b] ^ v[c], 24n);
      v[a] = (v[a] + v[b] + words[order[2 * i + 1]]) & MASK;
      v[d] = turned(v[d] ^ v[a], 16n);
      v[c] = (v[c] + v[d]) & MASK;
      v[b] = turned(v[b] ^ v[c], 63n);
    });
  }
  return (start[0] ^ v[0] ^ v[8]) >> 1n;
}

// `count` numbers in [0, 1) with 24 bits each, from the Mersenne Twister with this 32-bit seed.
function uniforms(seed, count) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  const numbers = new Float64Array(count);
  for (let i = 0, at = 624; i < count; i++, at++) {
    if (at === 624) {
      for (let j = 0; j < 624; j++) {
        const mixed = (state[j] & 0x80000000) | (state[(j + 1) % 624] & 0x7fffffff);
        state[j] = state[(j + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    }
    let word = state[at];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    word ^= word >>> 18;
    numbers[i] = (word & 0xffffff) / 16777216;
  }
  return numbers;
}

// Latents [size] of `seed`; `distribution` is "normal" or "uniform" (on -1 to 1).
export function latentsOf(seed, size, distribution) {
  const blocks = Math.ceil(size / 16) * 16;
  const drawn = uniforms(Number(derived(`${seed}/latents/0`) & 0xffffffffn), blocks);
  const latents = new Float32Array(blocks);
  if (distribution === "uniform") return latents.map((_, i) => drawn[i] * 2 - 1).slice(0, size);
  for (let i = 0; i < blocks; i += 16) {
    for (let j = i; j < i + 8; j++) {
      const radius = Math.sqrt(-2 * Math.log(1 - drawn[j])), angle = 2 * Math.PI * drawn[j + 8];
      latents[j] = radius * Math.cos(angle);
      latents[j + 8] = radius * Math.sin(angle);
    }
  }
  return latents.slice(0, size);
}

// Normal latents mapped to the normal distribution cut off at +-limit, their order kept, as frugan.latents does.
export function truncated(latents, limit) {
  const tail = below(-limit);
  return latents.map((value) => Math.max(-limit, Math.min(limit, quantile(below(value) * (1 - 2 * tail) + tail))));
}

// The share of the normal distribution below x: a series near the middle, a continued fraction in the tails.
function below(x) {
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI), far = Math.abs(x);
  if (far < 3) {
    let term = x, sum = x;
    for (let i = 3; Math.abs(term) > 1e-17 * Math.abs(sum); i += 2) sum += term *= (x * x) / i;
    return 0.5 + density * sum;
  }
  let fraction = far;
  for (let i = 60; i > 0; i--) fraction = far + i / fraction;
  return x < 0 ? density / fraction : 1 - density / fraction;
}

// The inverse of `below`, by Newton's steps from the middle of the distribution.
function quantile(share) {
  if (share > 0.5) return -quantile(1 - share);
  let x = share < 0.02 ? -Math.sqrt(-2 * Math.log(share)) + 0.4 : 0;
  for (let i = 0; i < 40; i++) {
    const error = below(x) - share, slope = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI), step = error / slope;
    x -= step / Math.max(0.5, 1 + (step * x) / 2); // Halley's correction
    if (Math.abs(step) < 1e-13 * (1 + Math.abs(x))) break;
  }
  return x;
}

// Latents between two, a share `at` of the way: on the arc for normal ones, whose length matters, else on the line.
export function between(from, to, at, distribution) {
  let first = 1 - at, second = at;
  if (distribution === "normal") {
    const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
    const angle = Math.acos(Math.max(-1, Math.min(1, dot(from, to) / Math.sqrt(dot(from, from) * dot(to, to)))));
    if (angle > 1e-4) [first, second] = [Math.sin(first * angle) / Math.sin(angle), Math.sin(at * angle) / Math.sin(angle)];
  }
  return from.map((value, i) => first * value + second * to[i]);
}
