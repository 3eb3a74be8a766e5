// CUDA's words for a CPU: a block's threads are fibers, which take turns between barriers.
//
// Run in one order and in the reverse, threads that do not meet where they must see each
// other's numbers too early or too late, and results differ.
#pragma once

#include <cmath>
#include <cstddef>

#define __global__
#define __device__
#define __noinline__
#define __launch_bounds__(n)

using std::exp;
using std::expm1;
using std::fabs;
using std::isfinite;
using std::log;
using std::log1p;
using std::pow;
using std::sqrt;

struct Position {
  int x;
};
extern Position threadIdx, blockIdx, blockDim;
extern double* block_memory;
#define BLOCK_MEMORY block_memory

// Warps are small, so that a small block has several.
#define WARP (blockDim.x % 4 == 0 ? 4 : 1)

// Each barrier knows whose it is, so that a function can be run without its own.
#define __syncthreads() wait_for_the_others(__func__)
void wait_for_the_others(const char* function);
#define __syncwarp() wait_for_the_warp(__func__)
void wait_for_the_warp(const char* function);

// Where a thread of the block puts what the others of its warp take.
double& shown_by(int thread);
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  shown_by(threadIdx.x) = value;
  __syncwarp();
  T other = T(shown_by(threadIdx.x ^ mask));
  __syncwarp();
  return other;
}

inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long n) {
  unsigned long long before = *at;
  *at += n;
  return before;
}
