// The dynamics integrated sample by sample (model page, sections 2, 3 and 7).
//
// The arithmetic is the reference's: same stages, same error norm, same PID control, same
// criterion of rest. Every sample of a group has a step of its own; a sample at rest waits
// until its group's last has come to rest too.
#pragma once

#include "feedback.cuh"
#include "group.cuh"
#include "neurons.cuh"
#include "readout.cuh"

// dy/dt of every sample of the group, y and k packed as states.
template <typename T, int S>
__device__ __noinline__ void derivative(
    const Group<T, S>& g, bool is_closed, const T* y, int y_stride, T* k, int k_stride) {
  const Plan<T>* p = g.p;
  const T *settings = g.settings, *theta = p->theta + g.replica * p->n_parameters;
  T *c = output_array(g, 0), *e = output_array(g, 1);
  int n_out = int(p->n_out), n_units = int(p->n_units), at_out = 2 * n_units;
  int at_z = at_out + n_out;
  __syncthreads();
  for (int s = warp_of_thread(); s < g.samples; s += warps_of_block()) {
    const T* y_s = y + s * y_stride;
    if (is_closed) {
      const T* target = p->target + (g.first + s) * n_out;
      error_by_warp(p->is_mse, n_out, y_s + at_out, target, e + s * n_out);
    }
    for (int j = lane_of_thread(); j < n_out; j += WARP) {
      T e_j = is_closed ? e[s * n_out + j] : T(0), z = y_s[at_z + j];
      k[s * k_stride + at_z + j] =
          is_closed ? (e_j - settings[LEAK] * z) / settings[TAU_C] : T(0);
      c[s * n_out + j] = is_closed ? settings[K_P] * e_j + settings[K_I] * z : T(0);
    }
  }
  __syncthreads();
  int start = 0;
  for (int l = 0; l < p->n_hidden; ++l) {
    int n = int(p->sizes[l + 1]);
    if (l > 0) group_product<FOR_FEW>(g, weight(p, g.replica, l), p->sizes[l], n);
    // All addresses now: after a store, which might have changed it, the plan is read anew.
    const T *bias = theta + bias_start(p, l), *a_1 = p->a_1 + g.first * n;
    const T* Q = feedback_row(p, l, g.first);
    for (int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
      int s = at / n, i = at % n;
      const T* y_s = y + s * y_stride + start + i;
      T* k_s = k + s * k_stride + start + i;
      T a = (l == 0 ? a_1[at] : g.above[at]) + bias[i];
      T u_E = y_s[0], u_I = y_s[n_units], r_E, r_I, slope;
      rate_and_slope_E(settings, u_E, r_E, slope);
      rate_and_slope_I(settings, u_I, r_I, slope);
      T q = is_closed ? disinhibition(Q, n_out, n, s, i, c) : T(0);
      k_s[0] = (a - u_E - r_I) / settings[TAU_E];
      k_s[n_units] = (r_E - u_I - q) / settings[TAU_I];
      g.below[at] = r_E;
    }
    start += n;
  }
  Int top = p->n_hidden;
  group_product<FOR_FEW>(g, weight(p, g.replica, top), p->sizes[top], n_out);
  for (int at = threadIdx.x; at < g.samples * n_out; at += blockDim.x) {
    int s = at / n_out, j = at % n_out;
    T direct = p->to_readout ? c[at] : T(0);
    k[s * k_stride + at_out + j] =
        (g.above[at] - y[s * y_stride + at_out + j] + direct) / settings[TAU_E];
  }
  __syncthreads();
}

// Where an integration starts: rest, or the open-loop end state with the integral at zero.
template <typename T>
__device__ inline T start_of(const Plan<T>* p, bool is_closed, Int row, Int at) {
  if (!is_closed || at >= 2 * p->n_units + p->n_out) return T(0);
  if (at >= 2 * p->n_units) return p->open_u_out[row * p->n_out + at - 2 * p->n_units];
  T* array = at < p->n_units ? p->open_u_E : p->open_u_I;
  Int unit = at % p->n_units, l = layer_of_unit(p, unit);
  return layer_row(p, array, l, row)[unit];
}

