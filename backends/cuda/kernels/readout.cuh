// Loss, error and target at the readout, one sample a thread or a warp (model page, section 3).
#pragma once

#include "plan.cuh"
#include "sums.cuh"

// Softmax of n numbers into p; returns log of the sum of their exponentials.
template <typename T>
__device__ inline T softmax(Int n, const T* u, T* p) {
  T top = u[0], total = 0;
  for (Int k = 1; k < n; ++k) top = u[k] > top ? u[k] : top;
  for (Int k = 0; k < n; ++k) {
    p[k] = exp(u[k] - top);
    total += p[k];
  }
  for (Int k = 0; k < n; ++k) p[k] /= total;
  return top + log(total);
}

// The same by a warp, bit for bit: lanes share out the exponentials, and each adds up all of
// them. They meet at the end.
template <typename T>
__device__ inline T softmax_by_warp(int n, const T* u, T* p) {
  T top = u[0], total = 0;
  for (int k = 1; k < n; ++k) top = u[k] > top ? u[k] : top;
  for (int k = lane_of_thread(); k < n; k += WARP) p[k] = exp(u[k] - top);
  __syncwarp();
  for (int k = 0; k < n; ++k) total += p[k];
  __syncwarp();
  for (int k = lane_of_thread(); k < n; k += WARP) p[k] /= total;
  __syncwarp();
  return top + log(total);
}

// e = target - softmax(u), or target - u.
template <typename T>
__device__ inline void error(bool is_mse, Int n, const T* u, const T* target, T* e) {
  if (is_mse) {
    for (Int k = 0; k < n; ++k) e[k] = target[k] - u[k];
  } else {
    softmax(n, u, e);
    for (Int k = 0; k < n; ++k) e[k] = target[k] - e[k];
  }
}

// The same by a warp, bit for bit; its lanes meet at both ends.
template <typename T>
__device__ inline void error_by_warp(bool is_mse, int n, const T* u, const T* target, T* e) {
  __syncwarp();
  if (!is_mse) softmax_by_warp(n, u, e);
  for (int k = lane_of_thread(); k < n; k += WARP) e[k] = target[k] - (is_mse ? u[k] : e[k]);
  __syncwarp();
}

template <typename T>
__device__ inline T sample_loss(bool is_mse, Int n, const T* u, const T* y) {
  T total = 0;
  if (is_mse) {
    for (Int k = 0; k < n; ++k) total += (y[k] - u[k]) * (y[k] - u[k]);
    return total / 2;
  }
  T top = u[0], sum = 0;
  for (Int k = 1; k < n; ++k) top = u[k] > top ? u[k] : top;
  for (Int k = 0; k < n; ++k) sum += exp(u[k] - top);
  T log_sum = top + log(sum);
  for (Int k = 0; k < n; ++k) total -= y[k] * (u[k] - log_sum);
  return total;
}

template <typename T>
__device__ inline Int largest(Int n, const T* u) {
  Int best = 0;
  for (Int k = 1; k < n; ++k)
    if (u[k] > u[best]) best = k;
  return best;
}

// Whether the largest output is that of the label, all of them being numbers.
template <typename T>
__device__ inline bool is_right(Int n, const T* u, const T* y) {
  for (Int k = 0; k < n; ++k)
    if (!isfinite(u[k])) return false;
  return largest(n, u) == largest(n, y);
}

// y, or with weak feedback a nudge towards it from the open-loop output. A thread a row.
template <typename T>
__global__ void closed_loop_target(const Plan<T>* p, Int) {
  Int row = Int(blockIdx.x) * blockDim.x + threadIdx.x, n = p->n_out;
  if (row >= n_rows(p)) return;
  const T *y = p->y + row * n, *u = p->open_u_out + row * n;
  T* target = p->target + row * n;
  if (p->strong) {
    T labels[AT_ONCE];
    for (int first = 0; first < n; first += AT_ONCE) {
      read_at_once(labels, y + first, 1, int(n) - first);
#pragma unroll
      for (int k = 0; k < AT_ONCE; ++k)
        if (k < n - first) target[first + k] = labels[k];
    }
    return;
  }
  T nudge = p->settings[(row / p->batch) * N_SETTINGS + NUDGE];
  error(p->is_mse, n, u, y, target);
  for (Int k = 0; k < n; ++k) target[k] = u[k] + nudge * target[k];
  if (!p->is_mse) softmax(n, target, target);
}
