/*
 * A C99 port of the learning model, written from docs/porting.md alone.
 *
 *     port QUESTIONS_DIR ANSWERS_DIR
 *
 * Both are flat directories (`disinhib trace inputs TRACE.h5 --out QUESTIONS_DIR --flat`). The
 * functions stand in the order of that document, and "section" in a comment is a section of it.
 * Everything is computed in `real`: double, or float if compiled with -DREAL=float.
 *
 * Hidden layers count from 0, as in the files: layer l has n[l] inputs and n[l + 1] units, so that
 * n[0] is the network's input, n[L + 1] its output, and W[L] the readout. A matrix W is (inputs,
 * units), last index fastest; Q of one sample is (outputs, units). All memory is taken at the
 * start; no loop allocates.
 */
#define _POSIX_C_SOURCE 200112L /* mkdir: the only thing that is not in C99 */

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tgmath.h>

#ifndef REAL
#define REAL double
#endif
typedef REAL real;

enum {
    MAX_LAYERS = 64,            /* hidden */
    MAX_BLOCKS = 1024,          /* of memory */
    MAX_DIMS = 3,
    MAX_TEXT = 1024,            /* paths and lines of text */
    MAX_NEWTON = 200            /* iterations for one unit, and for one sample's control */
};

static const real EPSILON = sizeof(real) == sizeof(float) ? FLT_EPSILON : DBL_EPSILON;

typedef struct { real scale, sharpness, shift; } Activation;
typedef struct { real theta, delta; } Tangent;
typedef enum { SOFTMAX_CROSS_ENTROPY, MSE } Loss;
typedef enum { EXACT_INVERSE, LINEAR_THRESHOLD, LINEAR_THRESHOLD_FIXED, BACKPROP } Rule;
typedef enum { ADAM, SGD } Optimizer;
typedef enum { EULER, TSIT5 } Method;

/* Every number that defines the network. */
typedef struct {
    int n_layers, n_output, n_widest, n_state;
    int n[MAX_LAYERS + 2];
    Activation phi_E, phi_I;
    real tau_E, tau_I;
    Loss loss;
    real k_p, k_i, leak, tau_c;
    bool average, clipped, normalize, strong, to_readout, bias;
    real clip, norm, nudge;
    Rule rule;
    real mean_rate, mean_init, fixed_point;
    Optimizer optimizer;
    real learning_rate, beta_1, beta_2, epsilon;
    bool has_trajectory;
    Method method;
    real dt;
    int every, n_steps;
} Config;

/* Weights and biases, views of one block; gradients and Adam's moments have the same shape. */
typedef struct { size_t count; real *all, *W[MAX_LAYERS + 1], *b[MAX_LAYERS]; } Parameters;

/* One sample's state: views of a vector of n_state numbers. */
typedef struct { real *u_E[MAX_LAYERS], *u_I[MAX_LAYERS], *u_out, *z; } State;

/* Feedback weights, (samples, outputs, units) each; or those of one sample. */
typedef struct { real *Q[MAX_LAYERS]; } Feedback;

/* Where one sample's intermediate results go. */
typedef struct {
    real *a_first, *a, *r, *slope_E, *slope_I, *delta, *delta_below; /* a layer each */
    real *e, *p, *c, *c_trial, *move, *left;                         /* an output each */
    real *J, *J_above, *da, *da_above, *D, *M, *right;               /* (outputs, units) */
    real *tau, *stage, *k[6];                                        /* a state each */
} Scratch;

/* One sample's network under control: what sections 2 and 5 work on. */
typedef struct {
    const Config *config;
    const Parameters *parameters;
    Feedback feedback;
    const real *target;
    State state;
    Scratch *scratch; /* with a_first, the drive of the first layer, which does not change */
} Circuit;

typedef struct { int n_blocks; void *blocks[MAX_BLOCKS]; } Memory;
typedef struct { int n_dims, dims[MAX_DIMS]; } Shape;
typedef struct { const char *directory; FILE *list; } Answers;

/* The whole network with a batch of samples. */
typedef struct {
    Config config;
    int n_batches, n_samples;
    real *inputs, *targets;
    Parameters parameters, gradients, m, v;
    Feedback feedback, trajectory_feedback;
    real *open, *closed;          /* states, (samples, n_state) */
    real *r_bar[MAX_LAYERS];      /* running mean of inhibition */
    real *controlled_target;      /* (samples, outputs) */
    real *open_loss, *closed_loss;
    Scratch scratch;
} Network;

/* ---------------------------------------------------------------- failures and memory -------- */

/* Says what is wrong and what would be right, and gives up. */
static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("port: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    exit(2);
}

/* Zeros that live until the end. */
static real *allocate(Memory *memory, size_t count)
{
    if (memory->n_blocks == MAX_BLOCKS) fail("more than %d arrays; raise MAX_BLOCKS", MAX_BLOCKS);
    void *block = calloc(count ? count : 1, sizeof(real));
    if (!block) fail("no memory for %zu numbers", count);
    memory->blocks[memory->n_blocks++] = block;
    return block;
}

static void release(Memory *memory)
{
    while (memory->n_blocks) free(memory->blocks[--memory->n_blocks]);
}

static void copy(real *to, const real *from, size_t count)
{
    memcpy(to, from, count * sizeof(real));
}

static void fill(real *to, real value, size_t count)
{
    for (size_t i = 0; i < count; i++) to[i] = value;
}

static real largest(const real *values, int count)
{
    real most = 0;
    for (int i = 0; i < count; i++)
        if (!(fabs(values[i]) <= most)) most = fabs(values[i]); /* a NaN stays */
    return most;
}

/* ---------------------------------------------------------------- 1. activation -------------- */

/* Section 1: phi(u). */
static real activation(Activation phi, real u)
{
    real v = phi.sharpness * (u - phi.shift);
    return phi.scale * ((v > 0 ? v : 0) + log1p(exp(-fabs(v))));
}

/* Section 1: phi'(u). */
static real activation_slope(Activation phi, real u)
{
    real v = phi.sharpness * (u - phi.shift), e = exp(-fabs(v));
    return phi.scale * phi.sharpness * (v >= 0 ? 1 : e) / (1 + e);
}

/* Section 1: the potential at which the rate is r. */
static real activation_inverse(Activation phi, real r)
{
    real x = r / phi.scale;
    real v = x > log((real)2) ? x + log1p(-exp(-x)) : log(expm1(x));
    return phi.shift + v / phi.sharpness;
}

/* Section 1: the line that touches the inverse at the rate r_0. */
static Tangent tangent_to_inverse(Activation phi, real r_0)
{
    real u_0 = activation_inverse(phi, r_0);
    real delta = 1 / activation_slope(phi, u_0);
    return (Tangent){.theta = u_0 - r_0 * delta, .delta = delta};
}

/* Rates of a layer. */
static void rates(const Config *config, const real *u_E, int count, real *r)
{
    for (int i = 0; i < count; i++) r[i] = activation(config->phi_E, u_E[i]);
}

/* ---------------------------------------------------------------- 2. layer and open loop ----- */

/* One sample's views of a vector of n_state numbers. */
static State state_at(const Config *config, real *y)
{
    State state;
    for (int l = 0; l < config->n_layers; l++) {
        state.u_E[l] = y;
        state.u_I[l] = y + config->n[l + 1];
        y += 2 * config->n[l + 1];
    }
    state.u_out = y;
    state.z = y + config->n_output;
    return state;
}

