// The closed loop as n_out equations in c (model page, section 6).
//
// The root of c - kappa e(u_out(c)) is found by Newton's method, in the form that holds for
// every gain (`control_step` of the reference), with the network's response D = du_out/dc
// taken once at the open-loop state and corrected after every step by what the step did
// (Broyden, Math. Comp. 19 (1965) 577-593); loop gains above a layer are their mean in it. The
// neurons take one Newton step for each step of c: the loop is found when both have nothing
// left. Samples that are found keep what they have; the few that are not get, one by one,
// Newton's method with a fresh D and a line search, and after that are integrated.
#pragma once

#include "feedback.cuh"
#include "group.cuh"
#include "integration.cuh"
#include "neurons.cuh"
#include "readout.cuh"

enum { MAX_ITERATIONS = 25, MAX_FRESH_ITERATIONS = 30, MAX_HALVINGS = 12 };

// Control signals whose responses one thread finds together.
enum { SIGNALS = 5 };

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
__device__ inline T excess_of(int n, const T* target) {
  T total = 0;
  for (int k = 0; k < n; ++k) total += target[k];
  T excess = total - T(1);
  return fabs(excess) > T(n) * machine_epsilon<T>() ? excess : T(0);
}

// Column i of the system of sample s, its entries `apart` from each other: A, and two right
// sides behind it.
template <typename T, int S>
__device__ inline T* system_column(const Group<T, S>& g, int s, int i, int& apart) {
  int n = int(g.p->n_out);
  apart = i < n ? 2 * n : 1;
  if (i < n) return matrix_row(g, s, 0) + n + i;
  return output_array(g, i == n ? RIGHT : RIGHT_OF_SUM) + s * n;
}

// Step k of the elimination below, of a system whose columns fit in registers: every lane reads
// column k and its own, finds the pivot, swaps two rows and eliminates without another look.
template <typename T, int S>
__device__ inline void eliminate_small(const Group<T, S>& g, int s, int k) {
  int n = int(g.p->n_out), of_A, apart, rows[AT_ONCE];
  T factors[AT_ONCE], candidates[AT_ONCE], own[AT_ONCE];
  const T* A_k = system_column(g, s, k, of_A);
  read_at_once(factors, A_k, of_A, n);
  // The first of the largest from row k on, in pairs, then in pairs of pairs.
#pragma unroll
  for (int r = 0; r < AT_ONCE; ++r) {
    candidates[r] = r < k ? T(0) : factors[r];
    rows[r] = r < k ? k : r;
  }
#pragma unroll
  for (int apart = 1; apart < AT_ONCE; apart *= 2) {
#pragma unroll
    for (int r = 0; r + apart < AT_ONCE; r += 2 * apart) {
      bool is_larger = fabs(candidates[r + apart]) > fabs(candidates[r]);
      candidates[r] = is_larger ? candidates[r + apart] : candidates[r];
      rows[r] = is_larger ? rows[r + apart] : rows[r];
    }
  }
  int pivot = rows[0];
  T scale = T(1) / candidates[0], of_upper = A_k[k * of_A];
  // Nobody writes column k, nor reads it again.
  for (int i = k + 1 + lane_of_thread(); i < n + 2; i += WARP) {
    T* column = system_column(g, s, i, apart);
    read_at_once(own, column, apart, n);
    T upper = column[k * apart], of_row = column[pivot * apart] * scale;
#pragma unroll
    for (int r = 0; r < AT_ONCE; ++r) {
      T entry = r == pivot ? upper : own[r], factor = r == pivot ? of_upper : factors[r];
      if (r < n) column[r * apart] = r == k ? of_row : entry - factor * of_row;
    }
  }
}

// The same of a system of any size.
template <typename T, int S>
__device__ inline void eliminate(const Group<T, S>& g, int s, int k) {
  int n = int(g.p->n_out), of_A, apart, pivot = k;
  const T* A_k = system_column(g, s, k, of_A);
  for (int r = k + 1; r < n; ++r)
    if (fabs(A_k[r * of_A]) > fabs(A_k[pivot * of_A])) pivot = r;
  T scale = T(1) / A_k[pivot * of_A], of_upper = A_k[k * of_A];
  for (int i = k + 1 + lane_of_thread(); i < n + 2; i += WARP) {
    T* column = system_column(g, s, i, apart);
    T upper = column[k * apart], of_row = column[pivot * apart] * scale;
    column[pivot * apart] = upper;
    column[k * apart] = of_row;
    for (int r = 0; r < n; ++r)
      if (r != k) column[r * apart] -= (r == pivot ? of_upper : A_k[r * of_A]) * of_row;
  }
}

