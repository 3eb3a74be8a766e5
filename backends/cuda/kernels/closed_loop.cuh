// The closed loop as n_out equations in c (model page, section 6).
//
// The root of c - kappa e(u_out(c)) is found by Newton's method, in the form that holds for
// every gain (`control_step` of the reference), with the network's response D = du_out/dc
// taken once at the open-loop state and corrected after every step by what the step did
// (Broyden, Math. Comp. 19 (1965) 577-593); loop gains above a layer are their mean in it. The
// neurons take one Newton step for each step of c: the loop is found when both have nothing
// left. Samples that are found keep what they have; the few that are not get Newton's method
// with a fresh D and a line search, and after that are integrated.
#pragma once

#include "group.cuh"
#include "neurons.cuh"
#include "readout.cuh"

enum { MAX_ITERATIONS = 25, MAX_FRESH_ITERATIONS = 30, MAX_HALVINGS = 12 };

// What a group keeps of each of its samples, (S, n_out) each.
enum OutputArray { CONTROL, MOVE, OUTPUT_BEFORE, RIGHT, RIGHT_OF_SUM, SOFTMAX };

// Row k of sample s's two matrices side by side, (n, 2n): D, and in its right half A, which
// the solution of A v = right overwrites.
template <typename T, int S>
__device__ inline T* matrix_row(const Group<T, S>& g, int s, Int k) {
  Int n = g.p->n_out;
  return g.matrices + (s * n + k) * 2 * n;
}

// Sum of a target less 1; a sum that is 1 to within the rounding of its terms is 1.
template <typename T>
__device__ inline T excess_of(Int n, const T* target) {
  T total = 0;
  for (Int k = 0; k < n; ++k) total += target[k];
  T excess = total - T(1);
  return fabs(excess) > T(n) * machine_epsilon<T>() ? excess : T(0);
}

// Entry (r, i) of the augmented system of sample s: A, and two right sides behind it.
template <typename T, int S>
__device__ inline T& system_entry(const Group<T, S>& g, int s, Int r, Int i) {
  Int n = g.p->n_out;
  if (i < n) return matrix_row(g, s, r)[n + i];
  return output_array(g, i == n ? RIGHT : RIGHT_OF_SUM)[s * n + r];
}

// Gauss-Jordan elimination with row pivots of all samples' systems at once. A singular matrix
// leaves what is no number, with which no sample is ever found.
template <typename T, int S>
__device__ inline void solve(const Group<T, S>& g) {
  Int n = g.p->n_out, width = n + 2;
  int* pivots = g.flags + 3 * S;
  double* scales = g.scalars + 2 * S;
  for (Int k = 0; k < n; ++k) {
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
      Int pivot = k;
      for (Int r = k + 1; r < n; ++r)
        if (fabs(system_entry(g, s, r, k)) > fabs(system_entry(g, s, pivot, k))) pivot = r;
      pivots[s] = int(pivot);
      scales[s] = T(1) / system_entry(g, s, pivot, k);
    }
    __syncthreads();
    for (Int at = threadIdx.x; at < g.samples * width; at += blockDim.x) {
      int s = int(at / width);
      Int i = at % width;
      T &row = system_entry(g, s, k, i), &other = system_entry(g, s, pivots[s], i);
      T t = other;
      other = row;
      row = t * T(scales[s]);
    }
    __syncthreads();
    // Column k itself is left as it is: it is not read again.
    for (Int at = threadIdx.x; at < g.samples * n * width; at += blockDim.x) {
      int s = int(at / (n * width));
      Int r = at / width % n, i = at % width;
      if (r != k && i != k)
        system_entry(g, s, r, i) -= system_entry(g, s, r, k) * system_entry(g, s, k, i);
    }
    __syncthreads();
  }
}