/* Section 2: a = pre W + b, with b = 0 if it is not given. */
static void drive(const real *pre, const real *W, const real *b, int n_in, int n_out, real *a)
{
    for (int j = 0; j < n_out; j++) a[j] = b ? b[j] : 0;
    for (int i = 0; i < n_in; i++)
        for (int j = 0; j < n_out; j++) a[j] += pre[i] * W[(size_t)i * n_out + j];
}

/* Section 2: where one unit's E and I neuron end, given drive a and feedback q; u_E is a guess. */
static void equilibrium(const Config *config, real a, real q, real *u_E, real *u_I)
{
    real u = *u_E;
    for (int iteration = 0;; iteration++) {
        real r = activation(config->phi_E, u);
        real r_I = activation(config->phi_I, r - q);
        real slope_I = activation_slope(config->phi_I, r - q);
        real step = (u + r_I - a) / (1 + slope_I * activation_slope(config->phi_E, u));
        real rounding = EPSILON * (fabs(u) + fabs(a) + r_I + slope_I * (r + fabs(q)));
        u -= step;
        if (fabs(step) <= 4 * rounding) break;
        if (iteration == MAX_NEWTON) fail("no equilibrium of a unit with drive %g", (double)a);
    }
    *u_E = u;
    *u_I = activation(config->phi_E, u) - q;
}

/* Section 2: (c Q)_i, the control's share in a unit's inhibition. */
static real feedback_to(const Circuit *circuit, const real *c, int layer, int unit)
{
    int units = circuit->config->n[layer + 1];
    real q = 0;
    for (int k = 0; k < circuit->config->n_output; k++)
        q += c[k] * circuit->feedback.Q[layer][(size_t)k * units + unit];
    return q;
}

/* Section 2: where one sample's layers end under the control c. Open loop: c is zero. */
static void network_at_rest(const Circuit *circuit, const real *c)
{
    const Config *config = circuit->config;
    const int *n = config->n, L = config->n_layers, K = config->n_output;
    const State *state = &circuit->state;
    real *a = circuit->scratch->a, *r = circuit->scratch->r;
    copy(a, circuit->scratch->a_first, n[1]);
    for (int l = 0; l < L; l++) {
        for (int i = 0; i < n[l + 1]; i++) {
            real q = feedback_to(circuit, c, l, i);
            equilibrium(config, a[i], q, &state->u_E[l][i], &state->u_I[l][i]);
        }
        rates(config, state->u_E[l], n[l + 1], r);
        const real *b = l + 1 < L ? circuit->parameters->b[l + 1] : NULL;
        drive(r, circuit->parameters->W[l + 1], b, n[l + 1], n[l + 2], a);
    }
    for (int k = 0; k < K; k++) state->u_out[k] = a[k] + (config->to_readout ? c[k] : 0);
}

/* ---------------------------------------------------------------- 3. running mean ------------ */

/* Section 3: the running mean takes in the open loop of the present batch. */
static void running_mean(Network *network)
{
    const Config *config = &network->config;
    for (int l = 0; l < config->n_layers; l++)
        for (int i = 0; i < config->n[l + 1]; i++) {
            real sum = 0;
            for (int s = 0; s < network->n_samples; s++) {
                State state = state_at(config, network->open + (size_t)s * config->n_state);
                sum += activation(config->phi_I, state.u_I[l][i]);
            }
            real *r_bar = &network->r_bar[l][i], rho = config->mean_rate;
            *r_bar = (1 - rho) * *r_bar + rho * sum / network->n_samples;
        }
}

/* ---------------------------------------------------------------- 4. feedback and target ----- */

/* One sample's feedback weights. */
static Feedback feedback_of(const Config *config, const Feedback *batch, int sample)
{
    Feedback one = {{NULL}};
    for (int l = 0; l < config->n_layers; l++)
        one.Q[l] = batch->Q[l] + (size_t)sample * config->n_output * config->n[l + 1];
    return one;
}

/* Section 4: Q = J phi_I'(u_I), from the readout down, at a sample's open-loop end state. */
static void transposed_jacobian(const Config *config, const Parameters *parameters,
                                const State *state, Scratch *scratch, Feedback *feedback)
{
    const int *n = config->n, K = config->n_output, top = config->n_layers - 1;
    real *J = scratch->J, *J_above = scratch->J_above;
    for (int l = top; l >= 0; l--) {
        int units = n[l + 1], above = n[l + 2];
        const real *W = parameters->W[l + 1];
        for (int i = 0; i < units; i++) {
            real slope_E = activation_slope(config->phi_E, state->u_E[l][i]);
            real slope_I = activation_slope(config->phi_I, state->u_I[l][i]);
            for (int k = 0; k < K; k++) {
                real sum = 0;
                if (l == top) sum = W[(size_t)i * K + k];
                else for (int j = 0; j < above; j++)
                    sum += J_above[(size_t)k * above + j] * W[(size_t)i * above + j];
                J[(size_t)k * units + i] = sum * slope_E;
                feedback->Q[l][(size_t)k * units + i] = sum * slope_E * slope_I;
            }
        }
        real *swap = J;
        J = J_above;
        J_above = swap;
    }
}

/* Section 4: every sample gets the mean over the batch. */
static void average_feedback(real *Q, int n_samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        real sum = 0;
        for (int s = 0; s < n_samples; s++) sum += Q[s * count + i];
        for (int s = 0; s < n_samples; s++) Q[s * count + i] = sum / n_samples;
    }
}

/* Section 4: to +-clip. */
static void clip_feedback(real *Q, size_t count, real clip)
{
    for (size_t i = 0; i < count; i++) Q[i] = Q[i] > clip ? clip : Q[i] < -clip ? -clip : Q[i];
}

/* Section 4: one sample's Q of one layer to a given Frobenius norm; zeros stay. */
static void normalize_feedback(real *Q, size_t count, real norm)
{
    real most = largest(Q, (int)count), squares = 0; /* by its largest, or small squares vanish */
    if (most == 0) return;
    for (size_t i = 0; i < count; i++) squares += (Q[i] / most) * (Q[i] / most);
    for (size_t i = 0; i < count; i++) Q[i] = norm * (Q[i] / most) / sqrt(squares);
}

/* Section 4: feedback weights of the whole batch. */
static void feedback_weights(Network *network)
{
    const Config *config = &network->config;
    int n_samples = network->n_samples;
    for (int s = 0; s < n_samples; s++) {
        State state = state_at(config, network->open + (size_t)s * config->n_state);
        Feedback one = feedback_of(config, &network->feedback, s);
        transposed_jacobian(config, &network->parameters, &state, &network->scratch, &one);
    }
    for (int l = 0; l < config->n_layers; l++) {
        real *Q = network->feedback.Q[l];
        size_t count = (size_t)config->n_output * config->n[l + 1];
        if (config->average) average_feedback(Q, n_samples, count);
        if (config->clipped) clip_feedback(Q, n_samples * count, config->clip);
        for (int s = 0; s < n_samples && config->normalize; s++)
            normalize_feedback(Q + s * count, count, config->norm);
    }
}