// Gauss-Jordan elimination with row pivots, by a warp: a column a lane, which all find the pivot
// for themselves. A singular matrix leaves what is no number, with which no sample is ever found.
template <typename T, int S>
__device__ inline void solve(const Group<T, S>& g, int s) {
  int n = int(g.p->n_out);
  for (int k = 0; k < n; ++k) {
    if (n <= AT_ONCE)
      eliminate_small(g, s, k);
    else
      eliminate(g, s, k);
    __syncwarp();
  }
}

// F_j of sample s and the factors of its column, I / over + under D; of cross-entropy the softmax
// lies there, and the logarithm of its sum is given.
template <typename T, int S>
__device__ inline void equation(
    const Group<T, S>& g, int s, int j, T log_sum, T& F, T& over, T& under) {
  const Plan<T>* p = g.p;
  int n = int(p->n_out);
  Int row = g.first + s;
  T kappa = g.settings[KAPPA], u = p->u_out[row * n + j], target = p->target[row * n + j];
  T c = output_array(g, CONTROL)[s * n + j], weight = kappa;
  over = weight > T(1) ? weight : T(1);
  if (p->is_mse) {
    F = c / over - (weight < T(1) ? weight : T(1)) * (target - u);
  } else {
    T pi = output_array(g, SOFTMAX)[s * n + j];
    T q = target - c / (kappa > smallest<T>() ? kappa : smallest<T>());
    bool is_stiff = q > T(0) && kappa * q * matrix_row(g, s, j)[j] >= T(1);
    weight = kappa * (is_stiff ? q : pi);
    over = weight > T(1) ? weight : T(1);
    F = is_stiff ? (weight < T(1) ? weight : T(1)) * (u - log_sum - log(q))
                 : c / over - kappa / over * (target - pi);
  }
  under = weight < T(1) ? weight : T(1);
}

// Newton's step in c of sample s, into RIGHT, from D and the output of the present state, by a
// warp, whose lanes meet at both ends.
template <typename T, int S>
__device__ inline void control_step(const Group<T, S>& g, int s) {
  const Plan<T>* p = g.p;
  int n = int(p->n_out);
  Int row = g.first + s;
  T kappa = g.settings[KAPPA], log_sum = 0, of_output[AT_ONCE];
  const T *u_out = p->u_out + row * n, *targets = p->target + row * n;
  const T *D = matrix_row(g, s, 0), *c = output_array(g, CONTROL) + s * n;
  T *pi = output_array(g, SOFTMAX) + s * n;
  T *right = output_array(g, RIGHT) + s * n, *of_sum = output_array(g, RIGHT_OF_SUM) + s * n;
  __syncwarp();
  if (!p->is_mse) log_sum = softmax_by_warp(n, u_out, pi);
  for (int j = lane_of_thread(); j < n; j += WARP) {
    T F, over, under;
    equation(g, s, j, log_sum, F, over, under);
    T* A_j = matrix_row(g, s, j) + n;
    for (int first = 0; first < n; first += AT_ONCE) {
      read_at_once(of_output, D + first * 2 * n + j, 2 * n, n - first);
#pragma unroll
      for (int k = 0; k < AT_ONCE; ++k)
        if (k < n - first)
          A_j[first + k] = under * of_output[k] + (first + k == j ? T(1) / over : T(0));
    }
    right[j] = -F;
    of_sum[j] = under;
  }
  __syncwarp();
  solve(g, s);
  if (p->is_mse) return;
  T missing = kappa * excess_of(n, targets), slack = 0;
  for (int k = 0; k < n; ++k) {
    missing -= c[k] + right[k];
    slack += of_sum[k];
  }
  T share = slack != T(0) ? missing / slack : T(0);
  __syncwarp();
  for (int j = lane_of_thread(); j < n; j += WARP) right[j] += share * of_sum[j];
  __syncwarp();
}