// Copy a packed state to where the end states of the loop lie.
template <typename T>
__device__ inline void put_end_state(const Plan<T>* p, bool is_closed, Int row, const T* y) {
  T *u_E = is_closed ? p->u_E : p->open_u_E, *u_I = is_closed ? p->u_I : p->open_u_I;
  T* u_out = is_closed ? p->u_out : p->open_u_out;
  const T* settings = p->settings + (row / p->batch) * N_SETTINGS;
  Int start = 0;
  for (Int l = 0; l < p->n_hidden; ++l) {
    Int n = p->sizes[l + 1];
    for (Int i = threadIdx.x; i < n; i += blockDim.x) {
      T rate, slope;
      layer_row(p, u_E, l, row)[i] = y[start + i];
      layer_row(p, u_I, l, row)[i] = y[p->n_units + start + i];
      rate_and_slope_E(settings, y[start + i], rate, slope);
      if (!is_closed) layer_row(p, p->open_r_E, l, row)[i] = rate;
    }
    start += n;
  }
  for (Int j = threadIdx.x; j < p->n_out; j += blockDim.x) {
    u_out[row * p->n_out + j] = y[2 * p->n_units + j];
    if (is_closed) p->z[row * p->n_out + j] = y[2 * p->n_units + p->n_out + j];
  }
}

// y_next = y + h (sum of the stage's coefficients times the derivatives so far).
template <typename T, int S>
__device__ inline void combine(
    const Group<T, S>& g, int stage, const double* step, const T* y, const T* k, T* y_next) {
  int size = int(state_size(g.p)), n_stages = int(g.p->n_stages), k_stride = (n_stages + 1) * size;
  const T* coefficients = g.p->tableau + stage * n_stages;
  T slopes[AT_ONCE];
  for (int at = threadIdx.x; at < g.samples * size; at += blockDim.x) {
    int s = at / size, i = at % size;
    T sum = y[at], h = T(step[s]);
    for (int first = 0; first <= stage; first += AT_ONCE) {
      int left = stage + 1 - first;
      read_at_once(slopes, k + s * k_stride + first * size + i, size, left);
#pragma unroll
      for (int q = 0; q < AT_ONCE; ++q)
        if (q < left) sum += h * coefficients[first + q] * slopes[q];
    }
    y_next[at] = sum;
  }
}

// Sums of every sample, each of its components' squares: of the error over what is allowed, of the
// derivative at the step's end, of the state there.
enum SumOfSquares { ERRORS, SPEED, EXTENT, N_SUMS };

// Put them into `sums`, (S, N_SUMS). All threads must call; they meet at both ends. First each
// thread adds its components, then a sample's first threads add those, then one of them.
template <typename T, int S>
__device__ inline void sums_of_squares(
    const Group<T, S>& g, const double* step, const T* y, const T* y_next, const T* k, T* sums) {
  const Plan<T>* p = g.p;
  int size = int(state_size(p)), n_stages = int(p->n_stages), k_stride = (n_stages + 1) * size;
  int threads = int(blockDim.x), few = threads < 32 ? threads : 32;
  T rtol = T(p->control[RTOL]), atol = T(p->control[ATOL]);
  for (int s = 0; s < g.samples; ++s) {
    const T *old_y = y + s * size, *new_y = y_next + s * size, *k_s = k + s * k_stride;
    T own[N_SUMS] = {0, 0, 0};
    for (int i = threadIdx.x; i < size; i += threads) {
      T estimate = 0, at_end = k_s[n_stages * size + i];
      for (int q = 0; q <= n_stages; ++q) estimate += p->error_weights[q] * k_s[q * size + i];
      T old_size = fabs(old_y[i]), new_size = fabs(new_y[i]);
      T allowed = atol + rtol * (old_size > new_size ? old_size : new_size);
      T scaled = T(step[s]) * estimate / allowed;
      own[ERRORS] += scaled * scaled;
      own[SPEED] += at_end * at_end;
      own[EXTENT] += new_y[i] * new_y[i];
    }
    for (int sum = 0; sum < N_SUMS; ++sum)
      g.partial[(s * N_SUMS + sum) * threads + threadIdx.x] = own[sum];
  }
  __syncthreads();
  int n_sums = g.samples * N_SUMS;
  for (int at = threadIdx.x; at < n_sums * few; at += threads) {
    T* of_sum = g.partial + at / few * threads;
    T total = 0;
    for (int t = at % few; t < threads; t += few) total += of_sum[t];
    of_sum[at % few] = total;
  }
  __syncthreads();
  for (int at = threadIdx.x; at < n_sums; at += threads) {
    T total = 0;
    for (int t = 0; t < few; ++t) total += g.partial[at * threads + t];
    sums[at] = total;
  }
  __syncthreads();
}

