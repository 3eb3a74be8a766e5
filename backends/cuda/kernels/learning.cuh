// Postsynaptic factors, gradients and the optimiser (model page, sections 5 and 7).
#pragma once

#include "group.cuh"
#include "neurons.cuh"
#include "readout.cuh"

// r̄ with the present batch taken in, and the line through phi_I^-1 there. A thread a unit.
template <typename T>
__global__ void mean_inhibition(const Plan<T>* p, Int) {
  Int at = Int(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= p->replicas * p->n_units) return;
  Int replica = at / p->n_units, i = at % p->n_units, l = layer_of_unit(p, i);
  const T* settings = p->settings + replica * N_SETTINGS;
  T mean = p->r_bar[at];
  if (p->rule == LINEAR_THRESHOLD) {
    const T* u_I = layer_row(p, p->open_u_I, l, replica * p->batch) + i;
    int n = int(p->sizes[l + 1]), batch = int(p->batch);
    T sum = 0, u[AT_ONCE], rate, slope;
    for (int first = 0; first < batch; first += AT_ONCE) {
      int left = batch - first;
      read_at_once(u, u_I + Int(first) * n, n, left);
#pragma unroll
      for (int b = 0; b < AT_ONCE; ++b) {
        rate_and_slope_I(settings, u[b], rate, slope);
        if (b < left) sum += rate;
      }
    }
    T rho = settings[RHO];
    mean = (T(1) - rho) * mean + rho * (sum / T(p->batch));
  }
  p->next_r_bar[at] = mean;
}

// theta and delta of the linearised inverse, at r̄ or at the fixed r_0. A thread a unit.
template <typename T>
__global__ void linearize(const Plan<T>* p, Int) {
  Int at = Int(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= p->replicas * p->n_units) return;
  const T* settings = p->settings + (at / p->n_units) * N_SETTINGS;
  T r_0 = p->rule == LINEAR_THRESHOLD_FIXED ? settings[R_0] : p->next_r_bar[at];
  T u_0 = inverse_rate_I(settings, r_0), rate, slope;
  rate_and_slope_I(settings, u_0, rate, slope);
  p->inclination[at] = T(1) / slope;
  p->intercept[at] = u_0 - r_0 / slope;
}

// delta of every layer, and the presynaptic rates, which r_E receives.
template <typename T, int S>
__global__ void __launch_bounds__(GROUP_BOUNDS) factors(const Plan<T>* p, Int) {
  Group<T, S> g = group_of_block<T, S>(p);
  Int start = g.replica * p->n_units, n_out = p->n_out;
  for (Int l = 0; l < p->n_hidden; ++l) {
    int n = int(p->sizes[l + 1]);
    bool is_top = l == p->n_hidden - 1, is_exact = p->rule == EXACT_INVERSE;
    // Without feedback to it, the readout learns from the open loop alone.
    bool is_open = is_top && !p->to_readout;
    const T *u_E = layer_row(p, p->u_E, l, g.first), *u_I = layer_row(p, p->u_I, l, g.first);
    const T *intercept = p->intercept + start, *inclination = p->inclination + start;
    const T* open_r_E = layer_row(p, p->open_r_E, l, g.first);
    T *rates = layer_row(p, p->r_E, l, g.first), *delta = layer_row(p, p->delta, l, g.first);
    for (int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
      int i = at % n;
      T estimate = u_I[at], r_E, r_I, slope_E, slope_I;
      if (!is_exact) {
        rate_and_slope_I(g.settings, u_I[at], r_I, slope_I);
        estimate = intercept[i] + inclination[i] * r_I;
      }
      rate_and_slope_E(g.settings, u_E[at], r_E, slope_E);
      delta[at] = (estimate - r_E) * slope_E;
      rates[at] = is_open ? open_r_E[at] : r_E;
      if (is_top) g.below[at] = r_E;
    }
    start += n;
  }
  T *u_out = p->u_out + g.first * n_out, *delta_out = p->delta_out + g.first * n_out;
  if (p->to_readout) {
    Int top = p->n_hidden;
    group_product<FOR_ALL>(g, weight(p, g.replica, top), p->sizes[top], n_out);
    for (Int at = threadIdx.x; at < g.samples * n_out; at += blockDim.x)
      delta_out[at] = g.above[at] - u_out[at];
  } else {
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
      Int at = (g.first + s) * n_out;
      T* delta_s = delta_out + s * n_out;
      error(p->is_mse, n_out, p->open_u_out + at, p->y + at, delta_s);
      for (Int k = 0; k < n_out; ++k) delta_s[k] = -delta_s[k];
    }
  }
}

// Layer l of the plain network's forward pass, on x W that r_E holds. A block a row.
template <typename T>
__global__ void forward_layer(const Plan<T>* p, Int l) {
  Int row = blockIdx.x, replica = row / p->batch, n = p->sizes[l + 1];
  const T* bias = p->theta + replica * p->n_parameters + bias_start(p, l);
  const T* settings = p->settings + replica * N_SETTINGS;
  T *r_E = layer_row(p, p->r_E, l, row), *delta = layer_row(p, p->delta, l, row);
  for (Int i = threadIdx.x; i < n; i += blockDim.x)
    rate_and_slope_E(settings, r_E[i] + bias[i], r_E[i], delta[i]);
}