// The rough D of all samples described above: a warp takes up to AT_ONCE entries of a row, whose
// sums over all units of all layers, sum_l factor^l Q_k gain Q_j, go on side by side.
template <typename T, int S>
__device__ inline void first_response(const Group<T, S>& g) {
  const Plan<T>* p = g.p;
  int n_out = int(p->n_out), parts = (n_out + AT_ONCE - 1) / AT_ONCE;
  for (int task = warp_of_thread(); task < g.samples * n_out * parts; task += warps_of_block()) {
    int s = task / (n_out * parts), k = task / parts % n_out, first = task % parts * AT_ONCE;
    Int row = g.first + s;
    T sums[AT_ONCE], Q_j[AT_ONCE], gains_above = 1;
#pragma unroll
    for (int j = 0; j < AT_ONCE; ++j) sums[j] = 0;
    for (Int l = p->n_hidden - 1; l >= 0; --l) {
      int n = int(p->sizes[l + 1]);
      const T *Q = feedback_row(p, l, row), *gain = layer_row(p, p->gain, l, row);
      T factor = p->strength[row * p->n_hidden + l] * gains_above, gains = 0;
      for (int i = lane_of_thread(); i < n; i += WARP) {
        T gain_i = gain[i], Q_k = Q[k * n + i];
        read_at_once(Q_j, Q + first * n + i, n, n_out - first);
        gains += gain_i;
        T of_row = factor * (Q_k * gain_i);
#pragma unroll
        for (int j = 0; j < AT_ONCE; ++j) sums[j] += of_row * Q_j[j];
      }
      gains_above *= warp_sum(gains) / T(n);
    }
#pragma unroll
    for (int j = 0; j < AT_ONCE; ++j) {
      T total = warp_sum(sums[j]);
      if (lane_of_thread() == 0 && first + j < n_out)
        matrix_row(g, s, k)[first + j] = total + (p->to_readout && k == first + j ? T(1) : T(0));
    }
  }
  __syncthreads();
}

// Correct D of sample s by what the last move did to the output, by a warp. Not where a state at
// either end of the move is unsolved and the change is mainly another than D lets expect: it is
// then one of states that still come to rest, which no move has brought about.
template <typename T, int S>
__device__ inline void correct(const Group<T, S>& g, int s, bool are_solved) {
  int n = int(g.p->n_out);
  const T *move = output_array(g, MOVE) + s * n, *before = output_array(g, OUTPUT_BEFORE) + s * n;
  const T* u_out = g.p->u_out + (g.first + s) * n;
  T of_output[AT_ONCE], squares = 0, expected = 0, surprise = 0;
  for (int k = 0; k < n; ++k) squares += move[k] * move[k];
  if (!(squares > T(0))) return;
  if (!are_solved) {
    for (int j = lane_of_thread(); j < n; j += WARP) {
      T answer = 0, change = u_out[j] - before[j];
      for (int k = 0; k < n; ++k) answer += move[k] * matrix_row(g, s, k)[j];
      expected += answer * answer;
      surprise += (change - answer) * (change - answer);
    }
    if (!(warp_sum(surprise) <= warp_sum(expected))) return;
  }
  for (int j = lane_of_thread(); j < n; j += WARP) {
    T* D_j = matrix_row(g, s, 0) + j;
    T unexplained = u_out[j] - before[j];
    for (int k = 0; k < n; ++k) unexplained -= move[k] * D_j[k * 2 * n];
    for (int first = 0; first < n; first += AT_ONCE) {
      read_at_once(of_output, D_j + first * 2 * n, 2 * n, n - first);
#pragma unroll
      for (int k = 0; k < AT_ONCE; ++k)
        if (k < n - first)
          D_j[(first + k) * 2 * n] = of_output[k] + move[first + k] * unexplained / squares;
    }
  }
}

