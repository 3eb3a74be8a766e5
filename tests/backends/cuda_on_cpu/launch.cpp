// Runs the kernels of backends/cuda on a CPU, for tests.
#include "cuda_words.h"

#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <ucontext.h>
#include <vector>

#ifdef FLUSH_SUBNORMALS
#include <xmmintrin.h>
#endif

#include "kernels.cu"

Position threadIdx, blockIdx, blockDim;
double* block_memory;

namespace {

constexpr size_t STACK = 256 * 1024;

enum Wait { NOTHING, WARP_MATES, BLOCK_MATES, END };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Wait waits_for;
  double shown;
};

std::vector<Fiber> fibers;
ucontext_t scheduler;
int present = -1;
bool is_warp_divided;
std::string without_barriers;
const std::function<void()>* body;

void run_fiber() {
  (*body)();
  fibers[present].waits_for = END;
  swapcontext(&fibers[present].context, &scheduler);
}

void prepare(int count) {
  while (int(fibers.size()) < count) {
    fibers.emplace_back();
    fibers.back().stack.reset(new char[STACK]);
  }
  for (int f = 0; f < count; ++f) {
    getcontext(&fibers[f].context);
    fibers[f].context.uc_stack.ss_sp = fibers[f].stack.get();
    fibers[f].context.uc_stack.ss_size = STACK;
    fibers[f].context.uc_link = nullptr;
    fibers[f].waits_for = NOTHING;
    makecontext(&fibers[f].context, run_fiber, 0);
  }
}

// The threads of a warp, whose fibers begin at `first`, go on to the block's next barrier, and
// meet at each of the warp's own on the way; how many have a barrier still before them.
int advance_warp(int first, int first_thread, int lanes, bool reversed) {
  for (;;) {
    int waiting_for[END + 1] = {};
    for (int turn = 0; turn < lanes; ++turn) {
      int lane = reversed ? lanes - 1 - turn : turn;
      Fiber& fiber = fibers[first + lane];
      if (fiber.waits_for < BLOCK_MATES) {
        threadIdx.x = first_thread + lane;
        present = first + lane;
        swapcontext(&scheduler, &fiber.context);
        present = -1;
      }
      ++waiting_for[fiber.waits_for];
    }
    if (waiting_for[WARP_MATES] == 0) return waiting_for[BLOCK_MATES];
    // On a device these would wait for ever, for those that have gone on to the block's.
    is_warp_divided |= waiting_for[BLOCK_MATES] > 0;
  }
}

// Every thread of the block whose fibers begin at `first` goes on to its next barrier; how many
// have one still before them.
int advance_block(int first, int threads, bool reversed) {
  int left = 0;
  for (int f = first; f < first + threads; ++f)
    if (fibers[f].waits_for == BLOCK_MATES) fibers[f].waits_for = NOTHING;
  for (int turn = 0; turn < threads / WARP; ++turn) {
    int start = WARP * (reversed ? threads / WARP - 1 - turn : turn);
    left += advance_warp(first + start, start, WARP, reversed);
  }
  return left;
}

void run_block(const std::function<void()>& kernel, int threads, bool reversed) {
  if (threads == 1) {
    threadIdx.x = 0;
    kernel();
    return;
  }
  body = &kernel;
  prepare(threads);
  while (advance_block(0, threads, reversed) > 0) {
  }
}

// All blocks alive at once, one drawn at random going on to its next barrier: as on a device,
// where no block may count on what another has or has not done.
void run_interleaved(
    const std::function<void()>& kernel, int blocks, int threads, size_t numbers, unsigned seed) {
  std::vector<std::vector<double>> memory(blocks);
  for (auto& block : memory) {
    block.resize(numbers);
    std::memset(block.data(), 0xff, numbers * sizeof(double));
  }
  std::vector<int> alive(blocks);
  for (int b = 0; b < blocks; ++b) alive[b] = b;
  std::minstd_rand generator(seed);
  body = &kernel;
  prepare(blocks * threads);
  while (!alive.empty()) {
    int& drawn = alive[generator() % alive.size()];
    blockIdx.x = drawn;
    block_memory = memory[drawn].data();
    if (advance_block(drawn * threads, threads, false) > 0) continue;
    drawn = alive.back();
    alive.pop_back();
  }
}