// Newton's step in c of every sample, into RIGHT, from D and the output of the present state;
// all threads meet at both ends.
template <typename T, int S>
__device__ inline void control_step(const Group<T, S>& g) {
  const Plan<T>* p = g.p;
  Int n = p->n_out;
  T kappa = g.settings[KAPPA];
  T *c = output_array(g, CONTROL), *pi = output_array(g, SOFTMAX);
  T *right = output_array(g, RIGHT), *of_sum = output_array(g, RIGHT_OF_SUM);
  double *log_sums = g.scalars, *shares = g.scalars + S;
  __syncthreads();
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x)
    if (!p->is_mse) log_sums[s] = softmax(n, p->u_out + (g.first + s) * n, pi + s * n);
  __syncthreads();
  for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
    int s = int(at / n);
    Int j = at % n;
    T u = p->u_out[g.first * n + at], target = p->target[g.first * n + at];
    T weight = kappa, over = weight > T(1) ? weight : T(1), F;
    if (p->is_mse) {
      F = c[at] / over - (weight < T(1) ? weight : T(1)) * (target - u);
    } else {
      T q = target - c[at] / (kappa > smallest<T>() ? kappa : smallest<T>());
      bool is_stiff = q > T(0) && kappa * q * matrix_row(g, s, j)[j] >= T(1);
      weight = kappa * (is_stiff ? q : pi[at]);
      over = weight > T(1) ? weight : T(1);
      F = is_stiff ? (weight < T(1) ? weight : T(1)) * (u - T(log_sums[s]) - log(q))
                   : c[at] / over - kappa / over * (target - pi[at]);
    }
    T under = weight < T(1) ? weight : T(1);
    for (Int k = 0; k < n; ++k)
      system_entry(g, s, j, k) = under * matrix_row(g, s, k)[j] + (k == j ? T(1) / over : T(0));
    right[at] = -F;
    of_sum[at] = under;
  }
  __syncthreads();
  solve(g);
  if (p->is_mse) return;
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
    T missing = kappa * excess_of(n, p->target + (g.first + s) * n), slack = 0;
    for (Int k = 0; k < n; ++k) {
      missing -= c[s * n + k] + right[s * n + k];
      slack += of_sum[s * n + k];
    }
    shares[s] = slack != T(0) ? missing / slack : T(0);
  }
  __syncthreads();
  for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x)
    right[at] += T(shares[at / n]) * of_sum[at];
  __syncthreads();
}

// The rough D of sample s described above.
template <typename T, int S>
__device__ inline void first_response(const Group<T, S>& g, int s) {
  const Plan<T>* p = g.p;
  Int n_out = p->n_out, pairs = n_out * n_out, row = g.first + s;
  for (Int at = threadIdx.x; at < pairs; at += blockDim.x) {
    Int k = at / n_out, j = at % n_out;
    matrix_row(g, s, k)[j] = p->to_readout && k == j ? T(1) : T(0);
  }
  T gains_above = 1;
  for (Int l = p->n_hidden - 1; l >= 0; --l) {
    Int n = p->sizes[l + 1];
    const T *Q = feedback_row(p, l, row), *gain = layer_row(p, p->gain, l, row);
    T factor = p->strength[row * p->n_hidden + l] * gains_above;
    // As many threads as there are share out the terms of each pair's sum.
    int columns = pairs < Int(blockDim.x) ? int(pairs) : int(blockDim.x);
    int parts = blockDim.x / columns;
    int part = threadIdx.x / columns, column = threadIdx.x % columns;
    for (Int start = 0; start < pairs; start += columns) {
      Int at = start + column;
      T sum = 0;
      if (part < parts && at < pairs) {
        const T *Q_k = Q + (at / n_out) * n, *Q_j = Q + (at % n_out) * n;
        for (Int i = part; i < n; i += parts) sum += Q_k[i] * gain[i] * Q_j[i];
      }
      __syncthreads();
      g.partial[threadIdx.x] = sum;
      __syncthreads();
      if (part == 0 && at < pairs) {
        T total = 0;
        for (int k = 0; k < parts; ++k) total += g.partial[k * columns + column];
        matrix_row(g, s, at / n_out)[at % n_out] += factor * total;
      }
    }
    T sum = 0;
    for (Int i = threadIdx.x; i < n; i += blockDim.x) sum += gain[i];
    gains_above *= block_sum(sum, g.partial) / T(n);
  }
  __syncthreads();
}

// Correct D of the samples still sought by what the last move did to the output.
template <typename T, int S>
__device__ inline void correct(const Group<T, S>& g, const int* is_found) {
  Int n = g.p->n_out;
  const T *move = output_array(g, MOVE), *before = output_array(g, OUTPUT_BEFORE);
  for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
    int s = int(at / n);
    Int j = at % n;
    T squares = 0, unexplained = g.p->u_out[g.first * n + at] - before[at];
    for (Int k = 0; k < n; ++k) {
      T m = move[s * n + k];
      squares += m * m;
      unexplained -= m * matrix_row(g, s, k)[j];
    }
    if (!(squares > T(0)) || is_found[s]) continue;
    for (Int k = 0; k < n; ++k) matrix_row(g, s, k)[j] += move[s * n + k] * unexplained / squares;
  }
  __syncthreads();
}

