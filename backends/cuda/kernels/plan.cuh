// Everything a kernel works on, as one structure in device memory.
//
// Every member has eight bytes, so that the host writes the structure as an array of numbers
// and addresses in this very order, which it reads from here: one member a line.
//
// Rows are samples of all replicas, row = replica * batch + sample. A layer array is a block
// (rows, n_l) a hidden layer, one after the other; Q has blocks (rows, n_out, n_l).
// Parameters are, for each replica, all weights in order with the readout last, then all
// biases.
#pragma once

#include "device.cuh"

enum Rule { EXACT_INVERSE, LINEAR_THRESHOLD, LINEAR_THRESHOLD_FIXED, BACKPROP };

// Ways to an end state, for open loop and closed loop each, and the steps of those integrated.
enum Way { FOUND, FOUND_ANEW, INTEGRATED, UNSETTLED, STEPS, N_WAYS };

// Numbers of a replica, in the precision of the network.
enum Setting {
  SCALE_E, SHARPNESS_E, SHIFT_E, SCALE_I, SHARPNESS_I, SHIFT_I,
  TAU_E, TAU_I, K_P, K_I, LEAK, TAU_C, KAPPA, SLOWEST_OPEN, SLOWEST_CLOSED,
  NUDGE, NORM, CLIP, RHO, R_0,
  LEARNING_RATE, BETA_1, BETA_2, REST_1, REST_2, EPSILON,
  N_SETTINGS
};

// Numbers in float64: the step control's, and the decay rates that bias correction takes to
// the power of t.
enum Control {
  RTOL, ATOL, DT, DT_MIN, DT_MAX, HORIZON, MAX_STEPS, SAFETY, FACTOR_MIN, FACTOR_MAX,
  GAIN_P, GAIN_I, GAIN_D, ERROR_ORDER, ADAPTIVE, BY_DISTANCE, DECAY_1, DECAY_2,
  N_CONTROLS
};

template <typename T>
struct Plan {
  Int n_hidden;
  Int n_in;
  Int n_out;
  Int replicas;
  Int batch;
  Int n_parameters;
  Int n_units;
  Int widest;
  Int rule;
  Int is_mse;
  Int to_readout;
  Int strong;
  Int average;
  Int normalize;
  Int has_biases;
  Int is_adam;
  Int n_stages;
  Int matrices_in_block;
  Int* sizes;
  Int* unit_starts;
  Int* weight_starts;
  T* settings;
  double* control;
  T* tableau;
  T* error_weights;
  T* full_scale;
  void* source;
  Int source_is_bytes;
  Int source_stride;
  T* labels;
  Int labels_stride;
  Int* order;
  Int order_stride;
  Int order_of_step;
  Int* step;
  double* corrections;
  T* theta;
  T* g;
  T* m;
  T* v;
  T* r_bar;
  T* next_r_bar;
  T* intercept;
  T* inclination;
  T* x;
  T* y;
  T* a_1;
  T* open_u_E;
  T* open_u_I;
  T* open_r_E;
  T* open_u_out;
  T* J_even;
  T* J_odd;
  T* Q;
  T* strength;
  T* gain;
  T* target;
  T* u_E;
  T* u_I;
  T* r_E;
  T* u_out;
  T* z;
  T* delta;
  T* delta_out;
  T* back;
  T* matrices;
  T* state;
  T* next_state;
  T* stages;
  T* path;
  Int path_steps;
  Int path_every;
  Count* counts;
  double* figures;
};

template <typename T>
__device__ inline Int n_rows(const Plan<T>* p) { return p->replicas * p->batch; }

// Units of the hidden layers below hidden layer l; l counts from 0.
template <typename T>
__device__ inline Int units_before(const Plan<T>* p, Int l) { return p->unit_starts[l]; }

// W^l of a replica, (n_{l-1}, n_l); the readout is layer L.
template <typename T>
__device__ inline T* weight(const Plan<T>* p, Int replica, Int l) {
  return p->theta + replica * p->n_parameters + p->weight_starts[l];
}

// Where the biases of hidden layer l lie among a replica's parameters.
template <typename T>
__device__ inline Int bias_start(const Plan<T>* p, Int l) {
  return p->n_parameters - p->n_units + units_before(p, l);
}

// Row of hidden layer l in a layer array.
template <typename T>
__device__ inline T* layer_row(const Plan<T>* p, T* array, Int l, Int row) {
  return array + n_rows(p) * units_before(p, l) + row * p->sizes[l + 1];
}

// Q^l of a row, (n_out, n_l).
template <typename T>
__device__ inline T* feedback_row(const Plan<T>* p, Int l, Int row) {
  return p->Q + p->n_out * (n_rows(p) * units_before(p, l) + row * p->sizes[l + 1]);
}

// Hidden layer of a unit, which is left as its position in that layer.
template <typename T>
__device__ inline Int layer_of_unit(const Plan<T>* p, Int& unit) {
  Int l = 0;
#pragma unroll 1
  while (l + 1 < p->n_hidden && unit >= p->unit_starts[l + 1]) ++l;
  unit -= p->unit_starts[l];
  return l;
}

// Components of the packed state of a sample: (u_E of all layers, u_I of all layers, u_out, z).
template <typename T>
__device__ inline Int state_size(const Plan<T>* p) { return 2 * (p->n_units + p->n_out); }
