// The closed loop as n_out equations in c (model page, section 6).
//
// F(c) = c - kappa e(u_out(c)) is solved by Broyden's method (Math. Comp. 19 (1965) 577-593)
// from a matrix taken once at the open-loop state, in which loop gains above a layer are
// their mean. The neurons take one Newton step for each step of c: the loop is found when
// both have nothing left. Samples that are found keep what they have; the few that are not
// get Newton's method with a fresh matrix and a line search, and after that are integrated.
#pragma once

#include "group.cuh"
#include "neurons.cuh"
#include "readout.cuh"

enum { MAX_ITERATIONS = 25, MAX_FRESH_ITERATIONS = 30, MAX_HALVINGS = 12 };

// Row k of sample s's augmented matrix (n, 2n): a matrix, and in its right half the inverse.
template <typename T, int S>
__device__ inline T* matrix_row(const Group<T, S>& g, int s, Int k) {
  Int n = g.p->n_out;
  return g.matrices + (s * n + k) * 2 * n;
}

// From D in the left half to I + kappa D S for row vectors, beside the identity; S is the
// Jacobian of the softmax pi, or for MSE the identity.
template <typename T, int S>
__device__ inline void to_newton_matrix(const Group<T, S>& g, int s, const T* pi) {
  Int n_out = g.p->n_out;
  T kappa = g.settings[KAPPA];
  for (Int k = threadIdx.x; k < n_out; k += blockDim.x) {
    T *D = matrix_row(g, s, k), dot = 0;
    if (!g.p->is_mse)
      for (Int j = 0; j < n_out; ++j) dot += D[j] * pi[j];
    for (Int j = 0; j < n_out; ++j) {
      T m = g.p->is_mse ? D[j] : (D[j] - dot) * pi[j];
      D[j] = kappa * m + (k == j ? T(1) : T(0));
      D[n_out + j] = k == j ? T(1) : T(0);
    }
  }
  __syncthreads();
}

// The matrix of sample s from which its search begins, with the rough D described above.
template <typename T, int S>
__device__ inline void first_matrix(const Group<T, S>& g, int s, T* softmax_of_open) {
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
  T* pi = softmax_of_open + s * n_out;
  if (threadIdx.x == 0 && !p->is_mse) softmax(n_out, p->open_u_out + row * n_out, pi);
  __syncthreads();
  to_newton_matrix(g, s, pi);
}

// Gauss-Jordan elimination with row pivots: leaves the inverse in the right half. A singular
// matrix leaves what is no number, with which no sample is ever found.
template <typename T, int S>
__device__ inline void invert(const Group<T, S>& g, int s) {
  Int n = g.p->n_out;
  for (Int k = 0; k < n; ++k) {
    Int pivot = k;
    for (Int r = k + 1; r < n; ++r)
      if (fabs(matrix_row(g, s, r)[k]) > fabs(matrix_row(g, s, pivot)[k])) pivot = r;
    __syncthreads();
    T *row = matrix_row(g, s, k), *other = matrix_row(g, s, pivot);
    T scale = T(1) / other[k];
    __syncthreads();
    for (Int i = threadIdx.x; i < 2 * n; i += blockDim.x) {
      T t = other[i];
      other[i] = row[i];
      row[i] = t * scale;
    }
    __syncthreads();
    // Column k itself is left as it is: the left half is not read again.
    for (Int at = threadIdx.x; at < n * 2 * n; at += blockDim.x) {
      Int r = at / (2 * n), i = at % (2 * n);
      if (r != k && i != k) matrix_row(g, s, r)[i] -= matrix_row(g, s, r)[k] * row[i];
    }
    __syncthreads();
  }
}

