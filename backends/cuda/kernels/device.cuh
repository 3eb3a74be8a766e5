// What device code needs of CUDA. Compiled for a CPU, the header that drives it (in the
// tests) defines CUDA's words first: every kernel then runs as plain C++.
#pragma once

#ifdef __CUDACC__
// Memory of the block, its size set at launch; a group's arrays are carved out of it.
extern __shared__ double block_memory[];
#define BLOCK_MEMORY block_memory
// Threads of a warp; blocks have a whole number of warps.
#define WARP 32
#endif
#define ALL_LANES 0xffffffffu

// Threads of the blocks that work on groups, at most, and blocks that a processor need hold at
// once: with all registers for so many. Left to itself the compiler makes room for two blocks,
// and then keeps what it works with in memory.
enum { MOST_THREADS = 512 };
#define GROUP_BOUNDS MOST_THREADS, 1

// NVRTC has no headers with a name for it.
#define INFINITE (-log(0.0))

typedef long long Int;
typedef unsigned long long Count;