// What an integration knows of each of its samples, in the order of the group's scalars. POWERS
// are three: of the ratios of the error that is allowed to that of this step and the last two.
enum StepScalar { NEXT_STEP, STEP, TIME, LAST_RATIO, RATIO_BEFORE, POWERS };

// Error of a step over what is allowed, from its sum of squares.
template <typename T>
__device__ inline double scaled_error(const Plan<T>* p, T errors) {
  double scaled = sqrt(double(errors) / state_size(p));
  return isfinite(scaled) ? scaled : INFINITE;
}

// The powers of every sample's ratios, a thread each: in float64 one takes as long as all that a
// thread does for the neurons of a stage. All threads must call; they meet at the end.
template <typename T, int S>
__device__ inline void find_powers(const Group<T, S>& g, const T* sums) {
  const double* control = g.p->control;
  double P = control[GAIN_P], I = control[GAIN_I], D = control[GAIN_D];
  double order = control[ERROR_ORDER];
  for (int at = threadIdx.x; at < g.samples * 3; at += blockDim.x) {
    int s = at / 3, which = at % 3;
    double ratio, exponent;
    if (which == 0) {
      double scaled = scaled_error(g.p, sums[s * N_SUMS + ERRORS]);
      ratio = scaled > 0 ? 1 / scaled : INFINITE;
      exponent = (P + I + D) / order;
    } else {
      ratio = g.scalars[(which == 1 ? LAST_RATIO : RATIO_BEFORE) * S + s];
      exponent = (which == 1 ? -(P + 2 * D) : D) / order;
    }
    g.scalars[(POWERS + which) * S + s] = pow(ratio, exponent);
  }
  __syncthreads();
}

// The step control of sample s: whether the step is kept, and how long the next one is. By one
// thread.
template <typename T, int S>
__device__ inline bool keeps_step(const Group<T, S>& g, int s, T errors, int* at_minimum) {
  const double* control = g.p->control;
  if (control[ADAPTIVE] == 0) return true;
  double *next = g.scalars + NEXT_STEP * S + s, *last = g.scalars + LAST_RATIO * S + s;
  double *before = g.scalars + RATIO_BEFORE * S + s, *powers = g.scalars + POWERS * S + s;
  double scaled = scaled_error(g.p, errors), inverse = scaled > 0 ? 1 / scaled : INFINITE;
  bool kept = scaled < 1 || at_minimum[s];
  double factor = control[SAFETY] * powers[0] * powers[S] * powers[2 * S];
  // A kept step never shrinks the next; a rejected one always does.
  double lower = kept ? 1.0 : control[FACTOR_MIN];
  double upper = kept ? control[FACTOR_MAX] : control[SAFETY];
  factor = factor > upper ? upper : (factor < lower ? lower : factor);
  double proposed = *next * factor, shortest = control[DT_MIN], longest = control[DT_MAX];
  at_minimum[s] = proposed <= shortest || (at_minimum[s] && factor == 1);
  *next = proposed < shortest ? shortest : (proposed > longest ? longest : proposed);
  if (kept) {
    *before = *last;
    *last = inverse > 0 && inverse < INFINITE ? inverse : 1.0;
  }
  return kept;
}

