// A block of threads that works on a group of up to S samples of one replica.
#pragma once

#include "plan.cuh"
#include "sums.cuh"

// Most samples that share one reading of the weights.
template <typename T, int S>
struct Group {
  const Plan<T>* p;
  const T* settings;
  Int replica;
  Int first;   // row of the first sample
  int samples; // fewer than S at the end of a batch
  T* below;    // (S, widest) rates of the layer below
  T* above;    // (S, widest or n_out) what a product gives
  T* partial;  // (S, threads, N_PARTIAL)
  T* outputs;  // (N_OUTPUT_ARRAYS, S, n_out)
  T* matrices; // (S, n_out, 2 n_out)
  int* flags;  // (N_FLAGS, S)
  double* scalars; // (N_SCALARS, S)
};

// Bytes that a thread reads in one go, at most.
enum { WIDEST_PACK = 16 };

// What a group keeps of each sample; of partial sums so many a thread.
enum { N_PARTIAL = 4, N_OUTPUT_ARRAYS = 6, N_FLAGS = 4, N_SCALARS = 8 };

// The group of `samples` rows from `first` on, in the memory of the block.
template <typename T, int S>
__device__ inline Group<T, S> group_of_rows(const Plan<T>* p, Int first, int samples) {
  Group<T, S> g;
  g.p = p;
  g.replica = first / p->batch;
  g.first = first;
  g.samples = samples;
  g.settings = p->settings + g.replica * N_SETTINGS;
  Int width = p->widest > p->n_out ? p->widest : p->n_out;
  g.scalars = (double*)BLOCK_MEMORY;
  // What lies at known places takes no registers to find; four integers a sample keep what follows
  // aligned for either precision.
  g.flags = (int*)(g.scalars + N_SCALARS * S);
  g.below = (T*)(g.flags + N_FLAGS * S);
  g.above = g.below + S * width;
  g.partial = g.above + S * width;
  g.outputs = g.partial + S * blockDim.x * N_PARTIAL;
  T* free = g.outputs + N_OUTPUT_ARRAYS * S * p->n_out;
  g.matrices = p->matrices_in_block ? free : p->matrices + g.first * 2 * p->n_out * p->n_out;
  return g;
}

// The group that this block is for.
template <typename T, int S>
__device__ inline Group<T, S> group_of_block(const Plan<T>* p) {
  int per_replica = int((p->batch + S - 1) / S);
  Int replica = blockIdx.x / per_replica, sample = (blockIdx.x % per_replica) * S;
  Int left = p->batch - sample;
  return group_of_rows<T, S>(p, replica * p->batch + sample, int(left < S ? left : S));
}

// Where a group's replica counts the ends that samples come to, in open loop or under control.
template <typename T, int S>
__device__ inline Count* counts_of(const Group<T, S>& g, bool is_closed) {
  return g.p->counts + (2 * g.replica + is_closed) * N_WAYS;
}

// Which samples' flags are `wanted`, as bits: what a thread still knows when another group has the
// block's memory. It looks at S flags, be there fewer samples: up to an end that it does not know
// the compiler reads four at once, and behind the S lie others, which a thread ahead may set.
template <typename T, int S>
__device__ inline unsigned samples_with(const Group<T, S>& g, const int* flags, int wanted) {
  unsigned found = 0;
#pragma unroll
  for (int s = 0; s < S; ++s) found |= unsigned(s < g.samples && flags[s] == wanted) << s;
  return found;
}

// Array k of (S, n_out), of those that a group keeps at hand.
template <typename T, int S>
__device__ inline T* output_array(const Group<T, S>& g, int k) {
  return g.outputs + k * S * g.p->n_out;
}

// W numbers that lie side by side, read in one go.
template <typename T, int W>
struct alignas(W * sizeof(T)) Pack {
  T of[W];
};

