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

// Factor that scales weights of this square sum to the norm; a silent layer's stay 0.
template <typename T>
__device__ inline T to_norm(const T* settings, T squares) {
  T frobenius = sqrt(squares);
  return frobenius > 0 ? settings[NORM] / frobenius : T(0);
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
    squares = block_sum(squares, partial);
    T factor = to_norm(settings, squares);
    for (Int i = threadIdx.x; i < n; i += blockDim.x)
      for (Int k = 0; k < p->n_out; ++k) Q[k * n + i] *= factor;
    strength = sqrt(squares) / settings[NORM];
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
  squares = block_sum(squares, partial);
  T factor = p->normalize ? to_norm(settings, squares) : T(1);
  for (Int i = threadIdx.x; i < n; i += blockDim.x) {
    T q = Q[i] * factor;
    for (Int b = 0; b < p->batch; ++b) Q[b * n + i] = q;
  }
  T strength = p->normalize ? sqrt(squares) / settings[NORM] : T(1);
  for (Int b = threadIdx.x; b < p->batch; b += blockDim.x)
    p->strength[(replica * p->batch + b) * p->n_hidden + l] = strength;
}