// c Q^l of sample s at unit i.
template <typename T, int S>
__device__ inline T disinhibition(const Group<T, S>& g, Int l, int s, int i, const T* c) {
  int n = int(g.p->sizes[l + 1]), n_out = int(g.p->n_out);
  const T* Q = feedback_row(g.p, l, g.first + s) + i;
  T q = 0, of_output[AT_ONCE];
  for (int first = 0; first < n_out; first += AT_ONCE) {
    int left = n_out - first;
    read_at_once(of_output, Q + first * n, n, left);
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k)
      q += (k < left ? c[s * n_out + first + k] : T(0)) * of_output[k];
  }
  return q;
}

// Neurons' Newton steps under control c, at most `passes` in each layer, from the u_E that lie
// in the closed loop's arrays; the readout's potential without c into `above`. All threads meet
// at both ends. Samples with a flag of `is_found` stay as they are.
template <typename T, int S>
__device__ inline void relax(
    const Group<T, S>& g, const int* is_found, int* is_unsolved, const T* c, int passes) {
  const Plan<T>* p = g.p;
  const T* theta = p->theta + g.replica * p->n_parameters;
  __syncthreads();
  for (int s = threadIdx.x; s < S; s += blockDim.x) is_unsolved[s] = 0;
  __syncthreads();
  for (Int l = 0; l < p->n_hidden; ++l) {
    int n = int(p->sizes[l + 1]);
    const T* bias = theta + bias_start(p, l);
    if (l > 0) group_product(g, weight(p, g.replica, l), p->sizes[l], n, g.below, g.above);
    for (int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
      int s = at / n, i = at % n;
      Int row = g.first + s;
      if (is_found[s]) {
        g.below[at] = 0;
        continue;
      }
      T a = l == 0 ? p->a_1[row * n + i] : g.above[at] + bias[i];
      T q = disinhibition(g, l, s, i, c), r;
      T u = layer_row(p, p->u_E, l, row)[i];
      bool solved = false, was_small = false;
      for (int pass = 0; pass < passes && !solved; ++pass)
        solved = newton_step(g.settings, a, q, u, r, was_small);
      if (!solved) is_unsolved[s] = 1;
      layer_row(p, p->u_E, l, row)[i] = u;
      layer_row(p, p->u_I, l, row)[i] = r - q;
      g.below[at] = r;
    }
  }
  Int top = p->n_hidden;
  group_product(g, weight(p, g.replica, top), p->sizes[top], p->n_out, g.below, g.above);
}

// The readout's potential that `relax` left, the control with it, of samples still sought.
template <typename T, int S>
__device__ inline void keep_output(const Group<T, S>& g, const int* is_found) {
  Int n = g.p->n_out;
  const T* c = output_array(g, CONTROL);
  for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x)
    if (!is_found[at / n])
      g.p->u_out[g.first * n + at] = g.above[at] + (g.p->to_readout ? c[at] : T(0));
  __syncthreads();
}

// Whether rounding of c Q leaves half the digits of one, of sample s, by one thread.
template <typename T, int S>
__device__ inline bool is_resolved(const Group<T, S>& g, int s) {
  const Plan<T>* p = g.p;
  Int n_out = p->n_out;
  const T* c = output_array(g, CONTROL) + s * n_out;
  T effort = 0, limit = T(1) / sqrt(machine_epsilon<T>());
  for (Int k = 0; k < n_out; ++k) effort += fabs(c[k]);
  // No feedback weight exceeds the norm of all.
  if (p->normalize && effort * g.settings[NORM] <= limit) return true;
  for (Int l = 0; l < p->n_hidden; ++l) {
    Int n = p->sizes[l + 1];
    const T* Q = feedback_row(p, l, g.first + s);
    for (Int i = 0; i < n; ++i) {
      T total = 0;
      for (Int k = 0; k < n_out; ++k) total += fabs(c[k] * Q[k * n + i]);
      if (!(total <= limit)) return false;
    }
  }
  return true;
}

// Whether the step that is left of sample s has no weight, by one thread.
template <typename T, int S>
__device__ inline bool is_negligible(const Group<T, S>& g, int s) {
  Int n = g.p->n_out, row = g.first + s;
  const T *c = output_array(g, CONTROL) + s * n, *left = output_array(g, RIGHT) + s * n;
  T kappa = g.settings[KAPPA], largest_c = 0, largest_out = 0;
  for (Int k = 0; k < n; ++k) {
    T u = fabs(g.p->u_out[row * n + k]);
    largest_c = fabs(c[k]) > largest_c ? fabs(c[k]) : largest_c;
    largest_out = u > largest_out ? u : largest_out;
  }
  T scale = largest_c + (kappa < T(1) ? kappa : T(1)) * (T(1) + largest_out);
  T allowed = pow(machine_epsilon<T>(), T(0.75)) * scale;
  bool good = true;
  // Written so that what is no number is not good.
  for (Int k = 0; k < n; ++k) good = good && fabs(left[k]) <= allowed;
  return good;
}

