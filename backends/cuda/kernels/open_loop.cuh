// Inputs, and the equilibrium without control (model page, section 6).
#pragma once

#include "group.cuh"
#include "integration.cuh"
#include "neurons.cuh"
#include "readout.cuh"

// Fetch the samples of the present step, a block a row.
template <typename T>
__global__ void gather(const Plan<T>* p, Int) {
  Int row = blockIdx.x, replica = row / p->batch, sample = row % p->batch;
  Int at = p->order[p->step[0] * p->order_of_step + replica * p->order_stride + sample];
  Int from = (replica * p->source_stride + at) * p->n_in;
  T divisor = p->full_scale[0], values[AT_ONCE], *x = p->x + row * p->n_in;
  int n_in = int(p->n_in), step = int(blockDim.x);
  for (int first = threadIdx.x; first < n_in; first += AT_ONCE * step) {
    int left = (n_in - first + step - 1) / step;
    if (p->source_is_bytes)
      read_at_once(values, (const unsigned char*)p->source + from + first, step, left);
    else
      read_at_once(values, (const T*)p->source + from + first, step, left);
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k)
      if (k < left) x[first + k * step] = values[k] / divisor;
  }
  const T* label = p->labels + (replica * p->labels_stride + at) * p->n_out;
  for (Int k = threadIdx.x; k < p->n_out; k += blockDim.x) p->y[row * p->n_out + k] = label[k];
}

// A sample that Newton's method leaves. A function of its own: it is long, and hardly ever called.
template <typename T>
__device__ __noinline__ void integrate_alone(const Plan<T>* p, Int row) {
  integrate_samples(group_of_rows<T, 1>(p, row, 1), false);
}

// Equilibrium at c = 0 of a group of samples, from x W^1, which a_1 holds.
template <typename T, int S>
__global__ void __launch_bounds__(GROUP_BOUNDS) open_loop(const Plan<T>* p, Int) {
  Group<T, S> g = group_of_block<T, S>(p);
  const T* theta = p->theta + g.replica * p->n_parameters;
  int* is_left = g.flags;
  for (int s = threadIdx.x; s < S; s += blockDim.x) is_left[s] = 0;
  __syncthreads();
  for (Int l = 0; l < p->n_hidden; ++l) {
    int n = int(p->sizes[l + 1]);
    if (l > 0) group_product<FOR_ALL>(g, weight(p, g.replica, l), p->sizes[l], n);
    // All addresses now: after a store, which might have changed it, the plan is read anew.
    const T *bias = theta + bias_start(p, l), *a_1 = p->a_1 + g.first * n;
    T* u_E = layer_row(p, p->open_u_E, l, g.first);
    T* u_I = layer_row(p, p->open_u_I, l, g.first);
    T* r_E = layer_row(p, p->open_r_E, l, g.first);
    for (int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
      int s = at / n, i = at % n;
      T a = (l == 0 ? a_1[at] : g.above[at]) + bias[i];
      T u = upper_bound(g.settings, a), r, slope;
      bool solved = false;
      for (int pass = 0; pass < MAX_PASSES && !solved; ++pass) {
        solved = newton_step(g.settings, a, T(0), u, r);
      }
      if (!solved) is_left[s] = 1;
      rate_and_slope_E(g.settings, u, r, slope);
      u_E[at] = u;
      u_I[at] = r;
      r_E[at] = r;
      g.below[at] = r;
    }
  }
  Int top = p->n_hidden;
  group_product<FOR_ALL>(g, weight(p, g.replica, top), p->sizes[top], p->n_out);
  for (Int at = threadIdx.x; at < g.samples * p->n_out; at += blockDim.x) {
    p->open_u_out[g.first * p->n_out + at] = g.above[at];
  }
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x)
    if (!is_left[s]) atomicAdd(counts_of(g, false) + FOUND, Count(1));
  // Nobody need wait here, but where all meet the compiler has less to keep, and spills less.
  __syncthreads();
  unsigned sought = samples_with(g, is_left, 1);
  for (int s = 0; s < g.samples; ++s)
    if (sought >> s & 1) integrate_alone(p, g.first + s);
}