// Add the terms i, i + parts, … of every sample's sums, WEIGHTS_AT_ONCE of them: `weights` points
// to those of the first term, the next lie `step` further; below to its rate, of n a sample.
// Not ALL of them need be there, but only those less than `left` behind the first.
template <bool ALL, typename T, int S, int W>
__device__ inline void add_terms(
    const T* weights, int step, const T* below, int n, int parts, int left, T (&sum)[S][W]) {
  Pack<T, W> w[WEIGHTS_AT_ONCE];
#pragma unroll
  for (int k = 0; k < WEIGHTS_AT_ONCE; ++k)
    w[k] = ALL || k * parts < left ? *(const Pack<T, W>*)(weights + k * step) : Pack<T, W>{};
#pragma unroll
  for (int k = 0; k < WEIGHTS_AT_ONCE; ++k) {
    if (!ALL && k * parts >= left) continue;
#pragma unroll
    for (int s = 0; s < S; ++s) {
      T rate = below[s * n + k * parts];
#pragma unroll
      for (int j = 0; j < W; ++j) sum[s][j] += rate * w[k].of[j];
    }
  }
}

// Who asks for a product: what a kernel does for every sample, or what it does for the few that
// this leaves, whose callers need registers of their own. Each has its copy, so that the few do not
// take from all others the registers in which their weights arrive.
enum Caller { FOR_ALL, FOR_FEW };

// The product below for W columns a thread. A function of its own: it is long, and called often. It
// is told where in the block's memory its arrays begin: of a pointer it would not know that what
// it points to is no weight, and would wait for each weight before it reads the next.
template <Caller CALLER, int W, int S, typename T>
__device__ __noinline__ void product_in_packs(
    int samples, const T* weights, int n, int m, int below_at, int above_at, int partial_at) {
  T* block = (T*)BLOCK_MEMORY;
  const T* below = block + below_at;
  T *above = block + above_at, *partial = block + partial_at;
  int threads = int(blockDim.x), packs = m / W, at_once = packs < threads ? packs : threads;
  // Threads that share the terms of a sum; each has enough of them to read several at once.
  int parts = threads / at_once, enough = (n + WEIGHTS_AT_ONCE - 1) / WEIGHTS_AT_ONCE;
  parts = parts < enough ? parts : enough;
  int part = int(threadIdx.x) / at_once, pack = int(threadIdx.x) % at_once;
  __syncthreads();
  for (int start = 0; start < packs; start += at_once) {
    if (part < parts && start + pack < packs) {
      T sum[S][W];
#pragma unroll
      for (int s = 0; s < S; ++s)
#pragma unroll
        for (int j = 0; j < W; ++j) sum[s][j] = 0;
      const T* w = weights + Int(part) * m + (start + pack) * W;
      int i = part, stride = WEIGHTS_AT_ONCE * parts;
      for (; i + stride - parts < n; i += stride, w += Int(stride) * m)
        add_terms<true>(w, parts * m, below + i, n, parts, n - i, sum);
      if (i < n) add_terms<false>(w, parts * m, below + i, n, parts, n - i, sum);
#pragma unroll
      for (int s = 0; s < S; ++s)
#pragma unroll
        for (int j = 0; j < W; ++j)
          partial[((s * parts + part) * at_once + pack) * W + j] = sum[s][j];
    }
    __syncthreads();
    int columns = (packs - start < at_once ? packs - start : at_once) * W;
    for (int at = threadIdx.x; at < samples * columns; at += threads) {
      int s = at / columns, j = at % columns;
      T total = 0;
      for (int k = 0; k < parts; ++k) total += partial[(s * parts + k) * at_once * W + j];
      above[s * m + start * W + j] = total;
    }
    __syncthreads();
  }
}

// above[s] = below[s] W for every sample, W (n, m); the terms of a sum are shared out where there
// are more threads than columns. All threads must call; they meet at both ends.
template <Caller CALLER, typename T, int S>
__device__ inline void group_product(const Group<T, S>& g, const T* weights, Int n, Int m) {
  enum { W = WIDEST_PACK / sizeof(T) };
  T* block = (T*)BLOCK_MEMORY;
  int below = int(g.below - block), above = int(g.above - block);
  int partial = int(g.partial - block);
  bool lies_in_packs = m % W == 0 && (unsigned long long)weights % WIDEST_PACK == 0;
  if (lies_in_packs)
    product_in_packs<CALLER, W, S>(g.samples, weights, int(n), int(m), below, above, partial);
  else
    product_in_packs<CALLER, 1, S>(g.samples, weights, int(n), int(m), below, above, partial);
}