// Integral of sample s where its loop is found, by one thread: of c, and not of the error, a
// small difference at large gain; the step that is left costs nothing more.
template <typename T, int S>
__device__ inline void keep_integral(const Group<T, S>& g, int s) {
  const Plan<T>* p = g.p;
  Int n = p->n_out, row = g.first + s;
  T gain = g.settings[K_P] * g.settings[LEAK] + g.settings[K_I];
  T* z = p->z + row * n;
  if (!(gain > T(0))) error(p->is_mse, n, p->u_out + row * n, p->target + row * n, z);
  const T *c = output_array(g, CONTROL) + s * n, *left = output_array(g, RIGHT) + s * n;
  for (Int k = 0; k < n; ++k)
    z[k] = gain > T(0) ? (c[k] + left[k]) / gain : z[k] / g.settings[LEAK];
}

// Start at c = 0 from the open loop.
template <typename T, int S>
__device__ inline void start_from_open_loop(const Group<T, S>& g) {
  const Plan<T>* p = g.p;
  Int n_out = p->n_out;
  for (Int l = 0; l < p->n_hidden; ++l) {
    Int n = p->sizes[l + 1];
    T *u = layer_row(p, p->u_E, l, g.first), *open = layer_row(p, p->open_u_E, l, g.first);
    for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x) u[at] = open[at];
  }
  for (Int at = threadIdx.x; at < g.samples * n_out; at += blockDim.x) {
    p->u_out[g.first * n_out + at] = p->open_u_out[g.first * n_out + at];
    output_array(g, CONTROL)[at] = 0;
  }
  __syncthreads();
}

template <typename T, int S>
__global__ void __launch_bounds__(GROUP_BOUNDS) closed_loop(const Plan<T>* p, Int) {
  Group<T, S> g = group_of_block<T, S>(p);
  T *c = output_array(g, CONTROL), *move = output_array(g, MOVE);
  T *before = output_array(g, OUTPUT_BEFORE), *left = output_array(g, RIGHT);
  int *is_found = g.flags, *is_unsolved = g.flags + S;
  Int n = p->n_out, all = g.samples * n;
  for (int s = 0; s < g.samples; ++s) first_response(g, s);
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x) is_found[s] = 0;
  start_from_open_loop(g);
  control_step(g);
  for (int iteration = 0; iteration < MAX_ITERATIONS; ++iteration) {
    for (Int at = threadIdx.x; at < all; at += blockDim.x) {
      if (is_found[at / n]) continue;
      move[at] = left[at];
      c[at] += left[at];
      before[at] = p->u_out[g.first * n + at];
    }
    relax(g, is_found, is_unsolved, c, 1);
    keep_output(g, is_found);
    correct(g, is_found);
    control_step(g);
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
      if (is_found[s] || is_unsolved[s] || !is_negligible(g, s)) continue;
      T size = 0, size_left = 0;
      for (Int k = s * n; k < (s + 1) * n; ++k) {
        size += move[k] * move[k];
        size_left += left[k] * left[k];
      }
      // A step that shrinks slowly says that D is another here, and what is left is more.
      if (!(size_left <= size / 4) || !is_resolved(g, s)) continue;
      is_found[s] = 1;
      keep_integral(g, s);
      atomicAdd(p->counts + N_WAYS + FOUND, Count(1));
    }
    __syncthreads();
    int sought = 0;
    for (int s = 0; s < g.samples; ++s) sought += !is_found[s];
    if (sought == 0) break;
    __syncthreads();
  }
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x)
    p->closed_left[g.first + s] = !is_found[s];
}

