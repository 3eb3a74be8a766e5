// Feedback weights at the open-loop end state (model page, section 4).
#pragma once

#include "group.cuh"
#include "neurons.cuh"

// Clip a weight to ±limit; 0 is no limit.
template <typename T>
__device__ inline T clipped(T q, T limit) {
  if (limit <= 0) return q;
  return q > limit ? limit : (q < -limit ? -limit : q);
}

// Multiply n numbers by a factor; each thread reads several of its own before it writes one.
template <typename T>
__device__ inline void scale(T* numbers, int n, T factor) {
  int step = int(blockDim.x);
  T own[AT_ONCE];
  for (int first = threadIdx.x; first < n; first += AT_ONCE * step) {
    read_at_once(own, numbers + first, step, (n - first + step - 1) / step);
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k)
      if (first + k * step < n) numbers[first + k * step] = own[k] * factor;
  }
}

// Scale n weights of a block, of which `squares` is the threads' own share of the sum of
// squares, to the norm; a silent layer's stay 0. Returns the norm that they had, over that.
template <typename T>
__device__ inline T to_norm(const T* settings, T* Q, int n, T squares, T* partial) {
  T norm = settings[NORM], unit = 1;
  squares = block_sum(squares, partial);
  if (!(squares > smallest<T>() / machine_epsilon<T>() && isfinite(squares))) {
    // Squares underflow or overflow: in units of the largest weight.
    T largest = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
      largest = fabs(Q[i]) > largest ? fabs(Q[i]) : largest;
    unit = block_largest(largest, partial);
    if (!(unit > T(0))) return 0;
    squares = 0;
    for (Int i = threadIdx.x; i < n; i += blockDim.x) {
      Q[i] /= unit;
      squares += Q[i] * Q[i];
    }
    squares = block_sum(squares, partial);
  }
  T factor = norm / sqrt(squares);
  scale(Q, n, factor);
  return unit * (sqrt(squares) / norm);
}

// J and Q of hidden layer l, a block a row. Below the top J holds the product with the
// weights above when this begins.
template <typename T>
__global__ void feedback_weights(const Plan<T>* p, Int l) {
  T* partial = (T*)BLOCK_MEMORY;
  Int row = blockIdx.x, replica = row / p->batch;
  int n = int(p->sizes[l + 1]);
  const T* settings = p->settings + replica * N_SETTINGS;
  const T *u_E = layer_row(p, p->open_u_E, l, row), *u_I = layer_row(p, p->open_u_I, l, row);
  T* J = (l % 2 ? p->J_odd : p->J_even) + row * p->n_out * n;
  T* Q = feedback_row(p, l, row);
  T* gain = layer_row(p, p->gain, l, row);
  const T* readout = weight(p, replica, p->n_hidden);
  // At the top J is the readout, a row a unit.
  bool is_top = l == p->n_hidden - 1;
  int n_out = int(p->n_out), of_unit = is_top ? n_out : 1, of_output = is_top ? 1 : n;
  const T* before = is_top ? readout : J;
  T squares = 0, rate, slope_E, slope_I, limit = p->average ? T(0) : settings[CLIP], j[AT_ONCE];
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    rate_and_slope_E(settings, u_E[i], rate, slope_E);
    rate_and_slope_I(settings, u_I[i], rate, slope_I);
    gain[i] = T(1) / (T(1) + slope_E * slope_I);
    for (int first = 0; first < n_out; first += AT_ONCE) {
      int left = n_out - first;
      read_at_once(j, before + i * of_unit + first * of_output, of_output, left);
#pragma unroll
      for (int k = 0; k < AT_ONCE; ++k) {
        if (k >= left) continue;
        int at = (first + k) * n + i;
        J[at] = j[k] * slope_E;
        T q = clipped(j[k] * slope_E * slope_I, limit);
        Q[at] = q;
        squares += q * q;
      }
    }
  }
  T strength = 1;
  if (!p->average && p->normalize) {
    __syncthreads();
    strength = to_norm(settings, Q, p->n_out * n, squares, partial);
  }
  if (threadIdx.x == 0) p->strength[row * p->n_hidden + l] = strength;
}

// Mean over the batch, conditioned, in place of every sample's Q^l. A block a replica.
template <typename T>
__global__ void average_feedback(const Plan<T>* p, Int l) {
  T* partial = (T*)BLOCK_MEMORY;
  Int replica = blockIdx.x;
  int n = int(p->n_out * p->sizes[l + 1]), batch = int(p->batch);
  const T* settings = p->settings + replica * N_SETTINGS;
  T* Q = feedback_row(p, l, replica * p->batch);
  T squares = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    T q = clipped(sum_of_column(Q + i, n, batch) / T(batch), settings[CLIP]);
    Q[i] = q;
    squares += q * q;
  }
  __syncthreads();
  T strength = p->normalize ? to_norm(settings, Q, n, squares, partial) : T(1);
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    T mean = Q[i];
    for (int b = 1; b < batch; ++b) Q[Int(b) * n + i] = mean;
  }
  for (int b = threadIdx.x; b < batch; b += blockDim.x)
    p->strength[(replica * batch + b) * p->n_hidden + l] = strength;
}

// c Q^l of sample s at unit i, Q^l (S, n_out, n).
template <typename T>
__device__ inline T disinhibition(const T* Q, int n_out, int n, int s, int i, const T* c) {
  T q = 0, of_output[AT_ONCE];
  for (int first = 0; first < n_out; first += AT_ONCE) {
    int left = n_out - first;
    read_at_once(of_output, Q + (s * n_out + first) * n + i, n, left);
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k)
      q += (k < left ? c[s * n_out + first + k] : T(0)) * of_output[k];
  }
  return q;
}