// Neurons' Newton steps under control c, at most `passes` in each layer, from the u_E that lie
// in the closed loop's arrays; the readout's potential without c into `above`. All threads meet
// at both ends. Samples with a flag of `is_found` stay as they are.
template <Caller CALLER, typename T, int S>
__device__ inline void relax(
    const Group<T, S>& g, const int* is_found, int* is_unsolved, const T* c, int passes) {
  const Plan<T>* p = g.p;
  const T* theta = p->theta + g.replica * p->n_parameters;
  int n_out = int(p->n_out);
  for (int s = threadIdx.x; s < S; s += blockDim.x) is_unsolved[s] = 0;
  __syncthreads();
  for (Int l = 0; l < p->n_hidden; ++l) {
    int n = int(p->sizes[l + 1]);
    if (l > 0) group_product<CALLER>(g, weight(p, g.replica, l), p->sizes[l], n);
    // All addresses now: after a store, which might have changed it, the plan is read anew.
    const T *bias = theta + bias_start(p, l), *a_1 = p->a_1 + g.first * n;
    const T* Q = feedback_row(p, l, g.first);
    T *u_E = layer_row(p, p->u_E, l, g.first), *u_I = layer_row(p, p->u_I, l, g.first);
    for (int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
      int s = at / n, i = at % n;
      if (is_found[s]) {
        g.below[at] = 0;
        continue;
      }
      T a = (l == 0 ? a_1[at] : g.above[at]) + bias[i], u = u_E[at], r;
      T q = disinhibition(Q, n_out, n, s, i, c);
      bool solved = false;
      for (int pass = 0; pass < passes && !solved; ++pass)
        solved = newton_step(g.settings, a, q, u, r);
      if (!solved) is_unsolved[s] = 1;
      u_E[at] = u;
      u_I[at] = r - q;
      g.below[at] = r;
    }
  }
  Int top = p->n_hidden;
  group_product<CALLER>(g, weight(p, g.replica, top), p->sizes[top], n_out);
}

// The readout's potential that `relax` left, the control with it, of sample s, by a warp.
template <typename T, int S>
__device__ inline void keep_output(const Group<T, S>& g, int s) {
  int n = int(g.p->n_out);
  bool is_direct = g.p->to_readout;
  const T *c = output_array(g, CONTROL), *above = g.above;
  T* u_out = g.p->u_out + g.first * n;
  for (int at = s * n + lane_of_thread(); at < (s + 1) * n; at += WARP)
    u_out[at] = above[at] + (is_direct ? c[at] : T(0));
}

// Whether rounding of c Q leaves half the digits of one, of sample s, as a warp finds it.
template <typename T, int S>
__device__ inline bool is_resolved(const Group<T, S>& g, int s) {
  const Plan<T>* p = g.p;
  int n_out = int(p->n_out);
  const T* c = output_array(g, CONTROL) + s * n_out;
  T effort = 0, limit = T(1) / sqrt(machine_epsilon<T>());
  for (int k = 0; k < n_out; ++k) effort += fabs(c[k]);
  // No feedback weight exceeds the norm of all.
  if (p->normalize && effort * g.settings[NORM] <= limit) return true;
  int unresolved = 0;
  for (Int l = 0; l < p->n_hidden; ++l) {
    int n = int(p->sizes[l + 1]);
    const T* Q = feedback_row(p, l, g.first + s);
    for (int i = lane_of_thread(); i < n; i += WARP) {
      T total = 0;
      for (int k = 0; k < n_out; ++k) total += fabs(c[k] * Q[k * n + i]);
      unresolved += !(total <= limit);
    }
  }
  return warp_sum(unresolved) == 0;
}

// Up to what size a step in c of sample s has no weight. Any thread may ask.
template <typename T, int S>
__device__ inline T negligible_step(const Group<T, S>& g, int s) {
  int n = int(g.p->n_out);
  const T* c = output_array(g, CONTROL) + s * n;
  const T* u_out = g.p->u_out + (g.first + s) * n;
  T kappa = g.settings[KAPPA], largest_c = 0, largest_out = 0;
  for (int k = 0; k < n; ++k) {
    T u = fabs(u_out[k]);
    largest_c = fabs(c[k]) > largest_c ? fabs(c[k]) : largest_c;
    largest_out = u > largest_out ? u : largest_out;
  }
  T scale = largest_c + (kappa < T(1) ? kappa : T(1)) * (T(1) + largest_out);
  return negligible_part<T>() * scale;
}

