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

// Scale n weights of a block, of which `squares` is the threads' own share of the sum of
// squares, to the norm; a silent layer's stay 0. Returns the norm that they had, over that.
template <typename T>
__device__ inline T to_norm(const T* settings, T* Q, Int n, T squares, T* partial) {
  T norm = settings[NORM], unit = 1;
  squares = block_sum(squares, partial);
  if (!(squares > smallest<T>() / machine_epsilon<T>() && isfinite(squares))) {
    // Squares underflow or overflow: in units of the largest weight.
    T largest = 0;
    for (Int i = threadIdx.x; i < n; i += blockDim.x)
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
  for (Int i = threadIdx.x; i < n; i += blockDim.x) Q[i] *= factor;
  return unit * (sqrt(squares) / norm);
}

// J and Q of hidden layer l, a block a row. Below the top J holds the product with the
// weights above when this begins.
template <typename T>
__global__ void feedback_weights(const Plan<T>* p, Int l) {
  T* partial = (T*)BLOCK_MEMORY;
  Int row = blockIdx.x, replica = row / p->batch, n = p->sizes[l + 1];
  const T* settings = p->settings + replica * N_SETTINGS;
  const T *u_E = layer_row(p, p->open_u_E, l, row), *u_I = layer_row(p, p->open_u_I, l, row);
  T* J = (l % 2 ? p->J_odd : p->J_even) + row * p->n_out * n;
  T* Q = feedback_row(p, l, row);
  T* gain = layer_row(p, p->gain, l, row);
  const T* readout = weight(p, replica, p->n_hidden);
  T squares = 0, rate, slope_E, slope_I;
  for (Int i = threadIdx.x; i < n; i += blockDim.x) {
    rate_and_slope_E(settings, u_E[i], rate, slope_E);
    rate_and_slope_I(settings, u_I[i], rate, slope_I);
    gain[i] = T(1) / (T(1) + slope_E * slope_I);
    for (Int k = 0; k < p->n_out; ++k) {
      T j = (l == p->n_hidden - 1 ? readout[i * p->n_out + k] : J[k * n + i]) * slope_E;
      J[k * n + i] = j;
      T q = j * slope_I;
      if (!p->average) q = clipped(q, settings[CLIP]);
      Q[k * n + i] = q;
      squares += q * q;
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
  Int replica = blockIdx.x, n = p->n_out * p->sizes[l + 1];
  const T* settings = p->settings + replica * N_SETTINGS;
  T* Q = feedback_row(p, l, replica * p->batch);
  T squares = 0;
  for (Int i = threadIdx.x; i < n; i += blockDim.x) {
    T sum = 0;
    for (Int b = 0; b < p->batch; ++b) sum += Q[b * n + i];
    T q = clipped(sum / T(p->batch), settings[CLIP]);
    Q[i] = q;
    squares += q * q;
  }
  __syncthreads();
  T strength = p->normalize ? to_norm(settings, Q, n, squares, partial) : T(1);
  __syncthreads();
  for (Int i = threadIdx.x; i < n; i += blockDim.x)
    for (Int b = 1; b < p->batch; ++b) Q[b * n + i] = Q[i];
  for (Int b = threadIdx.x; b < p->batch; b += blockDim.x)
    p->strength[(replica * p->batch + b) * p->n_hidden + l] = strength;
}
