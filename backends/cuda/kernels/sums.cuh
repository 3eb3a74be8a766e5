// Sums whose terms are read several at once, and sums over threads.
//
// Memory answers after some hundred cycles, and a thread waits at the first use of what it
// asked for. So every long sum here, and wherever a kernel has one, first reads a few terms into
// locals and then adds them: one wait for all of them. A loop that is merely unrolled does not
// do that, for its end is tested after each term; nor do stores between the loads, past which
// no load moves, for they might write what it reads.
#pragma once

#include "device.cuh"

// Terms of a product that a thread reads at once, and terms of other sums: all ten classes of
// the usual data.
enum { WEIGHTS_AT_ONCE = 8, AT_ONCE = 10 };

// Read the first `count` of AT_ONCE numbers that lie `stride` apart, at once; those that there
// are not become 0.
template <typename T, typename Stored>
__device__ inline void read_at_once(
    T (&numbers)[AT_ONCE], const Stored* at, int stride, int count) {
  // Without tests where all are there: loads that wait for one come one by one.
  if (count >= AT_ONCE) {
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) numbers[k] = T(at[k * stride]);
  } else {
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) numbers[k] = k < count ? T(at[k * stride]) : T(0);
  }
}

// Sum, in order, of n numbers that lie `stride` apart.
template <typename T>
__device__ inline T sum_of_column(const T* at, int stride, int n) {
  T sum = 0, terms[AT_ONCE];
  for (int first = 0; first < n; first += AT_ONCE) {
    read_at_once(terms, at + Int(first) * stride, stride, n - first);
    // A 0 behind the last changes no bit; tested for, each load would move to its own addition.
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) sum += terms[k];
  }
  return sum;
}

// The thread's warp in its block, its lane in that, and how many warps there are.
__device__ inline int warp_of_thread() { return threadIdx.x / WARP; }
__device__ inline int lane_of_thread() { return threadIdx.x % WARP; }
__device__ inline int warps_of_block() { return blockDim.x / WARP; }

// Sum of the lanes' values, for each of them, in an order that does not change; all must call.
template <typename T>
__device__ inline T warp_sum(T value) {
  for (int apart = WARP / 2; apart > 0; apart /= 2)
    value += __shfl_xor_sync(ALL_LANES, value, apart);
  return value;
}

// Sum of the threads' values, in an order that depends on their number alone; all must call.
template <typename T>
__device__ inline T block_sum(T value, T* partial) {
  __syncthreads();
  partial[threadIdx.x] = value;
  __syncthreads();
  int n = blockDim.x;
  while (n > WARP) {
    int half = (n + 1) / 2;
    if (int(threadIdx.x) < n / 2) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
    n = half;
  }
  // Each warp adds up what is left, for which none need wait for another.
  return warp_sum(lane_of_thread() < n ? partial[lane_of_thread()] : T(0));
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