template <typename T>
std::function<void()> kernel_of(const std::string& name, int samples, const Plan<T>* p, Int n) {
#define PLAIN(kernel) \
  if (name == #kernel) return [=] { kernel<T>(p, n); };
#define GROUPED(kernel)                                          \
  if (name == #kernel && samples == 1) return [=] { kernel<T, 1>(p, n); }; \
  if (name == #kernel && samples == 2) return [=] { kernel<T, 2>(p, n); }; \
  if (name == #kernel && samples == 4) return [=] { kernel<T, 4>(p, n); };
  PLAIN(gather)
  PLAIN(feedback_weights)
  PLAIN(average_feedback)
  PLAIN(closed_loop_target)
  PLAIN(mean_inhibition)
  PLAIN(linearize)
  PLAIN(forward_layer)
  PLAIN(output_error)
  PLAIN(backward_layer)
  PLAIN(bias_gradients)
  PLAIN(begin_descent)
  PLAIN(descend)
  PLAIN(sum_up)
  PLAIN(advance)
  GROUPED(open_loop)
  GROUPED(closed_loop)
  GROUPED(integrate)
  GROUPED(record)
  GROUPED(factors)
  return nullptr;
}

// While one lives numbers below the smallest normal one, read or computed, are 0, if asked for.
struct Flushed {
#ifdef FLUSH_SUBNORMALS
  unsigned before = _mm_getcsr();
  explicit Flushed(bool asked) { _mm_setcsr(before | (asked ? 0x8040 : 0)); }
  ~Flushed() { _mm_setcsr(before); }
#else
  explicit Flushed(bool) {}
#endif
};

}  // namespace

static void wait_for(Wait what, const char* function) {
  // Blocks of one thread have no one to wait for.
  if (present >= 0 && function != without_barriers) {
    Fiber& fiber = fibers[present];
    fiber.waits_for = what;
    swapcontext(&fiber.context, &scheduler);
  }
}

void wait_for_the_others(const char* function) { wait_for(BLOCK_MATES, function); }
void wait_for_the_warp(const char* function) { wait_for(WARP_MATES, function); }
double& shown_by(int thread) { return fibers[present - threadIdx.x + thread].shown; }

// Elementwise functions on arrays, to hold against the reference.
template <typename T>
void rates(Int n, T s, T k, T m, const T* u, T* rate, T* slope) {
  for (Int i = 0; i < n; ++i) rate_and_slope(s, k, m, u[i], rate[i], slope[i]);
}

extern "C" void rates_float(Int n, float s, float k, float m, const float* u, float* r, float* d) {
  rates(n, s, k, m, u, r, d);
}

extern "C" void rates_double(
    Int n, double s, double k, double m, const double* u, double* r, double* d) {
  rates(n, s, k, m, u, r, d);
}

// Blocks one after the other, or at a seed above 0 all at once in an order drawn at random.
// Returns 0, or 1 where there is no such kernel, or 2 where one part of a warp waited for the
// other at a barrier to which that did not come.
extern "C" int launch(
    const char* name, int is_double, int samples, int blocks, int threads, size_t bytes,
    const void* plan, Int argument, int reversed, const char* without_barriers_of, unsigned seed) {
  std::function<void()> kernel =
      is_double ? kernel_of<double>(name, samples, static_cast<const Plan<double>*>(plan), argument)
                : kernel_of<float>(name, samples, static_cast<const Plan<float>*>(plan), argument);
  if (!kernel) return 1;
  // What CuPy asks for concerns float alone.
  Flushed flushed(!is_double);
  without_barriers = without_barriers_of;
  is_warp_divided = false;
  size_t numbers = bytes / sizeof(double) + 2;
  if (seed != 0) {
    blockDim.x = threads;
    run_interleaved(kernel, blocks, threads, numbers, seed);
    return is_warp_divided ? 2 : 0;
  }
  std::vector<double> memory(numbers);
  block_memory = memory.data();
  blockDim.x = threads;
  for (int b = 0; b < blocks; ++b) {
    // What a block leaves is nothing to the next, which must not read what it did not write.
    std::memset(memory.data(), 0xff, memory.size() * sizeof(double));
    blockIdx.x = b;
    run_block(kernel, threads, reversed);
  }
  return is_warp_divided ? 2 : 0;
}
