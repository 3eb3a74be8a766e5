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
  T* partial;  // (S, threads)
  T* outputs;  // (N_OUTPUT_ARRAYS, S, n_out)
  T* matrices; // (S, n_out, 2 n_out)
  int* flags;  // (N_FLAGS, S)
  double* scalars; // (N_SCALARS, S)
};

enum { N_OUTPUT_ARRAYS = 6, N_FLAGS = 4, N_SCALARS = 8 };

template <typename T, int S>
__device__ inline Group<T, S> group_of_block(const Plan<T>* p) {
  Group<T, S> g;
  g.p = p;
  Int per_replica = (p->batch + S - 1) / S;
  g.replica = blockIdx.x / per_replica;
  Int sample = (blockIdx.x % per_replica) * S;
  g.first = g.replica * p->batch + sample;
  g.samples = int(p->batch - sample < S ? p->batch - sample : S);
  g.settings = p->settings + g.replica * N_SETTINGS;
  Int width = p->widest > p->n_out ? p->widest : p->n_out;
  g.scalars = (double*)BLOCK_MEMORY;
  T* free = (T*)(g.scalars + N_SCALARS * S);
  g.below = free;
  g.above = g.below + S * width;
  g.partial = g.above + S * width;
  g.outputs = g.partial + S * blockDim.x;
  free = g.outputs + N_OUTPUT_ARRAYS * S * p->n_out;
  g.flags = (int*)free;
  // Four integers a sample keep what follows aligned for either precision.
  free = (T*)(g.flags + N_FLAGS * S);
  g.matrices = p->matrices_in_block ? free : p->matrices + g.first * 2 * p->n_out * p->n_out;
  return g;
}

// Array k of (S, n_out), of those that a group keeps at hand.
template <typename T, int S>
__device__ inline T* output_array(const Group<T, S>& g, int k) {
  return g.outputs + k * S * g.p->n_out;
}

// Add the terms i, i + parts, … of every sample's sum, WEIGHTS_AT_ONCE of them: W points to the
// weight of the first, the next lies `step` further; below to its rate, of n a sample. Not
// ALL of them need be there, but only those less than `left` behind the first.
template <bool ALL, typename T, int S>
__device__ inline void add_terms(
    const T* W, int step, const T* below, int n, int parts, int left, T (&sum)[S]) {
  T w[WEIGHTS_AT_ONCE];
#pragma unroll
  for (int k = 0; k < WEIGHTS_AT_ONCE; ++k)
    w[k] = ALL || k * parts < left ? W[k * step] : T(0);
#pragma unroll
  for (int k = 0; k < WEIGHTS_AT_ONCE; ++k) {
    if (!ALL && k * parts >= left) continue;
#pragma unroll
    for (int s = 0; s < S; ++s) sum[s] += below[s * n + k * parts] * w[k];
  }
}

// above[s] = below[s] W for every sample, W (rows, columns); the terms of a sum are shared out
// where there are more threads than columns. All threads must call; they meet at both ends.
template <typename T, int S>
__device__ inline void group_product(
    const Group<T, S>& g, const T* W, Int rows, Int columns, const T* below, T* above) {
  int n = int(rows), m = int(columns), threads = int(blockDim.x);
  int at_once = m < threads ? m : threads, parts = threads / at_once;
  int part = int(threadIdx.x) / at_once, column = int(threadIdx.x) % at_once;
  __syncthreads();
  for (int start = 0; start < m; start += at_once) {
    int j = start + column;
    T sum[S];
#pragma unroll
    for (int s = 0; s < S; ++s) sum[s] = 0;
    if (part < parts && j < m) {
      const T* w = W + Int(part) * m + j;
      int i = part, stride = WEIGHTS_AT_ONCE * parts;
      for (; i + stride - parts < n; i += stride, w += Int(stride) * m)
        add_terms<true>(w, parts * m, below + i, n, parts, n - i, sum);
      if (i < n) add_terms<false>(w, parts * m, below + i, n, parts, n - i, sum);
    }
#pragma unroll
    for (int s = 0; s < S; ++s) g.partial[s * threads + threadIdx.x] = sum[s];
    __syncthreads();
    if (part == 0 && j < m) {
      for (int s = 0; s < g.samples; ++s) {
        T total = 0;
        for (int k = 0; k < parts; ++k) total += g.partial[s * threads + k * at_once + column];
        above[s * m + j] = total;
      }
    }
    __syncthreads();
  }
}