// Bound on the distance to rest of one sample: its derivative times the slowest time constant, the
// largest root mean square of any population of units. All threads must call.
template <typename T, int S>
__device__ inline double distance_to_rest(const Group<T, S>& g, bool is_closed, const T* k) {
  const Plan<T>* p = g.p;
  double largest = 0;
  for (int part = 0; part < 2 * p->n_hidden + 2; ++part) {
    int n = int(part < 2 * p->n_hidden ? p->sizes[1 + part % p->n_hidden] : p->n_out);
    double squares = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) squares += double(k[i]) * k[i];
    squares = block_sum(squares, (double*)g.partial);
    largest = squares / n > largest ? squares / n : largest;
    k += n;
  }
  return double(g.settings[is_closed ? SLOWEST_CLOSED : SLOWEST_OPEN]) * sqrt(largest);
}

// What became of a sample in a step.
enum Outcome { GOES_ON, AT_REST, OUT_OF_TIME, WITHOUT_END };

// Root mean square below which a derivative is small, at a state with this sum of squares.
template <typename T>
__device__ inline double small_speed(const Plan<T>* p, T extent) {
  double rtol = double(T(p->control[RTOL])), atol = double(T(p->control[ATOL]));
  return atol + rtol * sqrt(double(extent) / state_size(p));
}

// Integrate until every sample has come to rest.
template <typename T, int S>
__device__ inline void integrate_samples(const Group<T, S>& g, bool is_closed) {
  const Plan<T>* p = g.p;
  int size = int(state_size(p)), n_stages = int(p->n_stages), k_stride = (n_stages + 1) * size;
  Count* counts = counts_of(g, is_closed);
  const double* control = p->control;
  double *dt = g.scalars + NEXT_STEP * S, *step = g.scalars + STEP * S;
  double* time = g.scalars + TIME * S;
  int *is_active = g.flags, *at_minimum = is_active + S, *is_kept = at_minimum + S;
  int* outcome = is_kept + S;
  T *y = p->state + g.first * size, *y_next = p->next_state + g.first * size;
  T *k = p->stages + g.first * k_stride, *sums = output_array(g, 2);
  __syncthreads();
  for (int s = threadIdx.x; s < S; s += blockDim.x) {
    is_active[s] = s < g.samples;
    dt[s] = control[DT];
    time[s] = 0;
    at_minimum[s] = 0;
    outcome[s] = GOES_ON;
    g.scalars[LAST_RATIO * S + s] = g.scalars[RATIO_BEFORE * S + s] = 1;
  }
  __syncthreads();
  int active = g.samples;
  for (int at = threadIdx.x; at < g.samples * size; at += blockDim.x)
    y[at] = start_of(p, is_closed, g.first + at / size, at % size);
  derivative(g, is_closed, y, size, k, k_stride);
  for (Int taken = 0; taken < Int(control[MAX_STEPS]) && active > 0; ++taken) {
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
      double rest = control[HORIZON] - time[s];
      step[s] = dt[s] < rest ? dt[s] : rest;
    }
    __syncthreads();
    for (int stage = 0; stage < n_stages; ++stage) {
      combine(g, stage, step, y, k, y_next);
      derivative(g, is_closed, y_next, size, k + (stage + 1) * size, k_stride);
    }
    sums_of_squares(g, step, y, y_next, k, sums);
    if (control[ADAPTIVE] != 0) find_powers(g, sums);
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
      T errors = sums[s * N_SUMS + ERRORS], speed = sums[s * N_SUMS + SPEED];
      T extent = sums[s * N_SUMS + EXTENT];
      is_kept[s] = is_active[s] && keeps_step(g, s, errors, at_minimum);
      if (!is_kept[s]) continue;
      if (!(isfinite(speed) && isfinite(extent))) {
        // The path left the finite numbers: it has no end.
        outcome[s] = WITHOUT_END;
        is_kept[s] = 0;
        continue;
      }
      time[s] += step[s];
      if (sqrt(double(speed) / size) < small_speed(p, extent))
        outcome[s] = AT_REST;
      else if (!(time[s] < control[HORIZON] * (1 - 1e-12)))
        outcome[s] = OUT_OF_TIME;
    }
    __syncthreads();
    for (int s = 0; s < g.samples && control[BY_DISTANCE] != 0; ++s) {
      if (!is_active[s] || outcome[s] != AT_REST) continue;
      double distance = distance_to_rest(g, is_closed, k + s * k_stride + n_stages * size);
      if (threadIdx.x == 0 && !(distance <= small_speed(p, sums[s * N_SUMS + EXTENT])))
        outcome[s] = time[s] < control[HORIZON] * (1 - 1e-12) ? GOES_ON : OUT_OF_TIME;
    }
    __syncthreads();
    for (int at = threadIdx.x; at < g.samples * size; at += blockDim.x) {
      int s = at / size, i = at % size;
      if (is_kept[s]) {
        y[at] = y_next[at];
        k[s * k_stride + i] = k[s * k_stride + n_stages * size + i];
      } else if (is_active[s] && outcome[s] == WITHOUT_END) {
        y[at] = T(INFINITE - INFINITE);
      }
    }
    __syncthreads();
    active = 0;
    for (int s = 0; s < g.samples; ++s) {
      if (!is_active[s]) continue;
      if (outcome[s] == GOES_ON) {
        ++active;
        continue;
      }
      put_end_state(p, is_closed, g.first + s, y + s * size);
      if (threadIdx.x == 0) {
        atomicAdd(counts + INTEGRATED, Count(1));
        atomicAdd(counts + STEPS, Count(taken + 1));
        if (outcome[s] != AT_REST) atomicAdd(counts + UNSETTLED, Count(1));
      }
    }
    __syncthreads();
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) is_active[s] &= outcome[s] == GOES_ON;
    __syncthreads();
  }
  for (int s = 0; s < g.samples; ++s) {
    if (!is_active[s]) continue;
    put_end_state(p, is_closed, g.first + s, y + s * size);
    if (threadIdx.x == 0) {
      atomicAdd(counts + INTEGRATED, Count(1));
      atomicAdd(counts + STEPS, Count(control[MAX_STEPS]));
      atomicAdd(counts + UNSETTLED, Count(1));
    }
  }
}