static void softmax(const real *u, int count, real *p)
{
    real top = u[0], sum = 0;
    for (int k = 1; k < count; k++) top = u[k] > top ? u[k] : top;
    for (int k = 0; k < count; k++) sum += p[k] = exp(u[k] - top);
    for (int k = 0; k < count; k++) p[k] /= sum;
}

/* Section 5: e = target - u_out, or target - softmax(u_out). */
static void output_error(const Config *config, const real *target, const real *u_out, real *e)
{
    if (config->loss == MSE) copy(e, u_out, config->n_output);
    else softmax(u_out, config->n_output, e);
    for (int k = 0; k < config->n_output; k++) e[k] = target[k] - e[k];
}

/* Section 4: what the controller of one sample is given. */
static void closed_loop_target(const Config *config, const real *y, const real *u_out, real *target)
{
    int K = config->n_output;
    if (config->strong) {
        copy(target, y, K);
        return;
    }
    output_error(config, y, u_out, target);
    for (int k = 0; k < K; k++) target[k] = u_out[k] + config->nudge * target[k];
    if (config->loss == SOFTMAX_CROSS_ENTROPY) softmax(target, K, target);
}

/* ---------------------------------------------------------------- 5. closed loop ------------- */

/* Section 5: at rest e = leak z and c = k_p e + k_i z, so that leak c = gain e, e = c / kappa. */
static real gain(const Config *config) { return config->leak * config->k_p + config->k_i; }

/* Section 5: D, the response of u_out (columns) to each c_k (rows) at the present state. */
static void control_response(const Circuit *circuit, real *D)
{
    const Config *config = circuit->config;
    const int *n = config->n, K = config->n_output;
    const State *state = &circuit->state;
    Scratch *scratch = circuit->scratch;
    real *da = scratch->da, *dr = scratch->r;
    real *slope_E = scratch->slope_E, *slope_I = scratch->slope_I;
    fill(da, 0, (size_t)K * n[1]);
    for (int l = 0; l < config->n_layers; l++) {
        int units = n[l + 1], above = n[l + 2];
        for (int i = 0; i < units; i++) {
            slope_E[i] = activation_slope(config->phi_E, state->u_E[l][i]);
            slope_I[i] = activation_slope(config->phi_I, state->u_I[l][i]);
        }
        real *da_above = l + 1 == config->n_layers ? D : scratch->da_above;
        for (int k = 0; k < K; k++) {
            for (int i = 0; i < units; i++) {
                real Q = circuit->feedback.Q[l][(size_t)k * units + i];
                real g = 1 / (1 + slope_I[i] * slope_E[i]);
                dr[i] = slope_E[i] * g * (da[(size_t)k * units + i] + slope_I[i] * Q);
            }
            drive(dr, circuit->parameters->W[l + 1], NULL, units, above,
                  da_above + (size_t)k * above);
        }
        if (l + 1 < config->n_layers) copy(da, da_above, (size_t)K * above);
    }
    for (int k = 0; k < K && config->to_readout; k++) D[k * K + k] += 1;
}

/* A v = right for two right sides, (n, 2), which take the solutions; A is used up. */
static void solve(real *A, int n, real *right)
{
    for (int column = 0; column < n; column++) {
        int pivot = column;
        for (int i = column + 1; i < n; i++)
            if (fabs(A[i * n + column]) > fabs(A[pivot * n + column])) pivot = i;
        real scale = A[pivot * n + column];
        if (scale == 0 || !isfinite(scale)) fail("the slope of the control is singular");
        for (int j = 0; j < n + 2; j++) {
            real *at = j < n ? &A[column * n + j] : &right[column * 2 + j - n];
            real *from = j < n ? &A[pivot * n + j] : &right[pivot * 2 + j - n];
            real moved = *from;
            *from = *at;
            *at = moved / scale;
        }
        for (int i = 0; i < n; i++) {
            real factor = A[i * n + column];
            if (i == column || factor == 0) continue;
            for (int j = 0; j < n; j++) A[i * n + j] -= factor * A[column * n + j];
            for (int j = 0; j < 2; j++) right[i * 2 + j] -= factor * right[column * 2 + j];
        }
    }
}

/* Section 5: how far the sum of a target is from 1, beyond what rounding of its terms may do. */
static real excess_of(const real *target, int count)
{
    real sum = 0;
    for (int k = 0; k < count; k++) sum += target[k];
    return fabs(sum - 1) > count * EPSILON ? sum - 1 : 0;
}

/*
 * Section 5: Newton's step from c, the response of u_out to it being D, with the state at c. Without
 * a leak 1 / kappa is 0, and all of it holds.
 */
static void control_step(const Circuit *circuit, const real *c, real *move)
{
    const Config *config = circuit->config;
    Scratch *scratch = circuit->scratch;
    const real *u = circuit->state.u_out, *target = circuit->target, *D = scratch->D;
    real *A = scratch->M, *right = scratch->right, *p = scratch->p;
    int K = config->n_output;
    if (gain(config) == 0) { /* kappa = 0: no control */
        fill(move, 0, K);
        return;
    }
    real rest = config->leak / gain(config), log_sum = 0, most = u[0]; /* rest: 1 / kappa */
    softmax(u, K, p);
    for (int k = 1; k < K; k++) most = u[k] > most ? u[k] : most;
    for (int k = 0; k < K; k++) log_sum += exp(u[k] - most);
    log_sum = most + log(log_sum);
    for (int j = 0; j < K; j++) {
        real q = target[j] - c[j] * rest, weight = config->loss == MSE ? 1 : p[j];
        bool stiff = config->loss != MSE && q > 0 && q * D[j * K + j] >= rest;
        if (stiff) weight = q;
        /* The column of I + kappa D S, and F with it, by kappa weight where that is above 1. */
        bool large = weight > rest;
        real under = large ? 1 : weight / rest, diagonal = large ? rest / weight : 1;
        real e = target[j] - (config->loss == MSE ? u[j] : p[j]);
        real F = stiff   ? under * (u[j] - log_sum - log(q))
                 : large ? (c[j] * rest - e) / weight
                         : c[j] - e / rest;
        for (int k = 0; k < K; k++) A[j * K + k] = under * D[k * K + j] + diagonal * (k == j);
        right[j * 2] = -F;
        right[j * 2 + 1] = under;
    }
    solve(A, K, right);
    real excess = excess_of(target, K), missing = excess == 0 ? 0 : excess / rest, slack = 0;
    for (int k = 0; k < K; k++) {
        missing -= c[k] + right[k * 2];
        slack += right[k * 2 + 1];
    }
    real share = config->loss == MSE || slack == 0 ? 0 : missing / slack;
    for (int k = 0; k < K; k++) move[k] = right[k * 2] + share * right[k * 2 + 1];
}

/* Section 5: whether a step has no weight beside what rounding does to c. */
static bool negligible(const Circuit *circuit, const real *c, const real *move)
{
    const Config *config = circuit->config;
    int K = config->n_output;
    real share = gain(config) < config->leak ? gain(config) / config->leak : 1; /* min(kappa, 1) */
    real size = largest(c, K) + share * (1 + largest(circuit->state.u_out, K));
    return largest(move, K) <= pow(EPSILON, (real)3 / 4) * size;
}