// Correct the inverse by what the last move did, then move c along -F H.
template <typename T, int S>
__device__ inline void step_and_correct(
    const Group<T, S>& g, const int* is_found, T* c, T* F, T* previous_F, T* move, T* yH, T* Hs,
    bool first) {
  Int n = g.p->n_out, all = g.samples * n;
  if (!first) {
    for (Int at = threadIdx.x; at < all; at += blockDim.x) {
      Int s = at / n, j = at % n;
      T along = 0, across = 0;
      for (Int k = 0; k < n; ++k) {
        along += (F[s * n + k] - previous_F[s * n + k]) * matrix_row(g, s, k)[n + j];
        across += matrix_row(g, s, j)[n + k] * move[s * n + k];
      }
      yH[at] = along;
      Hs[at] = across;
    }
    __syncthreads();
    for (Int at = threadIdx.x; at < all * n; at += blockDim.x) {
      Int s = at / (n * n), k = at / n % n, j = at % n;
      T denominator = 0;
      for (Int i = 0; i < n; ++i) denominator += yH[s * n + i] * move[s * n + i];
      if (denominator != 0 && !is_found[s]) {
        matrix_row(g, s, k)[n + j] +=
            Hs[s * n + k] / denominator * (move[s * n + j] - yH[s * n + j]);
      }
    }
    __syncthreads();
  }
  for (Int at = threadIdx.x; at < all; at += blockDim.x) {
    Int s = at / n, j = at % n;
    T total = 0;
    for (Int k = 0; k < n; ++k) total += F[s * n + k] * matrix_row(g, s, k)[n + j];
    // A second array, for other threads still read the last move.
    yH[at] = -total;
  }
  __syncthreads();
  for (Int at = threadIdx.x; at < all; at += blockDim.x) {
    if (!is_found[at / n]) {
      move[at] = yH[at];
      c[at] += yH[at];
      previous_F[at] = F[at];
    }
  }
  __syncthreads();
}

// c Q^l of sample s at unit i.
template <typename T, int S>
__device__ inline T disinhibition(const Group<T, S>& g, Int l, int s, Int i, const T* c) {
  Int n = g.p->sizes[l + 1], n_out = g.p->n_out;
  const T* Q = feedback_row(g.p, l, g.first + s);
  T q = 0;
  for (Int k = 0; k < n_out; ++k) q += c[s * n_out + k] * Q[k * n + i];
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
    Int n = p->sizes[l + 1];
    const T* bias = theta + bias_start(p, l);
    if (l > 0) group_product(g, weight(p, g.replica, l), p->sizes[l], n, g.below, g.above);
    for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x) {
      int s = int(at / n);
      Int i = at % n, row = g.first + s;
      if (is_found[s]) {
        g.below[at] = 0;
        continue;
      }
      T a = l == 0 ? p->a_1[row * n + i] : g.above[at] + bias[i];
      T q = disinhibition(g, l, s, i, c), r;
      T u = layer_row(p, p->u_E, l, row)[i];
      bool solved = false;
      for (int pass = 0; pass < passes && !solved; ++pass)
        solved = newton_step(g.settings, a, q, u, r);
      if (!solved) is_unsolved[s] = 1;
      layer_row(p, p->u_E, l, row)[i] = u;
      layer_row(p, p->u_I, l, row)[i] = r - q;
      g.below[at] = r;
    }
  }
  Int top = p->n_hidden;
  group_product(g, weight(p, g.replica, top), p->sizes[top], p->n_out, g.below, g.above);
}

// Residual F of sample s from what `relax` left, by one thread; keeps output and integral, and
// says whether the sample's loop is found.
template <typename T, int S>
__device__ inline bool residual_of(
    const Group<T, S>& g, int s, const int* is_unsolved, const T* c, T* F) {
  const Plan<T>* p = g.p;
  Int n_out = p->n_out, row = g.first + s;
  T kappa = g.settings[KAPPA], largest_sum = 0;
  T *u = g.above + s * n_out, *residual = F + s * n_out;
  const T *target = p->target + row * n_out, *c_s = c + s * n_out;
  for (Int k = 0; k < n_out; ++k) {
    if (p->to_readout) u[k] += c_s[k];
    T sum = fabs(u[k]) + fabs(target[k]);
    largest_sum = sum > largest_sum ? sum : largest_sum;
  }
  error(p->is_mse, n_out, u, target, residual);
  T allowed = pow(machine_epsilon<T>(), T(0.75)) * (T(1) + kappa * largest_sum);
  bool good = !is_unsolved[s];
  for (Int k = 0; k < n_out; ++k) {
    T e = residual[k];
    residual[k] = c_s[k] - kappa * e;
    // Written so that what is no number is not good.
    good = good && fabs(residual[k]) <= allowed;
    p->u_out[row * n_out + k] = u[k];
    p->z[row * n_out + k] = e / g.settings[LEAK];
  }
  return good;
}

// Start at c = 0 from the open loop, with F there.
template <typename T, int S>
__device__ inline void start_from_open_loop(const Group<T, S>& g, T* c, T* F) {
  const Plan<T>* p = g.p;
  Int n_out = p->n_out;
  for (Int l = 0; l < p->n_hidden; ++l) {
    Int n = p->sizes[l + 1];
    T *u = layer_row(p, p->u_E, l, g.first), *open = layer_row(p, p->open_u_E, l, g.first);
    for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x) u[at] = open[at];
  }
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
    Int row = g.first + s;
    error(p->is_mse, n_out, p->open_u_out + row * n_out, p->target + row * n_out, F + s * n_out);
    for (Int k = 0; k < n_out; ++k) {
      F[s * n_out + k] *= -g.settings[KAPPA];
      c[s * n_out + k] = 0;
    }
  }
  __syncthreads();
}

