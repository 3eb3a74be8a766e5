// The closed loop as n_out equations in c (model page, section 6).
//
// F(c) = c - kappa e(u_out(c)) is solved by Broyden's method (Math. Comp. 19 (1965) 577-593)
// from a matrix taken once at the open-loop state, in which loop gains above a layer are
// their mean. The neurons take one Newton step for each step of c: the loop is found when
// both have nothing left. Samples that are found keep what they have.
#pragma once

#include "group.cuh"
#include "neurons.cuh"
#include "readout.cuh"

enum { MAX_ITERATIONS = 25 };

// Row k of sample s's augmented matrix (n, 2n): a matrix, and in its right half the inverse.
template <typename T, int S>
__device__ inline T* matrix_row(const Group<T, S>& g, int s, Int k) {
  Int n = g.p->n_out;
  return g.matrices + (s * n + k) * 2 * n;
}

// I + kappa D S of sample s for row vectors, beside the identity.
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
  T kappa = g.settings[KAPPA];
  T* pi = softmax_of_open + s * n_out;
  if (threadIdx.x == 0 && !p->is_mse) softmax(n_out, p->open_u_out + row * n_out, pi);
  __syncthreads();
  for (Int k = threadIdx.x; k < n_out; k += blockDim.x) {
    T *D = matrix_row(g, s, k), dot = 0;
    if (!p->is_mse)
      for (Int j = 0; j < n_out; ++j) dot += D[j] * pi[j];
    for (Int j = 0; j < n_out; ++j) {
      T m = p->is_mse ? D[j] : (D[j] - dot) * pi[j];
      D[j] = kappa * m + (k == j ? T(1) : T(0));
      D[n_out + j] = k == j ? T(1) : T(0);
    }
  }
  __syncthreads();
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

template <typename T, int S>
__global__ void __launch_bounds__(MOST_THREADS) closed_loop(const Plan<T>* p, Int) {
  Group<T, S> g = group_of_block<T, S>(p);
  Int n_out = p->n_out, all = g.samples * n_out;
  T *c = output_array(g, 0), *F = output_array(g, 1), *previous_F = output_array(g, 2);
  T *move = output_array(g, 3), *yH = output_array(g, 4), *Hs = output_array(g, 5);
  int *is_found = g.flags, *is_unsolved = g.flags + S;
  T kappa = g.settings[KAPPA];
  const T* theta = p->theta + g.replica * p->n_parameters;
  for (int s = 0; s < g.samples; ++s) {
    first_matrix(g, s, yH);
    invert(g, s);
  }
  for (Int at = threadIdx.x; at < all; at += blockDim.x) c[at] = 0;
  for (Int l = 0; l < p->n_hidden; ++l) {
    Int n = p->sizes[l + 1];
    T *u = layer_row(p, p->u_E, l, g.first), *open = layer_row(p, p->open_u_E, l, g.first);
    for (Int at = threadIdx.x; at < g.samples * n; at += blockDim.x) u[at] = open[at];
  }
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
    Int row = g.first + s;
    is_found[s] = 0;
    error(p->is_mse, n_out, p->open_u_out + row * n_out, p->target + row * n_out, F + s * n_out);
    for (Int k = 0; k < n_out; ++k) F[s * n_out + k] *= -kappa;
  }
  __syncthreads();
  for (int iteration = 0; iteration < MAX_ITERATIONS; ++iteration) {
    step_and_correct(g, is_found, c, F, previous_F, move, yH, Hs, iteration == 0);
    for (int s = threadIdx.x; s < S; s += blockDim.x) is_unsolved[s] = 0;
    for (Int l = 0; l < p->n_hidden; ++l) {
      Int n = p->sizes[l + 1];
      const T* bias = theta + bias_start(p, l);
      if (l > 0) group_product(g, weight(p, g.replica, l), p->sizes[l], n, g.below, g.above);
      __syncthreads();
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
        if (!newton_step(g.settings, a, q, u, r)) is_unsolved[s] = 1;
        layer_row(p, p->u_E, l, row)[i] = u;
        layer_row(p, p->u_I, l, row)[i] = r - q;
        g.below[at] = r;
      }
    }
    Int top = p->n_hidden;
    group_product(g, weight(p, g.replica, top), p->sizes[top], n_out, g.below, g.above);
    for (int s = threadIdx.x; s < g.samples; s += blockDim.x) {
      if (is_found[s]) continue;
      Int row = g.first + s;
      T *u = g.above + s * n_out, *residual = F + s * n_out, largest_sum = 0;
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
        residual[k] = c_s[k] - kappa * residual[k];
        // Written so that what is no number is not good.
        good = good && fabs(residual[k]) <= allowed;
      }
      if (good) {
        is_found[s] = 1;
        atomicAdd(p->counts + N_WAYS + FOUND, Count(1));
        for (Int k = 0; k < n_out; ++k) {
          p->u_out[row * n_out + k] = u[k];
          // The error, from the residual's own definition: e = (c - F) / kappa.
          p->z[row * n_out + k] = (c_s[k] - residual[k]) / (kappa * g.settings[LEAK]);
        }
      }
    }
    __syncthreads();
    int left = 0;
    for (int s = 0; s < g.samples; ++s) left += !is_found[s];
    if (left == 0) break;
  }
  for (int s = threadIdx.x; s < g.samples; s += blockDim.x)
    p->closed_left[g.first + s] = !is_found[s];
}