// Whether no entry of a step in c is larger than allowed. Any thread may ask.
template <typename T>
__device__ inline bool is_within(int n, const T* step, T allowed) {
  bool good = true;
  // Written so that what is no number is not good.
  for (int k = 0; k < n; ++k) good = good && fabs(step[k]) <= allowed;
  return good;
}

// Whether the step that is left of sample s has no weight. Any thread may ask.
template <typename T, int S>
__device__ inline bool is_negligible(const Group<T, S>& g, int s) {
  int n = int(g.p->n_out);
  return is_within(n, output_array(g, RIGHT) + s * n, negligible_step(g, s));
}

// Whether the step that is left of sample s would be small if the network's response to c were the
// least there is, the readout's own, by a warp: the system is a diagonal then.
template <typename T, int S>
__device__ inline bool is_small_at_least_response(const Group<T, S>& g, int s, T allowed) {
  const Plan<T>* p = g.p;
  int n = int(p->n_out);
  Int row = g.first + s;
  T direct = p->to_readout ? T(1) : T(0), log_sum = 0, F, over, under, share = 0;
  if (!p->is_mse) {
    const T* c = output_array(g, CONTROL) + s * n;
    __syncwarp();
    log_sum = softmax_by_warp(n, p->u_out + row * n, output_array(g, SOFTMAX) + s * n);
    __syncwarp();
    T missing = g.settings[KAPPA] * excess_of(n, p->target + row * n), slack = 0;
    for (int k = 0; k < n; ++k) {
      equation(g, s, k, log_sum, F, over, under);
      T diagonal = under * direct + T(1) / over;
      missing -= c[k] - F / diagonal;
      slack += under / diagonal;
    }
    share = slack != T(0) ? missing / slack : T(0);
  }
  bool good = true;
  for (int k = 0; k < n; ++k) {
    equation(g, s, k, log_sum, F, over, under);
    // Written so that what is no number is not good.
    good = good && fabs((share * under - F) / (under * direct + T(1) / over)) <= allowed;
  }
  return good;
}

// Whether the search for sample s is at its end, by a warp.
template <typename T, int S>
__device__ inline bool has_been_found(const Group<T, S>& g, int s) {
  int n = int(g.p->n_out);
  const T *move = output_array(g, MOVE) + s * n, *left = output_array(g, RIGHT) + s * n;
  T allowed = negligible_step(g, s), size = 0, size_left = 0;
  if (!is_within(n, left, allowed)) return false;
  for (int k = 0; k < n; ++k) {
    size += move[k] * move[k];
    size_left += left[k] * left[k];
  }
  // A step that shrinks slowly says that D is another here, and what is left is more. And a response
  // that is too large in a direction not yet gone makes any step small: the least response tells,
  // or the step before was small.
  if (!(size_left <= size / 4)) return false;
  if (!is_within(n, move, allowed) && !is_small_at_least_response(g, s, 4 * allowed)) return false;
  return is_resolved(g, s);
}