/* ||c - kappa e||, over kappa where that is above 1, of the state at c. */
static real distance_from_root(const Circuit *circuit, const real *c)
{
    const Config *config = circuit->config;
    real *e = circuit->scratch->e, squares = 0;
    real over = config->leak > gain(config) ? config->leak : gain(config);
    output_error(config, circuit->target, circuit->state.u_out, e);
    for (int k = 0; k < config->n_output; k++) {
        real F = (config->leak * c[k] - gain(config) * e[k]) / over;
        squares += F * F;
    }
    return sqrt(squares);
}

/* Section 5: where one sample ends under control, from its open-loop end state, without time. */
static void closed_loop(const Circuit *circuit)
{
    const Config *config = circuit->config;
    Scratch *scratch = circuit->scratch;
    int K = config->n_output, iteration = 0;
    real *c = scratch->c, *c_trial = scratch->c_trial, *move = scratch->move, *left = scratch->left;
    real step = 1;
    fill(c, 0, K);
    network_at_rest(circuit, c);
    control_response(circuit, scratch->D);
    control_step(circuit, c, move);
    real size = distance_from_root(circuit, c);
    bool fresh = true, found = false; /* fresh: D is of the present c */
    for (; iteration < MAX_NEWTON && !found; iteration++) {
        for (int k = 0; k < K; k++) c_trial[k] = c[k] + step * move[k];
        network_at_rest(circuit, c_trial);
        control_step(circuit, c_trial, left);
        real trial = distance_from_root(circuit, c_trial);
        bool halved = largest(left, K) <= largest(move, K) / 2;
        if (halved) {
            found = negligible(circuit, c_trial, left);
            fresh = false;
        } else if (!fresh) {
            /* D is another by now: take it anew where the search stands. */
            network_at_rest(circuit, c);
        } else if (trial > (1 - step / 4) * size || isnan(trial)) {
            step /= 2;
            continue;
        }
        if (halved || fresh) {
            copy(c, c_trial, K);
            size = trial;
        }
        step = 1;
        if (halved) copy(move, left, K);
        else {
            control_response(circuit, scratch->D);
            control_step(circuit, c, move);
            fresh = true;
            found = negligible(circuit, c, move);
        }
    }
    if (!found) fail("the closed loop has not converged: |F| is %g", (double)size);
    /* With the step that is left, what is written is known to its square. */
    for (int k = 0; k < K; k++) c[k] += move[k];
    network_at_rest(circuit, c);
    output_error(config, circuit->target, circuit->state.u_out, scratch->e);
    for (int k = 0; k < K; k++)
        circuit->state.z[k] = gain(config) > 0 ? c[k] / gain(config) : scratch->e[k] / config->leak;
}

/* Sections 2 and 5: tau dy/dt of one sample, with c = k_p e + k_i z, or c = 0. */
static void pull(const Circuit *circuit, bool controlled, real *y, real *change)
{
    const Config *config = circuit->config;
    const int *n = config->n, L = config->n_layers, K = config->n_output;
    Scratch *scratch = circuit->scratch;
    State state = state_at(config, y), towards = state_at(config, change);
    real *a = scratch->a, *r = scratch->r, *c = scratch->c, *e = scratch->e;
    output_error(config, circuit->target, state.u_out, e);
    for (int k = 0; k < K; k++) {
        c[k] = controlled ? config->k_p * e[k] + config->k_i * state.z[k] : 0;
        towards.z[k] = controlled ? e[k] - config->leak * state.z[k] : 0;
    }
    copy(a, scratch->a_first, n[1]);
    for (int l = 0; l < L; l++) {
        rates(config, state.u_E[l], n[l + 1], r);
        for (int i = 0; i < n[l + 1]; i++) {
            real u_E = state.u_E[l][i], u_I = state.u_I[l][i];
            towards.u_E[l][i] = -u_E + a[i] - activation(config->phi_I, u_I);
            towards.u_I[l][i] = -u_I + r[i] - feedback_to(circuit, c, l, i);
        }
        const real *b = l + 1 < L ? circuit->parameters->b[l + 1] : NULL;
        drive(r, circuit->parameters->W[l + 1], b, n[l + 1], n[l + 2], a);
    }
    for (int k = 0; k < K; k++)
        towards.u_out[k] = -state.u_out[k] + a[k] + (config->to_readout ? c[k] : 0);
}

/* Section 2, trajectories: one step of Euler or Tsitouras. */
static void time_step(const Circuit *circuit, bool controlled, Method method, real dt, real *y)
{
    static const real EULER_ROWS[1][6] = {{1}};
    static const real TSIT5_ROWS[6][6] = {
        {0.161},
        {-0.008480655492356989, 0.335480655492357},
        {2.8971530571054935, -6.359448489975075, 4.362295432869581},
        {5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525},
        {5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
         -0.02826905039406838},
        {0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
         2.324710524099774},
    };
    const Config *config = circuit->config;
    const real (*rows)[6] = method == EULER ? EULER_ROWS : TSIT5_ROWS;
    int n_rows = method == EULER ? 1 : 6;
    real *stage = circuit->scratch->stage, **k = circuit->scratch->k;
    copy(stage, y, config->n_state);
    for (int row = 0; row < n_rows; row++) {
        pull(circuit, controlled, stage, k[row]);
        for (int i = 0; i < config->n_state; i++) {
            k[row][i] /= circuit->scratch->tau[i];
            real sum = 0;
            for (int j = 0; j <= row; j++) sum += rows[row][j] * k[j][i];
            stage[i] = y[i] + dt * sum;
        }
    }
    copy(y, stage, config->n_state);
}

/* ---------------------------------------------------------------- 6. learning ---------------- */

/* Section 6: loss of one sample. */
static real sample_loss(const Config *config, const real *y, const real *u_out)
{
    real loss = 0, top = u_out[0], sum = 0;
    for (int k = 0; k < config->n_output; k++) {
        loss += (y[k] - u_out[k]) * (y[k] - u_out[k]) / 2;
        top = u_out[k] > top ? u_out[k] : top;
    }
    if (config->loss == MSE) return loss;
    loss = 0;
    for (int k = 0; k < config->n_output; k++) sum += exp(u_out[k] - top);
    for (int k = 0; k < config->n_output; k++) loss -= y[k] * (u_out[k] - top - log(sum));
    return loss;
}

/* Section 6: one sample's share of the mean over the batch of pre' delta, and of delta. */
static void add_gradient(const real *pre, const real *delta, int n_in, int n_out, int n_samples,
                         real *g_W, real *g_b)
{
    for (int i = 0; i < n_in; i++)
        for (int j = 0; j < n_out; j++) g_W[(size_t)i * n_out + j] += pre[i] * delta[j] / n_samples;
    for (int j = 0; j < n_out && g_b; j++) g_b[j] += delta[j] / n_samples;
}

/* Section 6: the potential that a unit's E neuron makes of its inhibition, by each rule. */
static real decoded_inhibition(const Config *config, real u_I, real r_bar)
{
    if (config->rule == EXACT_INVERSE) return u_I;
    real r_0 = config->rule == LINEAR_THRESHOLD ? r_bar : config->fixed_point;
    Tangent line = tangent_to_inverse(config->phi_I, r_0);
    return line.theta + line.delta * activation(config->phi_I, u_I);
}

