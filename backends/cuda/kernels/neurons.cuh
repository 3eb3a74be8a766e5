// A neuron's arithmetic (model page, sections 1 and 6).
#pragma once

#include "plan.cuh"

// Far more of Newton's steps than a neuron needs from any start.
enum { MAX_PASSES = 60 };

// s log(1 + exp(k (u - m))) and its derivative, from one exponential.
template <typename T>
__device__ inline void rate_and_slope(T s, T k, T m, T u, T& rate, T& slope) {
  T v = k * (u - m);
  T e = exp(-fabs(v));
  rate = s * ((v > 0 ? v : T(0)) + log1p(e));
  slope = s * k * ((v >= 0 ? T(1) : e) / (T(1) + e));
}

template <typename T>
__device__ inline void rate_and_slope_E(const T* settings, T u, T& rate, T& slope) {
  rate_and_slope(settings[SCALE_E], settings[SHARPNESS_E], settings[SHIFT_E], u, rate, slope);
}

template <typename T>
__device__ inline void rate_and_slope_I(const T* settings, T u, T& rate, T& slope) {
  rate_and_slope(settings[SCALE_I], settings[SHARPNESS_I], settings[SHIFT_I], u, rate, slope);
}

template <typename T> __device__ inline T machine_epsilon();
template <> __device__ inline float machine_epsilon<float>() { return 1.1920928955078125e-07f; }
template <> __device__ inline double machine_epsilon<double>() { return 2.220446049250313e-16; }
// Its power 3/4, which a device would find anew each time.
template <typename T> __device__ inline T negligible_part();
template <> __device__ inline float negligible_part<float>() { return 6.4155305118844185e-06f; }
template <> __device__ inline double negligible_part<double>() { return 1.8189894035458565e-12; }
// Smallest normal number.
template <typename T> __device__ inline T smallest();
template <> __device__ inline float smallest<float>() { return 1.1754943508222875e-38f; }
template <> __device__ inline double smallest<double>() { return 2.2250738585072014e-308; }

// One step of Newton's method for u + phi_I(phi_E(u) - q) = a.
//
// After the last step s the rate is phi_E(u) - phi_E' s, short of the exact one by order s².
// Returns whether the root is seen to be near, as the reference sees it
// (refimpl/fixed_point.py, neuron_equilibrium): by the curvature of the equation, or, of
// neurons so sharp that a small step says nothing, between two points.
template <typename T>
__device__ inline bool newton_step(const T* settings, T a, T q, T& u, T& rate) {
  T r_E, slope_E, r_I, slope_I;
  rate_and_slope_E(settings, u, r_E, slope_E);
  rate_and_slope_I(settings, r_E - q, r_I, slope_I);
  T step = (u + r_I - a) / (T(1) + slope_I * slope_E);
  u -= step;
  rate = r_E - slope_E * step;
  T curvature = settings[SHARPNESS_E] * (T(1) + settings[SCALE_E] * settings[SHARPNESS_I]);
  T rounding = machine_epsilon<T>() * (T(1) + fabs(a) + fabs(q) + fabs(u));
  // Written so that what is no number has not converged.
  if (8 * curvature * rounding <= 1) return curvature / 2 * step * step - rounding <= 0;
  if (!(fabs(step) <= 2 * rounding)) return false;
  if (step <= 0) return true;
  T below = u - 2 * rounding;
  rate_and_slope_E(settings, below, r_E, slope_E);
  rate_and_slope_I(settings, r_E - q, r_I, slope_I);
  if (below + r_I <= a) return true;
  u = below;
  rate = r_E;
  return false;
}

// Where Newton's method starts in open loop: at or above the root, and near it, for phi lies
// above both its asymptotes, 0 and s k (u - m).
template <typename T>
__device__ inline T upper_bound(const T* settings, T a) {
  T slope_E = settings[SCALE_E] * settings[SHARPNESS_E];
  T slope_I = settings[SCALE_I] * settings[SHARPNESS_I];
  T bent = (a + slope_I * (slope_E * settings[SHIFT_E] + settings[SHIFT_I])) /
           (T(1) + slope_I * slope_E);
  return a < bent ? a : bent;
}

// phi_I^-1(r), for r > 0.
template <typename T>
__device__ inline T inverse_rate_I(const T* settings, T r) {
  T x = r / settings[SCALE_I];
  T v = x > 1 ? x + log1p(-exp(-x)) : log(expm1(x));
  return settings[SHIFT_I] + v / settings[SHARPNESS_I];
}