// Gradient of the plain network's loss at its output. A thread a row.
template <typename T>
__global__ void output_error(const Plan<T>* p, Int) {
  Int row = Int(blockIdx.x) * blockDim.x + threadIdx.x, n = p->n_out;
  if (row >= n_rows(p)) return;
  T* delta_out = p->delta_out + row * n;
  error(p->is_mse, n, p->open_u_out + row * n, p->y + row * n, delta_out);
  for (Int k = 0; k < n; ++k) delta_out[k] = -delta_out[k];
}

// Layer l of the plain network's backward pass: the slopes in delta times what comes back.
template <typename T>
__global__ void backward_layer(const Plan<T>* p, Int l) {
  Int n = p->sizes[l + 1], at = Int(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at < n_rows(p) * n) layer_row(p, p->delta, l, 0)[at] *= p->back[at];
}

// g of the biases: the mean of delta, or 0 in a network without biases. A thread a unit.
template <typename T>
__global__ void bias_gradients(const Plan<T>* p, Int) {
  Int at = Int(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= p->replicas * p->n_units) return;
  Int replica = at / p->n_units, unit = at % p->n_units;
  Int i = unit, l = layer_of_unit(p, i);
  const T* delta = layer_row(p, p->delta, l, replica * p->batch) + i;
  T sum = p->has_biases ? sum_of_column(delta, int(p->sizes[l + 1]), int(p->batch)) : T(0);
  p->g[(replica + 1) * p->n_parameters - p->n_units + unit] = sum / T(p->batch);
}

// Where 1 - beta^t of both moments lies for step t of the optimiser: of two places those that the
// step before does not read.
template <typename T>
__device__ inline double* corrections(const Plan<T>* p, Int t) {
  return p->corrections + t % 2 * 2;
}

// The same found, by two threads of the grid.
template <typename T>
__device__ inline void find_corrections(const Plan<T>* p, Int t) {
  Int moment = Int(blockIdx.x) * blockDim.x + threadIdx.x;
  if (moment < 2) corrections(p, t)[moment] = 1 - pow(p->control[DECAY_1 + moment], double(t));
}

// What the first step of several needs of the optimiser. Two threads.
template <typename T>
__global__ void begin_descent(const Plan<T>* p, Int) {
  find_corrections(p, p->step[1] + 1);
}

// One step of the optimiser along -g. Powers in float64 take longer than all that a thread does
// here: those of this step were found in the last one, the next step's are found meanwhile.
template <typename T>
__global__ void descend(const Plan<T>* p, Int) {
  Int all = p->replicas * p->n_parameters, t = p->step[1] + 1;
  Int at = Int(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= all) return;
  const T* settings = p->settings + (at / p->n_parameters) * N_SETTINGS;
  T g = p->g[at], theta = p->theta[at];
  if (!p->is_adam) {
    p->theta[at] = theta - settings[LEARNING_RATE] * g;
    return;
  }
  T unbias_1 = T(corrections(p, t)[0]), unbias_2 = T(corrections(p, t)[1]);
  T m = settings[BETA_1] * p->m[at] + settings[REST_1] * g;
  T v = settings[BETA_2] * p->v[at] + settings[REST_2] * (g * g);
  p->theta[at] = theta - settings[LEARNING_RATE] * (m / unbias_1) /
                             (sqrt(v / unbias_2) + settings[EPSILON]);
  p->m[at] = m;
  p->v[at] = v;
  find_corrections(p, t + 1);
}

// Losses and right samples of the present step into figures, (steps, replicas, 4): mean loss,
// mean closed-loop loss, samples that are right, and right under control. A block a replica.
template <typename T>
__global__ void sum_up(const Plan<T>* p, Int with_closed_loop) {
  double* partial = (double*)BLOCK_MEMORY;
  Int replica = blockIdx.x, n = p->n_out;
  double loss = 0, closed_loop_loss = 0, right = 0, closed_loop_right = 0;
  for (Int b = threadIdx.x; b < p->batch; b += blockDim.x) {
    Int at = (replica * p->batch + b) * n;
    loss += sample_loss(p->is_mse, n, p->open_u_out + at, p->y + at);
    if (with_closed_loop) {
      closed_loop_loss += sample_loss(p->is_mse, n, p->u_out + at, p->y + at);
      closed_loop_right += is_right(n, p->u_out + at, p->y + at);
    }
    right += is_right(n, p->open_u_out + at, p->y + at);
  }
  loss = block_sum(loss, partial);
  closed_loop_loss = block_sum(closed_loop_loss, partial);
  right = block_sum(right, partial);
  closed_loop_right = block_sum(closed_loop_right, partial);
  if (threadIdx.x == 0) {
    double* figures = p->figures + (p->step[0] * p->replicas + replica) * 4;
    figures[0] = loss / p->batch;
    figures[1] = with_closed_loop ? closed_loop_loss / p->batch : INFINITE - INFINITE;
    figures[2] = right;
    figures[3] = closed_loop_right;
  }
}

// Go on to the next step, with the r̄ that the present one found if told so. One block.
template <typename T>
__global__ void advance(const Plan<T>* p, Int takes_over) {
  if (takes_over) {
    for (Int at = threadIdx.x; at < p->replicas * p->n_units; at += blockDim.x)
      p->r_bar[at] = p->next_r_bar[at];
  }
  if (threadIdx.x == 0) {
    p->step[0] += 1;
    p->step[1] += 1;
  }
}