/* Section 6: one sample's share of the gradients, at its closed-loop end state. */
static void add_sample_gradients(Network *network, int sample, const real *x, const real *y)
{
    const Config *config = &network->config;
    const int *n = config->n, L = config->n_layers, K = config->n_output;
    Scratch *scratch = &network->scratch;
    State closed = state_at(config, network->closed + (size_t)sample * config->n_state);
    State open = state_at(config, network->open + (size_t)sample * config->n_state);
    Parameters *g = &network->gradients;
    real *pre = scratch->r, *delta = scratch->delta;
    for (int l = 0; l < L; l++) {
        for (int i = 0; i < n[l + 1]; i++) {
            real u_E = closed.u_E[l][i];
            real u_hat = decoded_inhibition(config, closed.u_I[l][i], network->r_bar[l][i]);
            real error = u_hat - activation(config->phi_E, u_E);
            delta[i] = error * activation_slope(config->phi_E, u_E);
        }
        if (l) rates(config, closed.u_E[l - 1], n[l], pre);
        add_gradient(l ? pre : x, delta, n[l], n[l + 1], network->n_samples, g->W[l],
                     config->bias ? g->b[l] : NULL);
    }
    rates(config, config->to_readout ? closed.u_E[L - 1] : open.u_E[L - 1], n[L], pre);
    if (config->to_readout) drive(pre, network->parameters.W[L], NULL, n[L], K, delta);
    else output_error(config, y, open.u_out, delta);
    for (int k = 0; k < K; k++)
        delta[k] = config->to_readout ? delta[k] - closed.u_out[k] : -delta[k];
    add_gradient(pre, delta, n[L], K, network->n_samples, g->W[L], NULL);
}

/* Section 6, backprop: h = phi_E(h W + b), with the potentials where the circuit has its u_E. */
static void plain_forward(const Config *config, const Parameters *parameters, const real *x,
                          const State *state, real *h)
{
    const int *n = config->n, L = config->n_layers;
    for (int l = 0; l < L; l++) {
        if (l) rates(config, state->u_E[l - 1], n[l], h);
        drive(l ? h : x, parameters->W[l], parameters->b[l], n[l], n[l + 1], state->u_E[l]);
    }
    rates(config, state->u_E[L - 1], n[L], h);
    drive(h, parameters->W[L], NULL, n[L], config->n_output, state->u_out);
}

/* Section 6, backprop: one sample's share of the gradient of the loss. */
static void add_backprop_gradients(Network *network, int sample, const real *x, const real *y)
{
    const Config *config = &network->config;
    const int *n = config->n, L = config->n_layers;
    Scratch *scratch = &network->scratch;
    State state = state_at(config, network->open + (size_t)sample * config->n_state);
    Parameters *g = &network->gradients;
    real *delta = scratch->delta, *delta_below = scratch->delta_below;
    plain_forward(config, &network->parameters, x, &state, scratch->r);
    output_error(config, y, state.u_out, delta);
    for (int k = 0; k < config->n_output; k++) delta[k] = -delta[k];
    for (int l = L; l >= 0; l--) { /* l = L is the readout */
        if (l) rates(config, state.u_E[l - 1], n[l], scratch->r);
        add_gradient(l ? scratch->r : x, delta, n[l], n[l + 1], network->n_samples, g->W[l],
                     l < L && config->bias ? g->b[l] : NULL);
        for (int i = 0; i < n[l] && l; i++) {
            real sum = 0;
            for (int j = 0; j < n[l + 1]; j++)
                sum += delta[j] * network->parameters.W[l][(size_t)i * n[l + 1] + j];
            delta_below[i] = sum * activation_slope(config->phi_E, state.u_E[l - 1][i]);
        }
        real *swap = delta;
        delta = delta_below;
        delta_below = swap;
    }
}

/* ---------------------------------------------------------------- 7. optimiser --------------- */

/* Section 7: the parameters descend along g; t counts from 1. */
static void optimiser_step(Network *network, int t)
{
    const Config *config = &network->config;
    real eta = config->learning_rate, beta_1 = config->beta_1, beta_2 = config->beta_2;
    real unbias_1 = -expm1(t * log(beta_1)); /* 1 - beta^t, of which float would keep */
    real unbias_2 = -expm1(t * log(beta_2)); /* 4 digits if it were subtracted */
    for (size_t i = 0; i < network->parameters.count; i++) {
        real g = network->gradients.all[i];
        real *m = &network->m.all[i], *v = &network->v.all[i], *p = &network->parameters.all[i];
        *m = beta_1 * *m + (1 - beta_1) * g;
        *v = beta_2 * *v + (1 - beta_2) * g * g;
        if (config->optimizer == SGD) *p -= eta * g;
        else *p -= eta * (*m / unbias_1) / (sqrt(*v / unbias_2) + config->epsilon);
    }
}

/* ---------------------------------------------------------------- files: reading ------------- */

static FILE *open_file(const char *directory, const char *name, const char *mode)
{
    char path[MAX_TEXT];
    int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (length < 0 || length >= MAX_TEXT) fail("path too long: %s/%s", directory, name);
    FILE *file = fopen(path, mode);
    if (!file) fail("cannot open %s: %s", path, strerror(errno));
    return file;
}

/* The rest of the line that begins with a name, of settings.txt or arrays.txt. */
static bool find_line(const char *directory, const char *name_of_file, const char *name, char *rest)
{
    char line[MAX_TEXT];
    size_t length = strlen(name);
    bool found = false;
    FILE *file = open_file(directory, name_of_file, "r");
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = '\0';
        found = strncmp(line, name, length) == 0 && line[length] == ' ';
        if (found) strcpy(rest, line + length + 1);
    }
    if (ferror(file)) fail("cannot read %s/%s", directory, name_of_file);
    fclose(file);
    return found;
}

static real number_setting(const char *directory, const char *name, double otherwise)
{
    char text[MAX_TEXT], *end;
    if (!find_line(directory, "settings.txt", name, text)) return (real)otherwise;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value))
        fail("%s is \"%s\"; should be a number", name, text);
    return (real)value;
}

static real positive_setting(const char *directory, const char *name, double otherwise)
{
    real value = number_setting(directory, name, otherwise);
    if (!(value > 0)) fail("%s is %g; should be positive", name, (double)value);
    return value;
}

static int count_setting(const char *directory, const char *name)
{
    real value = number_setting(directory, name, 0);
    if (!(value >= 1 && value <= 1000000)) fail("%s should be 1 to 1000000", name);
    return (int)value;
}

/* Which of several words a setting is; the first is the default. */
static int word_setting(const char *directory, const char *name, int n_words, const char **words)
{
    char text[MAX_TEXT];
    if (!find_line(directory, "settings.txt", name, text)) return 0;
    for (int i = 0; i < n_words; i++)
        if (strcmp(text, words[i]) == 0) return i;
    fail("%s is \"%s\"; should be \"%s\", \"%s\" or the like", name, text, words[0], words[1]);
    return 0;
}

static bool flag_setting(const char *directory, const char *name, bool otherwise)
{
    const char *words[] = {otherwise ? "true" : "false", otherwise ? "false" : "true"};
    return word_setting(directory, name, 2, words) == 0 ? otherwise : !otherwise;
}