template <typename T, int S>
__global__ void __launch_bounds__(MOST_THREADS) closed_loop(const Plan<T>* p, Int) {
  Group<T, S> g = group_of_block<T, S>(p);
  T *c = output_array(g, 0), *F = output_array(g, 1), *previous_F = output_array(g, 2);
  T *move = output_array(g, 3), *yH = output_array(g, 4), *Hs = output_array(g, 5);
  int *is_found = g.flags, *is_unsolved = g.flags + S;
  for (int s = 0; s < g.samples; ++s) {
    first_matrix(g, s, yH);
    invert(g, s);
  }
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x) is_found[s] = 0;
  start_from_open_loop(g, c, F);
  for (int iteration = 0; iteration < MAX_ITERATIONS; ++iteration) {
    step_and_correct(g, is_found, c, F, previous_F, move, yH, Hs, iteration == 0);
    relax(g, is_found, is_unsolved, c, 1);
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
      if (is_found[s] || !residual_of(g, s, is_unsolved, c, F)) continue;
      is_found[s] = 1;
      atomicAdd(p->counts + N_WAYS + FOUND, Count(1));
    }
    __syncthreads();
    int left = 0;
    for (int s = 0; s < g.samples; ++s) left += !is_found[s];
    if (left == 0) break;
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
    T* response = (l % 2 ? p->J_odd : p->J_even) + row * n_out * (is_readout ? 0 : n);
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

// For samples that were not found: Newton's method with a matrix taken anew in each iteration
// and a line search on the size of F, from the open loop. A block a row.
template <typename T>
__global__ void __launch_bounds__(MOST_THREADS) search_again(const Plan<T>* p, Int) {
  Group<T, 1> g = group_of_block<T, 1>(p);
  if (!p->closed_left[g.first]) return;
  Int n_out = p->n_out;
  T *c = output_array(g, 0), *F = output_array(g, 1), *direction = output_array(g, 2);
  T *from = output_array(g, 3), *pi = output_array(g, 4);
  int *is_found = g.flags, *is_unsolved = g.flags + 1, *is_enough = g.flags + 2;
  double *size = g.scalars, *fraction = g.scalars + 1;
  if (threadIdx.x == 0) is_found[0] = 0;
  start_from_open_loop(g, c, F);
  relax(g, is_found, is_unsolved, c, MAX_PASSES);
  if (threadIdx.x == 0) residual_of(g, 0, is_unsolved, c, F);
  __syncthreads();
  for (int iteration = 0; iteration < MAX_FRESH_ITERATIONS && !is_found[0]; ++iteration) {
    output_sensitivity(g);
    if (threadIdx.x == 0 && !p->is_mse) softmax(n_out, p->u_out + g.first * n_out, pi);
    __syncthreads();
    to_newton_matrix(g, 0, pi);
    invert(g, 0);
    for (Int j = threadIdx.x; j < n_out; j += blockDim.x) {
      T total = 0;
      for (Int k = 0; k < n_out; ++k) total += F[k] * matrix_row(g, 0, k)[n_out + j];
      direction[j] = total;
      from[j] = c[j];
    }
    if (threadIdx.x == 0) {
      double squares = 0;
      for (Int k = 0; k < n_out; ++k) squares += double(F[k]) * F[k];
      size[0] = sqrt(squares);
      fraction[0] = 1;
      is_enough[0] = 0;
    }
    __syncthreads();
    for (int halving = 0; halving < MAX_HALVINGS && !is_enough[0]; ++halving) {
      for (Int j = threadIdx.x; j < n_out; j += blockDim.x)
        c[j] = from[j] - T(fraction[0]) * direction[j];
      relax(g, is_found, is_unsolved, c, MAX_PASSES);
      if (threadIdx.x == 0) {
        is_found[0] = residual_of(g, 0, is_unsolved, c, F);
        double squares = 0;
        for (Int k = 0; k < n_out; ++k) squares += double(F[k]) * F[k];
        // Written so that a residual that is no number counts as worse.
        is_enough[0] = is_found[0] || sqrt(squares) <= (1 - fraction[0] / 4) * size[0];
        if (!is_enough[0]) fraction[0] /= 2;
      }
      __syncthreads();
    }
  }
  if (threadIdx.x == 0 && is_found[0]) {
    p->closed_left[g.first] = 0;
    atomicAdd(p->counts + N_WAYS + FOUND_ANEW, Count(1));
  }
}