// Integral of sample s where its loop is found, by a warp: of c, and not of the error, a small
// difference at large gain; the step that is left costs nothing more.
template <typename T, int S>
__device__ inline void keep_integral(const Group<T, S>& g, int s) {
  const Plan<T>* p = g.p;
  int n = int(p->n_out);
  Int row = g.first + s;
  T gain = g.settings[K_P] * g.settings[LEAK] + g.settings[K_I];
  T* z = p->z + row * n;
  if (!(gain > T(0))) error_by_warp(p->is_mse, n, p->u_out + row * n, p->target + row * n, z);
  const T *c = output_array(g, CONTROL) + s * n, *left = output_array(g, RIGHT) + s * n;
  for (int k = lane_of_thread(); k < n; k += WARP)
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

// D = du_out/dc of the present state, exact, into the left half of the matrix: row k is the
// readout's response to the k-th control signal. In each layer du_E = gain (da + phi_I' Q). A
// thread has one unit, and the responses to a few signals at once, which share its weights.
template <typename T>
__device__ inline void output_sensitivity(const Group<T, 1>& g) {
  const Plan<T>* p = g.p;
  int n_out = int(p->n_out), below_n = 0, parts = (n_out + SIGNALS - 1) / SIGNALS;
  Int row = g.first;
  const T* below = nullptr;
  for (Int l = 0; l <= p->n_hidden; ++l) {
    bool is_readout = l == p->n_hidden;
    int n = is_readout ? n_out : int(p->sizes[l + 1]);
    const T* W = weight(p, g.replica, l);
    // Rows as far apart as the widest layer asks: blocks are at different layers.
    T* response = (l % 2 ? p->J_odd : p->J_even) + row * n_out * p->widest;
    for (int task = threadIdx.x; task < parts * n; task += blockDim.x) {
      int first = task / n * SIGNALS, i = task % n;
      int signals = n_out - first < SIGNALS ? n_out - first : SIGNALS;
      T da[SIGNALS], w[AT_ONCE];
#pragma unroll
      for (int k = 0; k < SIGNALS; ++k) da[k] = 0;
      for (int j = 0; j < below_n; j += AT_ONCE) {
        read_at_once(w, W + j * n + i, n, below_n - j);
#pragma unroll
        for (int k = 0; k < SIGNALS; ++k) {
          T r[AT_ONCE];
          // Of a signal that is not there, none: its sum is not used.
          read_at_once(r, below + (first + k) * below_n + j, 1, k < signals ? below_n - j : 0);
#pragma unroll
          for (int at = 0; at < AT_ONCE; ++at) da[k] += r[at] * w[at];
        }
      }
      T rate, slope_E = 0, slope_I = 0;
      if (!is_readout) {
        rate_and_slope_E(g.settings, layer_row(p, p->u_E, l, row)[i], rate, slope_E);
        rate_and_slope_I(g.settings, layer_row(p, p->u_I, l, row)[i], rate, slope_I);
      }
#pragma unroll
      for (int k = 0; k < SIGNALS; ++k) {
        if (k >= signals) continue;
        int at = (first + k) * n + i;
        if (is_readout)
          matrix_row(g, 0, first + k)[i] = da[k] + (p->to_readout && first + k == i ? T(1) : T(0));
        else
          response[at] = slope_E * (da[k] + slope_I * feedback_row(p, l, row)[at]) /
                         (T(1) + slope_I * slope_E);
      }
    }
    __syncthreads();
    below = response;
    below_n = n;
  }
}

// Size of c - kappa e of the one sample of a group, divided by kappa where that is above 1, as
// a warp finds it.
template <typename T>
__device__ inline double distance_from_root(const Group<T, 1>& g) {
  const Plan<T>* p = g.p;
  int n = int(p->n_out);
  const T *u = p->u_out + g.first * n, *target = p->target + g.first * n;
  T kappa = g.settings[KAPPA], over = kappa > T(1) ? kappa : T(1);
  T* e = output_array(g, SOFTMAX);
  error_by_warp(p->is_mse, n, u, target, e);
  double squares = 0;
  for (int k = 0; k < n; ++k) {
    double F = output_array(g, CONTROL)[k] / over - kappa / over * e[k];
    squares += F * F;
  }
  return sqrt(squares);
}

// For a sample that was not found: Newton's method with D taken anew in each iteration and a line
// search on the distance from the root, from the open loop; whether that finds it. The block's
// first warp does what concerns outputs alone.
template <typename T>
__device__ inline bool search_again(const Group<T, 1>& g) {
  const Plan<T>* p = g.p;
  int n_out = int(p->n_out), lane = lane_of_thread();
  bool is_first_warp = warp_of_thread() == 0;
  T *c = output_array(g, CONTROL), *move = output_array(g, MOVE);
  T *from = output_array(g, OUTPUT_BEFORE), *left = output_array(g, RIGHT);
  int *is_found = g.flags, *is_unsolved = g.flags + 1, *is_enough = g.flags + 2;
  double size = 0, fraction = 1;
  if (threadIdx.x == 0) is_found[0] = 0;
  start_from_open_loop(g);
  relax<FOR_FEW>(g, is_found, is_unsolved, c, MAX_PASSES);
  if (is_first_warp) keep_output(g, 0);
  for (int iteration = 0; iteration < MAX_FRESH_ITERATIONS; ++iteration) {
    output_sensitivity(g);
    if (is_first_warp) {
      control_step(g, 0);
      bool found = !is_unsolved[0] && is_negligible(g, 0) && is_resolved(g, 0);
      size = distance_from_root(g);
      fraction = 1;
      for (int j = lane; j < n_out; j += WARP) {
        move[j] = left[j];
        from[j] = c[j];
      }
      if (lane == 0) {
        is_found[0] = found;
        is_enough[0] = 0;
      }
    }
    __syncthreads();
    if (is_found[0]) break;
    for (int halving = 0; halving < MAX_HALVINGS && !is_enough[0]; ++halving) {
      if (is_first_warp)
        for (int j = lane; j < n_out; j += WARP) c[j] = from[j] + T(fraction) * move[j];
      relax<FOR_FEW>(g, is_found, is_unsolved, c, MAX_PASSES);
      if (is_first_warp) {
        keep_output(g, 0);
        control_step(g, 0);
        // Written so that a distance that is no number counts as worse.
        bool enough =
            is_negligible(g, 0) || distance_from_root(g) <= (1 - fraction / 4) * size;
        if (!enough) fraction /= 2;
        if (lane == 0) is_enough[0] = enough;
      }
      __syncthreads();
    }
    // No fraction of the step leads on.
    if (!is_enough[0]) break;
  }
  bool found = is_found[0];
  if (found && is_first_warp) {
    keep_integral(g, 0);
    if (lane == 0) atomicAdd(counts_of(g, true) + FOUND_ANEW, Count(1));
  }
  return found;
}

// What the search below leaves, one sample by all threads. A function of its own: it is long, and
// seldom called.
template <typename T>
__device__ __noinline__ void find_alone(const Plan<T>* p, Int row) {
  // No thread may still be looking at the flags of the sample before, which lie at the same place.
  __syncthreads();
  Group<T, 1> g = group_of_rows<T, 1>(p, row, 1);
  if (!search_again(g)) integrate_samples(g, true);
}

template <typename T, int S>
__global__ void __launch_bounds__(GROUP_BOUNDS) closed_loop(const Plan<T>* p, Int) {
  Group<T, S> g = group_of_block<T, S>(p);
  T *c = output_array(g, CONTROL), *move = output_array(g, MOVE);
  T *before = output_array(g, OUTPUT_BEFORE), *left = output_array(g, RIGHT);
  int *is_found = g.flags, *is_unsolved = g.flags + S, *was_unsolved = g.flags + 2 * S;
  int n = int(p->n_out), warp = warp_of_thread(), warps = warps_of_block();
  const T* u_out = p->u_out + g.first * n;
  unsigned sought = 0;
  first_response(g);
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x) is_found[s] = was_unsolved[s] = 0;
  start_from_open_loop(g);
  // What concerns outputs alone is done by a warp a sample, whose lanes do not wait for the
  // block; it meets at the neurons. The first step starts from the open loop, where these rest.
  for (int iteration = 0; iteration <= MAX_ITERATIONS; ++iteration) {
    if (iteration > 0) relax<FOR_ALL>(g, is_found, is_unsolved, c, 1);
    for (int s = warp; s < g.samples; s += warps) {
      if (is_found[s]) continue;
      if (iteration > 0) {
        keep_output(g, s);
        __syncwarp();
        correct(g, s, !(is_unsolved[s] || was_unsolved[s]));
      }
      control_step(g, s);
      if (iteration > 0 && !is_unsolved[s] && has_been_found(g, s)) {
        keep_integral(g, s);
        __syncwarp();
        if (lane_of_thread() == 0) {
          is_found[s] = 1;
          atomicAdd(counts_of(g, true) + FOUND, Count(1));
        }
        continue;
      }
      // Until here every lane has looked at what one of them now changes.
      __syncwarp();
      if (lane_of_thread() == 0) was_unsolved[s] = iteration > 0 && is_unsolved[s];
      for (int at = s * n + lane_of_thread(); at < (s + 1) * n; at += WARP) {
        move[at] = left[at];
        c[at] += left[at];
        before[at] = u_out[at];
      }
    }
    __syncthreads();
    sought = samples_with(g, is_found, 0);
    if (sought == 0) break;
  }
  for (int s = 0; s < g.samples; ++s)
    if (sought >> s & 1) find_alone(p, g.first + s);
}