static Activation activation_setting(const char *directory, char which)
{
    char name[MAX_TEXT];
    Activation phi;
    snprintf(name, sizeof name, "activation_%c.scale", which);
    phi.scale = positive_setting(directory, name, 1);
    snprintf(name, sizeof name, "activation_%c.sharpness", which);
    phi.sharpness = positive_setting(directory, name, 1);
    snprintf(name, sizeof name, "activation_%c.shift", which);
    phi.shift = number_setting(directory, name, 0);
    return phi;
}

static void read_sizes(const char *directory, Config *config)
{
    char text[MAX_TEXT], *at = text, *end;
    int count = 0;
    if (!find_line(directory, "settings.txt", "sizes", text)) fail("settings.txt lacks sizes");
    for (long size = strtol(at, &end, 10); end != at; at = end, size = strtol(at, &end, 10)) {
        if (size < 1 || size > 1000000) fail("sizes has %ld; should be 1 to 1000000", size);
        if (count == MAX_LAYERS + 2) fail("sizes has over %d hidden layers", MAX_LAYERS);
        config->n[count++] = (int)size;
    }
    if (*end || count < 3) fail("sizes is \"%s\"; should be three whole numbers or more", text);
    config->n_layers = count - 2;
    config->n_output = config->n[count - 1];
    config->n_state = 2 * config->n_output;
    for (int i = 0; i < count; i++)
        if (config->n[i] > config->n_widest) config->n_widest = config->n[i];
    for (int l = 0; l < config->n_layers; l++) config->n_state += 2 * config->n[l + 1];
}

static Config read_config(const char *from)
{
    const char *losses[] = {"softmax-cross-entropy", "mse"}, *optimizers[] = {"adam", "sgd"};
    const char *methods[] = {"euler", "tsit5"};
    const char *rules[] = {"exact-inverse", "linear-threshold", "linear-threshold-fixed",
                           "backprop"};
    char text[MAX_TEXT];
    Config config = {.n_layers = 0};
    read_sizes(from, &config);
    config.phi_E = activation_setting(from, 'E');
    config.phi_I = activation_setting(from, 'I');
    config.tau_E = positive_setting(from, "tau_E", 0.02);
    config.tau_I = positive_setting(from, "tau_I", 0.005);
    config.loss = (Loss)word_setting(from, "loss", 2, losses);
    config.k_p = number_setting(from, "controller.k_p", 0.2);
    config.k_i = number_setting(from, "controller.k_i", 0.4);
    config.leak = number_setting(from, "controller.leak", 1);
    config.tau_c = positive_setting(from, "controller.tau", 0.1);
    config.average = flag_setting(from, "feedback.average", false);
    config.clipped = find_line(from, "settings.txt", "feedback.clip", text);
    config.clip = number_setting(from, "feedback.clip", 0);
    config.normalize = flag_setting(from, "feedback.normalize", true);
    config.norm = number_setting(from, "feedback.norm", 1);
    config.strong = flag_setting(from, "feedback.strong", true);
    config.nudge = number_setting(from, "feedback.nudge", 0.015);
    config.to_readout = flag_setting(from, "feedback.to_readout", true);
    config.bias = flag_setting(from, "bias", true);
    config.rule = (Rule)word_setting(from, "rule", 4, rules);
    config.mean_rate = number_setting(from, "mean_inhibition.rate", 1);
    config.mean_init = number_setting(from, "mean_inhibition.init", 0.8);
    config.fixed_point = positive_setting(from, "mean_inhibition.fixed_point", 1);
    config.optimizer = (Optimizer)word_setting(from, "optimizer.name", 2, optimizers);
    config.learning_rate = number_setting(from, "optimizer.learning_rate", 1e-3);
    config.beta_1 = number_setting(from, "optimizer.beta_1", 0.9);
    config.beta_2 = number_setting(from, "optimizer.beta_2", 0.999);
    config.epsilon = number_setting(from, "optimizer.epsilon", 1e-8);
    if (!(config.leak > 0 || (config.leak == 0 && config.loss == MSE && config.k_i > 0)))
        fail("controller.leak is %g; should be positive, or 0 with loss mse", (double)config.leak);
    config.has_trajectory = find_line(from, "settings.txt", "trajectory.method", text);
    if (config.has_trajectory) {
        config.method = (Method)word_setting(from, "trajectory.method", 2, methods);
        config.dt = positive_setting(from, "trajectory.dt", 0);
        config.every = count_setting(from, "trajectory.every");
        config.n_steps = count_setting(from, "trajectory.n_steps");
    }
    return config;
}

/* One little-endian number, whatever the machine's own order. */
static real decode(const unsigned char *bytes, int width)
{
    uint64_t bits = 0;
    for (int i = width - 1; i >= 0; i--) bits = bits << 8 | bytes[i];
    uint32_t low = (uint32_t)bits;
    double wide;
    float narrow;
    memcpy(&wide, &bits, sizeof wide);
    memcpy(&narrow, &low, sizeof narrow);
    return width == 1 ? (real)bits / 255 : width == 4 ? (real)narrow : (real)wide;
}

/* An array of the questions; a dimension of 0 may be anything, and is filled in. */
static real *read_array(Memory *memory, const char *directory, const char *path, Shape *shape)
{
    char text[MAX_TEXT], type[16] = "", *at, *end;
    if (!find_line(directory, "arrays.txt", path, text)) fail("arrays.txt lacks %s", path);
    sscanf(text, "%15s", type);
    int width = !strcmp(type, "float64") ? 8 : !strcmp(type, "float32") ? 4 : 1;
    if (width == 1 && strcmp(type, "uint8"))
        fail("%s is %s; should be float64, float32 or uint8", path, type);
    size_t count = 1;
    at = text + strlen(type);
    for (int d = 0; d < shape->n_dims; d++, at = end) {
        long size = strtol(at, &end, 10);
        if (end == at || size < 1 || size > INT_MAX || count > SIZE_MAX / 16 / (size_t)size)
            fail("%s has dimensions%s; should be %d", path, text + strlen(type), shape->n_dims);
        if (shape->dims[d] && shape->dims[d] != size)
            fail("%s has %ld at dimension %d; should be %d", path, size, d, shape->dims[d]);
        shape->dims[d] = (int)size;
        count *= (size_t)size;
    }
    if (*at) fail("%s has dimensions%s; should be %d", path, text + strlen(type), shape->n_dims);
    real *values = allocate(memory, count);
    snprintf(text, sizeof text, "%s.bin", path);
    FILE *file = open_file(directory, text, "rb");
    unsigned char bytes[8];
    for (size_t i = 0; i < count; i++) {
        if (fread(bytes, (size_t)width, 1, file) != 1)
            fail("%s/%s ends early; should have %zu numbers of %d bytes", directory, text, count,
                 width);
        values[i] = decode(bytes, width);
    }
    if (fgetc(file) != EOF)
        fail("%s/%s is too long; should have %zu numbers", directory, text, count);
    fclose(file);
    return values;
}

/* ---------------------------------------------------------------- files: writing ------------- */

/* Makes the directories that a path passes through. */
static void make_directories(const char *path)
{
    char part[MAX_TEXT];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0777) && errno != EEXIST) fail("cannot make %s: %s", part, strerror(errno));
    }
}