template <typename T, int S>
__global__ void __launch_bounds__(GROUP_BOUNDS) integrate(const Plan<T>* p, Int is_closed) {
  integrate_samples(group_of_block<T, S>(p), is_closed);
}

// Integrate with a constant step from `state` into path, (time, rows, n).
template <typename T, int S>
__global__ void __launch_bounds__(GROUP_BOUNDS) record(const Plan<T>* p, Int is_closed) {
  Group<T, S> g = group_of_block<T, S>(p);
  Int size = state_size(p), n_stages = p->n_stages, k_stride = (n_stages + 1) * size;
  Int all = g.samples * size, frame = n_rows(p) * size;
  T *y = p->state + g.first * size, *y_next = p->next_state + g.first * size;
  T *k = p->stages + g.first * k_stride, *path = p->path + g.first * size;
  double* step = g.scalars;
  for (int s = threadIdx.x; s < S; s += blockDim.x) step[s] = p->control[DT];
  for (Int at = threadIdx.x; at < all; at += blockDim.x) {
    y[at] = start_of(p, is_closed, g.first + at / size, at % size);
    path[at] = y[at];
  }
  derivative(g, is_closed, y, size, k, k_stride);
  for (Int taken = 1; taken <= p->path_steps; ++taken) {
    for (Int stage = 0; stage < n_stages; ++stage) {
      combine(g, stage, step, y, k, y_next);
      derivative(g, is_closed, y_next, size, k + (stage + 1) * size, k_stride);
    }
    for (Int at = threadIdx.x; at < all; at += blockDim.x) {
      Int s = at / size, i = at % size;
      y[at] = y_next[at];
      k[s * k_stride + i] = k[s * k_stride + n_stages * size + i];
      if (taken % p->path_every == 0) path[taken / p->path_every * frame + at] = y[at];
    }
    __syncthreads();
  }
}