// D = du_out/dc of the present state, exact, into the left half of the matrix: row k is the
// readout's response to the k-th control signal. In each layer du_E = gain (da + phi_I' Q).
template <typename T>
__device__ inline void output_sensitivity(const Group<T, 1>& g) {
  const Plan<T>* p = g.p;
  Int n_out = p->n_out, row = g.first, below_n = 0;
  const T* below = nullptr;
  for (Int l = 0; l <= p->n_hidden; ++l) {
    bool is_readout = l == p->n_hidden;
    Int n = is_readout ? n_out : p->sizes[l + 1];
    const T* W = weight(p, g.replica, l);
    // Rows as far apart as the widest layer asks: blocks are at different layers.
    T* response = (l % 2 ? p->J_odd : p->J_even) + row * n_out * p->widest;
    for (Int at = threadIdx.x; at < n_out * n; at += blockDim.x) {
      Int k = at / n, i = at % n;
      T da = 0;
      for (Int j = 0; j < below_n; ++j) da += below[k * below_n + j] * W[j * n + i];
      if (is_readout) {
        matrix_row(g, 0, k)[i] = da + (p->to_readout && k == i ? T(1) : T(0));
        continue;
      }
      T rate, slope_E, slope_I;
      rate_and_slope_E(g.settings, layer_row(p, p->u_E, l, row)[i], rate, slope_E);
      rate_and_slope_I(g.settings, layer_row(p, p->u_I, l, row)[i], rate, slope_I);
      response[at] = slope_E * (da + slope_I * feedback_row(p, l, row)[at]) /
                     (T(1) + slope_I * slope_E);
    }
    __syncthreads();
    below = response;
    below_n = n;
  }
}

// Size of c - kappa e of the one sample of a group, divided by kappa where that is above 1, by
// one thread.
template <typename T>
__device__ inline double distance_from_root(const Group<T, 1>& g) {
  const Plan<T>* p = g.p;
  Int n = p->n_out;
  const T *u = p->u_out + g.first * n, *target = p->target + g.first * n;
  T kappa = g.settings[KAPPA], over = kappa > T(1) ? kappa : T(1);
  T* e = output_array(g, SOFTMAX);
  error(p->is_mse, n, u, target, e);
  double squares = 0;
  for (Int k = 0; k < n; ++k) {
    double F = output_array(g, CONTROL)[k] / over - kappa / over * e[k];
    squares += F * F;
  }
  return sqrt(squares);
}

// For samples that were not found: Newton's method with D taken anew in each iteration and a
// line search on the distance from the root, from the open loop. A block a row.
template <typename T>
__global__ void __launch_bounds__(GROUP_BOUNDS) search_again(const Plan<T>* p, Int) {
  Group<T, 1> g = group_of_block<T, 1>(p);
  if (!p->closed_left[g.first]) return;
  Int n_out = p->n_out;
  T *c = output_array(g, CONTROL), *move = output_array(g, MOVE);
  T *from = output_array(g, OUTPUT_BEFORE), *left = output_array(g, RIGHT);
  int *is_found = g.flags, *is_unsolved = g.flags + 1, *is_enough = g.flags + 2;
  double *size = g.scalars + 3, *fraction = g.scalars + 4;
  if (threadIdx.x == 0) is_found[0] = 0;
  start_from_open_loop(g);
  relax(g, is_found, is_unsolved, c, MAX_PASSES);
  keep_output(g, is_found);
  for (int iteration = 0; iteration < MAX_FRESH_ITERATIONS; ++iteration) {
    output_sensitivity(g);
    control_step(g);
    if (threadIdx.x == 0) {
      is_found[0] = !is_unsolved[0] && is_negligible(g, 0) && is_resolved(g, 0);
      size[0] = distance_from_root(g);
      fraction[0] = 1;
      is_enough[0] = 0;
    }
    for (Int j = threadIdx.x; j < n_out; j += blockDim.x) {
      move[j] = left[j];
      from[j] = c[j];
    }
    __syncthreads();
    if (is_found[0]) break;
    for (int halving = 0; halving < MAX_HALVINGS && !is_enough[0]; ++halving) {
      for (Int j = threadIdx.x; j < n_out; j += blockDim.x)
        c[j] = from[j] + T(fraction[0]) * move[j];
      relax(g, is_found, is_unsolved, c, MAX_PASSES);
      keep_output(g, is_found);
      control_step(g);
      if (threadIdx.x == 0) {
        // Written so that a distance that is no number counts as worse.
        is_enough[0] =
            is_negligible(g, 0) || distance_from_root(g) <= (1 - fraction[0] / 4) * size[0];
        if (!is_enough[0]) fraction[0] /= 2;
      }
      __syncthreads();
    }
    // No fraction of the step leads on.
    if (!is_enough[0]) break;
  }
  if (threadIdx.x == 0 && is_found[0]) {
    keep_integral(g, 0);
    p->closed_left[g.first] = 0;
    atomicAdd(p->counts + N_WAYS + FOUND_ANEW, Count(1));
  }
}
