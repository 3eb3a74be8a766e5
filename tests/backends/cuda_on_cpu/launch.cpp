// Runs the kernels of backends/cuda on a CPU, for tests.
#include "cuda_words.h"

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <ucontext.h>
#include <vector>

#include "kernels.cu"

Position threadIdx, blockIdx, blockDim;
double* block_memory;

namespace {

constexpr size_t STACK = 256 * 1024;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool is_done;
};

std::vector<Fiber> fibers;
ucontext_t scheduler;
int present = -1;
std::string without_barriers;
const std::function<void()>* body;

void run_fiber() {
  (*body)();
  fibers[present].is_done = true;
  swapcontext(&fibers[present].context, &scheduler);
}

void run_block(const std::function<void()>& kernel, int threads, bool reversed) {
  if (threads == 1) {
    threadIdx.x = 0;
    kernel();
    return;
  }
  body = &kernel;
  while (int(fibers.size()) < threads) {
    fibers.emplace_back();
    fibers.back().stack.reset(new char[STACK]);
  }
  for (int t = 0; t < threads; ++t) {
    getcontext(&fibers[t].context);
    fibers[t].context.uc_stack.ss_sp = fibers[t].stack.get();
    fibers[t].context.uc_stack.ss_size = STACK;
    fibers[t].context.uc_link = nullptr;
    fibers[t].is_done = false;
    makecontext(&fibers[t].context, run_fiber, 0);
  }
  for (int left = threads; left > 0;) {
    left = 0;
    for (int turn = 0; turn < threads; ++turn) {
      int t = reversed ? threads - 1 - turn : turn;
      if (fibers[t].is_done) continue;
      threadIdx.x = present = t;
      swapcontext(&scheduler, &fibers[t].context);
      left += !fibers[t].is_done;
    }
  }
  present = -1;
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
  PLAIN(add_first_bias)
  PLAIN(feedback_weights)
  PLAIN(average_feedback)
  PLAIN(closed_loop_target)
  PLAIN(mean_inhibition)
  PLAIN(linearize)
  PLAIN(search_again)
  PLAIN(forward_layer)
  PLAIN(output_error)
  PLAIN(backward_layer)
  PLAIN(bias_gradients)
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

}  // namespace

void wait_for_the_others(const char* function) {
  // Blocks of one thread have no one to wait for.
  if (present >= 0 && function != without_barriers) {
    int t = present;
    swapcontext(&fibers[t].context, &scheduler);
  }
}

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

// Returns 0, or 1 where there is no such kernel.
extern "C" int launch(
    const char* name, int is_double, int samples, int blocks, int threads, size_t bytes,
    const void* plan, Int argument, int reversed, const char* without_barriers_of) {
  std::function<void()> kernel =
      is_double ? kernel_of<double>(name, samples, static_cast<const Plan<double>*>(plan), argument)
                : kernel_of<float>(name, samples, static_cast<const Plan<float>*>(plan), argument);
  if (!kernel) return 1;
  without_barriers = without_barriers_of;
  std::vector<double> memory(bytes / sizeof(double) + 2);
  block_memory = memory.data();
  blockDim.x = threads;
  for (int b = 0; b < blocks; ++b) {
    // What a block leaves is nothing to the next, which must not read what it did not write.
    std::memset(memory.data(), 0xff, memory.size() * sizeof(double));
    blockIdx.x = b;
    run_block(kernel, threads, reversed);
  }
  return 0;
}
