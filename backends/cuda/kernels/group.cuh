// A block of threads that works on a group of up to S samples of one replica.
#pragma once

#include "plan.cuh"

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

// Sum of the threads' values, in an order that depends on their number alone; all must call.
template <typename T>
__device__ inline T block_sum(T value, T* partial) {
  __syncthreads();
  partial[threadIdx.x] = value;
  __syncthreads();
  for (int n = blockDim.x; n > 1;) {
    int half = (n + 1) / 2;
    if (int(threadIdx.x) < n / 2) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
    n = half;
  }
  T total = partial[0];
  __syncthreads();
  return total;
}

// Largest of the threads' values, likewise.
template <typename T>
__device__ inline T block_largest(T value, T* partial) {
  __syncthreads();
  partial[threadIdx.x] = value;
  __syncthreads();
  T largest = partial[0];
  for (int t = 1; t < blockDim.x; ++t) largest = partial[t] > largest ? partial[t] : largest;
  __syncthreads();
  return largest;
}

// above[s] = below[s] W for every sample, W (n, m); the terms of a sum are shared out where
// there are more threads than columns. All threads must call; they meet at both ends.
template <typename T, int S>
__device__ inline void group_product(
    const Group<T, S>& g, const T* W, Int n, Int m, const T* below, T* above) {
  int columns = m < Int(blockDim.x) ? int(m) : int(blockDim.x);
  int parts = blockDim.x / columns;
  int part = threadIdx.x / columns, column = threadIdx.x % columns;
  __syncthreads();
  for (Int start = 0; start < m; start += columns) {
    Int j = start + column;
    T sum[S];
    for (int s = 0; s < S; ++s) sum[s] = 0;
    if (part < parts && j < m) {
#pragma unroll 8
      for (Int i = part; i < n; i += parts) {
        T w = W[i * m + j];
        for (int s = 0; s < S; ++s) sum[s] += below[s * n + i] * w;
      }
    }
    for (int s = 0; s < S; ++s) g.partial[s * blockDim.x + threadIdx.x] = sum[s];
    __syncthreads();
    if (part == 0 && j < m) {
      for (int s = 0; s < g.samples; ++s) {
        T total = 0;
        for (int k = 0; k < parts; ++k) total += g.partial[s * blockDim.x + k * columns + column];
        above[s * m + j] = total;
      }
    }
    __syncthreads();
  }
}