/* One number, little-endian. */
static void encode(real value, unsigned char *bytes)
{
    uint64_t bits = 0;
    uint32_t low;
    if (sizeof value == sizeof low) {
        memcpy(&low, &value, sizeof low);
        bits = low;
    } else memcpy(&bits, &value, sizeof value);
    for (size_t i = 0; i < sizeof value; i++) bytes[i] = (unsigned char)(bits >> 8 * i);
}

/* An array of the answers, by a path as for printf; rows of the last dimension lie stride apart. */
static void write_array(Answers *answers, const real *values, int stride, Shape shape,
                        const char *format, ...)
{
    char path[MAX_TEXT / 2], name[MAX_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    snprintf(name, sizeof name, "%s/%s", answers->directory, path);
    make_directories(name);
    snprintf(name, sizeof name, "%s.bin", path);
    FILE *file = open_file(answers->directory, name, "wb");
    fprintf(answers->list, "%s %s", path, sizeof(real) == sizeof(float) ? "float32" : "float64");
    size_t rows = 1;
    for (int d = 0; d < shape.n_dims; d++) fprintf(answers->list, " %d", shape.dims[d]);
    for (int d = 0; d + 1 < shape.n_dims; d++) rows *= (size_t)shape.dims[d];
    fputc('\n', answers->list);
    unsigned char bytes[sizeof(real)];
    for (size_t row = 0; row < rows; row++)
        for (int i = 0; i < shape.dims[shape.n_dims - 1]; i++) {
            encode(values[row * (size_t)stride + (size_t)i], bytes);
            fwrite(bytes, sizeof bytes, 1, file);
        }
    if (ferror(file) | fclose(file)) fail("cannot write %s/%s", answers->directory, name);
}

/* States of samples, or of samples and times. */
static void write_states(Answers *answers, const Config *config, real *states, Shape shape,
                         const char *where)
{
    State first = state_at(config, states);
    int *n_last = &shape.dims[shape.n_dims - 1], stride = config->n_state;
    for (int l = 0; l < config->n_layers; l++) {
        *n_last = config->n[l + 1];
        write_array(answers, first.u_E[l], stride, shape, "%s/u_E_%d", where, l);
        write_array(answers, first.u_I[l], stride, shape, "%s/u_I_%d", where, l);
    }
    *n_last = config->n_output;
    write_array(answers, first.u_out, stride, shape, "%s/u_out", where);
    write_array(answers, first.z, stride, shape, "%s/c_int", where);
}

/* Weights and biases, or their gradients. */
static void write_parameters(Answers *answers, const Config *config, const Parameters *parameters,
                             const char *where)
{
    const int *n = config->n, L = config->n_layers;
    for (int l = 0; l < L; l++) {
        write_array(answers, parameters->W[l], n[l + 1], (Shape){2, {n[l], n[l + 1]}},
                    "%s/hidden_%d/weight", where, l);
        write_array(answers, parameters->b[l], n[l + 1], (Shape){1, {n[l + 1]}},
                    "%s/hidden_%d/bias", where, l);
    }
    write_array(answers, parameters->W[L], n[L + 1], (Shape){2, {n[L], n[L + 1]}},
                "%s/readout/weight", where);
}

/* What one learning step gave, but for the parameters after it. */
static void write_step(Answers *answers, Network *network, int step)
{
    const Config *config = &network->config;
    int B = network->n_samples, K = config->n_output;
    char where[MAX_TEXT];
    snprintf(where, sizeof where, "steps/%04d/gradients", step);
    write_parameters(answers, config, &network->gradients, where);
    if (config->rule == BACKPROP) return;
    snprintf(where, sizeof where, "steps/%04d/open_loop", step);
    write_states(answers, config, network->open, (Shape){2, {B}}, where);
    snprintf(where, sizeof where, "steps/%04d/closed_loop", step);
    write_states(answers, config, network->closed, (Shape){2, {B}}, where);
    write_array(answers, network->controlled_target, K, (Shape){2, {B, K}},
                "steps/%04d/closed_loop_targets", step);
    for (int l = 0; l < config->n_layers; l++) {
        int units = config->n[l + 1];
        write_array(answers, network->feedback.Q[l], units, (Shape){3, {B, K, units}},
                    "steps/%04d/feedback/Q_%d", step, l);
        if (config->rule == LINEAR_THRESHOLD)
            write_array(answers, network->r_bar[l], units, (Shape){1, {units}},
                        "steps/%04d/mean_inhibition/r_I_%d", step, l);
    }
}

/* ---------------------------------------------------------------- the whole ------------------ */

/* Memory for weights and biases. */
static Parameters allocate_parameters(Memory *memory, const Config *config)
{
    Parameters parameters = {.count = 0};
    const int *n = config->n, L = config->n_layers;
    for (int l = 0; l <= L; l++)
        parameters.count += (size_t)n[l] * n[l + 1] + (l < L ? (size_t)n[l + 1] : 0);
    real *at = parameters.all = allocate(memory, parameters.count);
    for (int l = 0; l <= L; l++) {
        parameters.W[l] = at;
        at += (size_t)n[l] * n[l + 1];
        if (l < L) {
            parameters.b[l] = at;
            at += n[l + 1];
        }
    }
    return parameters;
}

static Scratch allocate_scratch(Memory *memory, const Config *config)
{
    size_t widest = (size_t)config->n_widest, K = (size_t)config->n_output;
    size_t n_state = (size_t)config->n_state;
    Scratch scratch;
    real **layers[] = {&scratch.a_first, &scratch.a,       &scratch.r, &scratch.slope_E,
                       &scratch.slope_I, &scratch.delta,   &scratch.delta_below,
                       &scratch.e,       &scratch.p,       &scratch.c, &scratch.c_trial,
                       &scratch.move,    &scratch.left};
    real **matrices[] = {&scratch.J, &scratch.J_above, &scratch.da, &scratch.da_above,
                         &scratch.D, &scratch.M,       &scratch.right};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        *layers[i] = allocate(memory, widest);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        *matrices[i] = allocate(memory, K * (widest + 1));
    scratch.tau = allocate(memory, n_state);
    scratch.stage = allocate(memory, n_state);
    for (int i = 0; i < 6; i++) scratch.k[i] = allocate(memory, n_state);
    State tau = state_at(config, scratch.tau);
    fill(scratch.tau, config->tau_E, n_state);
    for (int l = 0; l < config->n_layers; l++)
        fill(tau.u_I[l], config->tau_I, (size_t)config->n[l + 1]);
    fill(tau.z, config->tau_c, K);
    return scratch;
}

/* Reads the start, inputs and labels. */
static void read_questions(Memory *memory, const char *from, Network *network)
{
    const Config *config = &network->config;
    const int *n = config->n, L = config->n_layers, K = config->n_output;
    char path[MAX_TEXT];
    Shape inputs = {3, {0, 0, n[0]}};
    network->inputs = read_array(memory, from, "inputs", &inputs);
    network->n_batches = inputs.dims[0];
    network->n_samples = inputs.dims[1];
    Shape targets = {3, {inputs.dims[0], inputs.dims[1], K}};
    network->targets = read_array(memory, from, "targets", &targets);
    for (int l = 0; l <= L; l++) {
        Shape weight = {2, {n[l], n[l + 1]}}, bias = {1, {n[l + 1]}};
        Shape Q = {3, {inputs.dims[1], K, n[l + 1]}};
        if (l < L) snprintf(path, sizeof path, "initial_parameters/hidden_%d/weight", l);
        else snprintf(path, sizeof path, "initial_parameters/readout/weight");
        copy(network->parameters.W[l], read_array(memory, from, path, &weight),
             (size_t)n[l] * n[l + 1]);
        if (l == L) break;
        snprintf(path, sizeof path, "initial_parameters/hidden_%d/bias", l);
        copy(network->parameters.b[l], read_array(memory, from, path, &bias), n[l + 1]);
        snprintf(path, sizeof path, "trajectory/feedback/Q_%d", l);
        if (config->has_trajectory)
            network->trajectory_feedback.Q[l] = read_array(memory, from, path, &Q);
    }
}

/* Memory for everything, and the state before the first step. */
static void prepare(Memory *memory, const char *from, Network *network)
{
    network->config = read_config(from);
    const Config *config = &network->config;
    network->parameters = allocate_parameters(memory, config);
    network->gradients = allocate_parameters(memory, config);
    network->m = allocate_parameters(memory, config);
    network->v = allocate_parameters(memory, config);
    read_questions(memory, from, network);
    size_t B = (size_t)network->n_samples, K = (size_t)config->n_output;
    network->open = allocate(memory, B * config->n_state);
    network->closed = allocate(memory, B * config->n_state);
    network->controlled_target = allocate(memory, B * K);
    network->open_loss = allocate(memory, (size_t)network->n_batches);
    network->closed_loss = allocate(memory, (size_t)network->n_batches);
    network->scratch = allocate_scratch(memory, config);
    for (int l = 0; l < config->n_layers; l++) {
        network->feedback.Q[l] = allocate(memory, B * K * config->n[l + 1]);
        network->r_bar[l] = allocate(memory, (size_t)config->n[l + 1]);
        fill(network->r_bar[l], config->mean_init, (size_t)config->n[l + 1]);
    }
}

/* One sample's network at a state, of a batch x; its first drive is worked out here. */
static Circuit circuit_of(Network *network, const Feedback *feedback, real *states, const real *x,
                          int sample)
{
    const Config *config = &network->config;
    drive(x + (size_t)sample * config->n[0], network->parameters.W[0],
          network->parameters.b[0], config->n[0], config->n[1], network->scratch.a_first);
    return (Circuit){config, &network->parameters, feedback_of(config, feedback, sample),
                     network->controlled_target + (size_t)sample * config->n_output,
                     state_at(config, states + (size_t)sample * config->n_state),
                     &network->scratch};
}

/* Sections 2 to 6: all that a batch x with labels y goes through before the update. */
static void run_batch(Network *network, const real *x, const real *y)
{
    const Config *config = &network->config;
    int B = network->n_samples, K = config->n_output;
    fill(network->open, 0, (size_t)B * config->n_state);
    fill(network->scratch.c, 0, K);
    for (int s = 0; s < B; s++) {
        Circuit circuit = circuit_of(network, &network->feedback, network->open, x, s);
        network_at_rest(&circuit, network->scratch.c);
    }
    if (config->rule == LINEAR_THRESHOLD) running_mean(network);
    feedback_weights(network);
    copy(network->closed, network->open, (size_t)B * config->n_state);
    for (int s = 0; s < B; s++) {
        Circuit circuit = circuit_of(network, &network->feedback, network->closed, x, s);
        closed_loop_target(config, y + (size_t)s * K, circuit.state.u_out,
                           network->controlled_target + (size_t)s * K);
        closed_loop(&circuit);
    }
}

/* One learning step: open loop, mean, feedback, target, closed loop, gradients; not the update. */
static void learning_step(Network *network, int step)
{
    const Config *config = &network->config;
    int B = network->n_samples, K = config->n_output;
    const real *x = network->inputs + (size_t)step * B * config->n[0];
    const real *y = network->targets + (size_t)step * B * K;
    fill(network->gradients.all, 0, network->gradients.count);
    if (config->rule != BACKPROP) run_batch(network, x, y);
    for (int s = 0; s < B; s++) {
        const real *x_s = x + (size_t)s * config->n[0], *y_s = y + (size_t)s * K;
        State open = state_at(config, network->open + (size_t)s * config->n_state);
        State closed = state_at(config, network->closed + (size_t)s * config->n_state);
        if (config->rule == BACKPROP) add_backprop_gradients(network, s, x_s, y_s);
        else add_sample_gradients(network, s, x_s, y_s);
        network->open_loss[step] += sample_loss(config, y_s, open.u_out) / B;
        network->closed_loss[step] += sample_loss(config, y_s, closed.u_out) / B;
    }
}

/* Section 2, trajectories: batch 0 from zero, and from where that ended under control. */
static void write_trajectories(Memory *memory, Answers *answers, Network *network)
{
    const Config *config = &network->config;
    int B = network->n_samples, T = config->n_steps / config->every + 1, n_state = config->n_state;
    real *states = allocate(memory, (size_t)B * n_state);
    real *kept = allocate(memory, (size_t)B * T * n_state);
    for (int controlled = 0; controlled < 2; controlled++) {
        for (int s = 0; s < B; s++) {
            real *y = states + (size_t)s * n_state, *at = kept + (size_t)s * T * n_state;
            Circuit circuit = circuit_of(network, &network->trajectory_feedback, states,
                                         network->inputs, s);
            copy(at, y, n_state);
            for (int step = 1; step <= config->n_steps; step++) {
                time_step(&circuit, controlled, config->method, config->dt, y);
                if (step % config->every == 0) copy(at += n_state, y, n_state);
            }
        }
        write_states(answers, config, kept, (Shape){3, {B, T}},
                     controlled ? "trajectory/closed_loop" : "trajectory/open_loop");
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) fail("usage: port QUESTIONS_DIR ANSWERS_DIR");
    Memory memory = {.n_blocks = 0};
    Network network = {.n_batches = 0};
    Answers answers = {.directory = argv[2]};
    char where[MAX_TEXT];
    prepare(&memory, argv[1], &network);
    snprintf(where, sizeof where, "%s/", argv[2]);
    make_directories(where);
    answers.list = open_file(argv[2], "arrays.txt", "w");
    for (int step = 0; step < network.n_batches; step++) {
        learning_step(&network, step);
        if (step == 0 && network.config.has_trajectory)
            write_trajectories(&memory, &answers, &network);
        write_step(&answers, &network, step);
        optimiser_step(&network, step + 1);
        snprintf(where, sizeof where, "steps/%04d/parameters_after", step);
        write_parameters(&answers, &network.config, &network.parameters, where);
    }
    write_parameters(&answers, &network.config, &network.parameters, "final_parameters");
    Shape losses = {1, {network.n_batches}};
    write_array(&answers, network.open_loss, network.n_batches, losses, "open_loop_loss");
    if (network.config.rule != BACKPROP)
        write_array(&answers, network.closed_loss, network.n_batches, losses, "closed_loop_loss");
    FILE *settings = open_file(argv[2], "settings.txt", "w");
    fprintf(settings, "precision %s\n", sizeof(real) == sizeof(float) ? "float32" : "float64");
    if (ferror(answers.list) | fclose(answers.list) | ferror(settings) | fclose(settings))
        fail("cannot write %s/arrays.txt and settings.txt", argv[2]);
    release(&memory);
    return 0;
}
