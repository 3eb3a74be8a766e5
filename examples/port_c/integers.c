/* The model in integers, in C99, from docs/integers.md alone: no float, no library but C's own.

   integers QUESTIONS ANSWERS: reads what `disinhib trace inputs TRACE.h5 --out QUESTIONS --flat` wrote
   of a trace of integers, and writes every integer that it comes to into the directory ANSWERS.
   Sections are those of the page. Arrays are (batch, units) in rows; right shifts of negative
   numbers are arithmetic, as on every compiler that matters (checked at the start).

   Compiled with -DNETWORK_H='"network.h"', of `disinhib export RUN --to c-header --out network.h`, it
   has no files: it takes the network from the header, and compares with the answers there. */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef int64_t Int;
enum { MOST_LAYERS = 16, MOST_NAME = 128 };

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "integers: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}

static void *memory(size_t n) {
    void *found = calloc(n ? n : 1, sizeof(Int));
    if (!found) fail("no memory for %zu integers", n);
    return found;
}

#ifdef NETWORK_H

/* What is asked, and should come out, out of a header: a testbench without an operating system. */

#include NETWORK_H

static size_t n_compared, n_other;

static const network_array *found(const network_array *all, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(all[i].name, name)) return &all[i];
    return 0;
}

static Int element(const network_array *a, size_t i) {
    switch (a->bytes) {
    case 1: return ((const int8_t *)a->values)[i];
    case 2: return ((const int16_t *)a->values)[i];
    case 4: return ((const int32_t *)a->values)[i];
    }
    return ((const int64_t *)a->values)[i];
}

static const network_array *asked(const char *name) {
    const network_array *a = found(network_arrays, sizeof network_arrays / sizeof *network_arrays, name);
    if (!a) fail("the header has no %s", name);
    return a;
}

static const char *setting(const char *name) {
    for (size_t i = 0; i < sizeof network_settings / sizeof *network_settings; i++)
        if (!strcmp(network_settings[i][0], name)) return network_settings[i][1];
    fail("the header has no setting %s", name);
    return 0;
}

static Int *array(const char *name, size_t n) {
    const network_array *a = asked(name);
    if (a->n < n) fail("%s has %zu integers: %zu are needed", name, a->n, n);
    Int *copy = memory(n);
    for (size_t i = 0; i < n; i++) copy[i] = element(a, i);
    return copy;
}

static Int length_of(const char *name, int axis) { return (Int)asked(name)->lengths[axis]; }

static void compare_or_write(const char *name, const Int *values, size_t n) {
    const network_array *a = found(network_answers, sizeof network_answers / sizeof *network_answers, name);
    if (!a || a->n != n) fail("the header has no %zu integers of %s", n, name);
    for (size_t i = 0; i < n; i++, n_compared++)
        if (values[i] != element(a, i) && !n_other++)
            printf("%s[%zu] is %" PRId64 ", should be %" PRId64 "\n", name, i, values[i], element(a, i));
}

#else

/* What is asked, in files, and where the answers go. */

static const char *questions, *answers;

static const char *setting(const char *name) {
    static char line[4096];
    char path[4096];
    snprintf(path, sizeof path, "%s/settings.txt", questions);
    FILE *file = fopen(path, "r");
    if (!file) fail("%s: %s", path, strerror(errno));
    size_t length = strlen(name);
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, name, length) && line[length] == ' ') {
            fclose(file);
            line[strcspn(line, "\n")] = 0;
            return line + length + 1;
        }
    }
    fail("%s: %s is missing", path, name);
    return 0;
}

static Int *array(const char *name, size_t n) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.i64", questions, name);
    FILE *file = fopen(path, "rb");
    if (!file) fail("%s: %s", path, strerror(errno));
    Int *found = memory(n);
    for (size_t i = 0; i < n; i++) {
        unsigned char bytes[8];
        if (fread(bytes, 1, 8, file) != 8) fail("%s has fewer than %zu integers", path, n);
        uint64_t value = 0;
        for (int k = 7; k >= 0; k--) value = value << 8 | bytes[k];
        memcpy(&found[i], &value, 8);
    }
    fclose(file);
    return found;
}

static Int length_of(const char *name, int axis) {
    char path[4096], line[4096], *rest;
    snprintf(path, sizeof path, "%s/arrays.txt", questions);
    FILE *file = fopen(path, "r");
    if (!file) fail("%s: %s", path, strerror(errno));
    size_t length = strlen(name);
    Int found = 0;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, name, length) || line[length] != ' ') continue;
        rest = line + length;
        for (int k = 0; k <= axis; k++) found = strtoll(rest, &rest, 10);
    }
    fclose(file);
    if (found < 1) fail("%s: %s is missing", path, name);
    return found;
}

static void compare_or_write(const char *name, const Int *values, size_t n) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.i64", answers, name);
    FILE *file = fopen(path, "wb");
    if (!file) fail("%s: %s", path, strerror(errno));
    for (size_t i = 0; i < n; i++) {
        uint64_t value = (uint64_t)values[i];
        unsigned char bytes[8];
        for (int k = 0; k < 8; k++) bytes[k] = (unsigned char)(value >> (8 * k));
        if (fwrite(bytes, 1, 8, file) != 8) fail("%s cannot be written", path);
    }
    if (fclose(file)) fail("%s cannot be written", path);
}

#endif

static Int whole(const char *name) { return strtoll(setting(name), 0, 10); }
static int is(const char *name, const char *value) { return !strcmp(setting(name), value); }

static void answer(Int step, const char *stage, const char *name, int layer, const Int *values, size_t n) {
    char whole_name[MOST_NAME], number[24] = "";
    if (layer >= 0) snprintf(number, sizeof number, "%d", layer);
    snprintf(whole_name, sizeof whole_name, "steps.%04d.%s.", (int)step, stage);
    char *end = whole_name + strlen(whole_name);
    /* A layer's number stands where the name has a #. */
    for (; *name; name++) {
        if (*name == '#') end = stpcpy(end, number);
        else *end++ = *name;
    }
    *end = 0;
    compare_or_write(whole_name, values, n);
}

/* Numbers: formats, saturation. */

typedef struct { int width, fraction; } Format;
enum { INPUT, WEIGHT, BIAS, POTENTIAL, RATE, SLOPE, ERROR, INTEGRAL, CONTROL, SENSITIVITY, FEEDBACK,
       TANGENT, MANTISSA, DELTA, GRADIENT, QUANTITIES };
static const char *const quantity_names[QUANTITIES] = {
    "input", "weight", "bias", "potential", "rate", "slope", "error", "integral", "control",
    "sensitivity", "feedback", "tangent", "mantissa", "delta", "gradient" };
static Format form[QUANTITIES];
static int accumulator;

static Int clamped(Int n, Int low, Int high) { return n < low ? low : n > high ? high : n; }

static Int saturated(Int n, int width) {
    Int limit = (Int)1 << (width - 1);
    return clamped(n, -limit, limit - 1);
}

static Int fitted(Int n, int quantity) { return saturated(n, form[quantity].width); }
static int point(int quantity) { return form[quantity].fraction; }

/* Dropping bits. */

enum { FLOOR, TRUNCATE, NEAREST_EVEN, NEAREST_AWAY, STOCHASTIC };
static int rounding, update_rounding;
static uint32_t seed, step_taken, tick_number;

enum { RATE_E, RATE_I, SLOPE_E, SLOPE_I, OFFSET, GAIN, EXPONENTIAL, RECIPROCAL, INVERSE_ROOT, SOFTMAX,
       ERROR_SITE, CONTROL_SITE, INTEGRAL_SITE, U_E, U_I, U_OUT, NUDGE, J_SITE, J_W, Q_SITE, MEAN,
       NORMALISED, TANGENT_SITE, DELTA_SITE, SUM_OF_PRODUCTS, GRADIENT_SITE, UPDATE, R_BAR, DRIVE, BACK };

static uint32_t h(uint32_t x) {
    x ^= x >> 16; x *= 0x7feb352du; x ^= x >> 15; x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

static uint32_t random_bits(int site, uint32_t i) {
    return h(i ^ h(tick_number ^ h((uint32_t)site ^ h(step_taken ^ h(seed)))));
}

static Int dropped(Int n, Int s, int way, int site, size_t i) {
    if (s <= 0) return (Int)((uint64_t)n << -s);
    if (s > 62) s = 62;
    Int half = (Int)1 << (s - 1);
    switch (way) {
    case FLOOR: return n >> s;
    case TRUNCATE: return (n + (n < 0 ? 2 * half - 1 : 0)) >> s;
    case NEAREST_EVEN: return (n + half - 1 + ((n >> s) & 1)) >> s;
    case NEAREST_AWAY: return (n + half - (n < 0)) >> s;
    }
    Int bits = random_bits(site, (uint32_t)i);
    return (n + (s <= 32 ? bits >> (32 - s) : bits << (s - 32))) >> s;
}

static Int rounded(Int n, Int fraction, int quantity, int site, size_t i) {
    return fitted(dropped(n, fraction - point(quantity), rounding, site, i), quantity);
}

/* Constants. */

typedef struct { Int m, shift; } Constant;
static Constant k_p, k_i, leak, nudge, rho, eta, by_batch, norm;

static Constant constant(const char *name) {
    char path[MOST_NAME];
    snprintf(path, sizeof path, "constants.%s", name);
    Int *pair = array(path, 2);
    Constant found = {pair[0], pair[1]};
    free(pair);
    return found;
}

/* Tables. */

typedef struct { Int *entries, first; int cell_bits, interpolates, site; Int cells; } Table;
static Table rate_E, rate_I, slope_E, slope_I, offset, gain, exponential, reciprocal, inverse_root;

static Table table(const char *name, int site) {
    char wanted[MOST_NAME];
    Table found = {0, 0, 0, 0, 64 * site, 0};
    snprintf(wanted, sizeof wanted, "tables.%s.entries", name);
    Int n = length_of(wanted, 0);
    found.entries = array(wanted, (size_t)n);
    snprintf(wanted, sizeof wanted, "tables.%s.first_cell_bits_interpolates", name);
    Int *about = array(wanted, 3);
    found.first = about[0], found.cell_bits = (int)about[1], found.interpolates = (int)about[2];
    found.cells = n - 1;
    free(about);
    return found;
}

static Int looked_up(const Table *t, Int v, int layer, size_t i) {
    Int a = clamped(v, t->first, t->first + (t->cells << t->cell_bits)) - t->first;
    Int cell = a >> t->cell_bits;
    if (cell > t->cells - 1) cell = t->cells - 1;
    Int low = t->entries[cell];
    if (!t->interpolates) return low;
    Int rise = (t->entries[cell + 1] - low) * (a - (cell << t->cell_bits));
    return low + dropped(rise, t->cell_bits, rounding, t->site + layer, i);
}

static int bit_length(Int v) {
    int n = 0;
    for (; v; v >>= 1) n++;
    return n;
}

/* m of v = m 2^p, with the mantissa's bits after the point; p a multiple of `multiple`. */
static Int mantissa(Int v, int multiple, Int *p) {
    *p = bit_length(v) - 1;
    *p -= *p % multiple;
    return dropped(v, *p - point(MANTISSA), FLOOR, 0, 0);
}

/* The network. */

static int L, n_out, is_mse, is_average, is_normal, is_strong, to_readout, has_bias, has_clip;
static int sizes[MOST_LAYERS + 2];
static Int batch, ticks, shift_E, shift_I, shift_c, norm_exponent, clip, fixed_point;
enum { EXACT_INVERSE, LINEAR_THRESHOLD, LINEAR_THRESHOLD_FIXED, BACKPROP };
enum { BY_TABLE, BY_POWER, BY_FIXED };
static int rule, normalization;
static Int *W[MOST_LAYERS + 1], *b[MOST_LAYERS], *r_bar[MOST_LAYERS];

static int units(int l) { return sizes[l + 1]; }
static Int max(Int a, Int c) { return a > c ? a : c; }

/* One unit's sum h W + b, exact, then in the accumulator. */
static Int driven(const Int *h, const Int *weights, const Int *biases, int n_in, int n, int i, int f) {
    Int sum = biases ? biases[i] * ((Int)1 << (f - point(BIAS))) : 0;
    for (int j = 0; j < n_in; j++) sum += h[j] * weights[(size_t)j * n + i];
    return saturated(sum, accumulator);
}

/* Controller and error. */

static void softmax(const Int *u, Int *share, size_t sample) {
    Int largest = u[0], sum = 0, p;
    for (int k = 1; k < n_out; k++) largest = max(largest, u[k]);
    for (int k = 0; k < n_out; k++) {
        share[k] = looked_up(&exponential, u[k] - largest, 0, sample * n_out + k);
        sum += share[k];
    }
    Int m = mantissa(sum, 1, &p);
    Int r = looked_up(&reciprocal, m, 0, sample);
    for (int k = 0; k < n_out; k++)
        share[k] = rounded(share[k] * r, point(MANTISSA) + p, ERROR, 64 * SOFTMAX, sample * n_out + k);
}

static void error(const Int *u, const Int *target, Int *e, size_t sample) {
    if (is_mse) {
        int f = (int)max(point(ERROR), point(POTENTIAL));
        for (int k = 0; k < n_out; k++) {
            Int wide = target[k] * ((Int)1 << (f - point(ERROR)));
            wide -= u[k] * ((Int)1 << (f - point(POTENTIAL)));
            e[k] = rounded(wide, f, ERROR, 64 * ERROR_SITE, sample * n_out + k);
        }
        return;
    }
    softmax(u, e, sample);
    for (int k = 0; k < n_out; k++) e[k] = fitted(target[k] - e[k], ERROR);
}

/* A sum of two terms with their own bits after the point. */
static Int added(Int a, int f_a, Int c, int f_c, int *f) {
    *f = (int)max(f_a, f_c);
    return a * ((Int)1 << (*f - f_a)) + c * ((Int)1 << (*f - f_c));
}

static void target_of(const Int *o, const Int *y, Int *target, size_t sample) {
    Int share[1024];
    int f, f_d;
    if (n_out > 1024) fail("%d outputs: 1024 at most", n_out);
    if (is_strong) {
        memcpy(target, y, sizeof(Int) * (size_t)n_out);
        return;
    }
    if (!is_mse) softmax(o, share, sample);
    for (int k = 0; k < n_out; k++) {
        Int d = y[k] - (is_mse ? 0 : share[k]);
        f_d = point(ERROR);
        if (is_mse) d = added(y[k], point(ERROR), -o[k], point(POTENTIAL), &f_d);
        Int wide = added(o[k], point(POTENTIAL), d * nudge.m, f_d + (int)nudge.shift, &f);
        target[k] = rounded(wide, f, is_mse ? ERROR : POTENTIAL, 64 * NUDGE, sample * n_out + k);
    }
    if (!is_mse) {
        memcpy(share, target, sizeof(Int) * (size_t)n_out);
        softmax(share, target, sample);
    }
}

/* A tick. */

typedef struct { Int *u_E[MOST_LAYERS], *u_I[MOST_LAYERS], *u_out, *z; } State;

static State new_state(void) {
    State s;
    for (int l = 0; l < L; l++) {
        s.u_E[l] = memory((size_t)batch * units(l));
        s.u_I[l] = memory((size_t)batch * units(l));
    }
    s.u_out = memory((size_t)batch * n_out);
    s.z = memory((size_t)batch * n_out);
    return s;
}

static Int taken_in(Int state, Int change, int f, int quantity, Int shift, int site, size_t i) {
    return fitted(state + dropped(change, f - point(quantity) + shift, rounding, site, i), quantity);
}

static void tick(State *s, const Int *a_1, Int *const *Q, int is_shared, const Int *target) {
    Int *r_E[MOST_LAYERS], *e = memory(n_out), *c = memory(n_out);
    int f_r = point(RATE), f_u = point(POTENTIAL), f_sum = f_r + point(WEIGHT);
    for (int l = 0; l < L; l++) r_E[l] = memory(units(l));
    for (Int sample = 0; sample < batch; sample++) {
        for (int l = 0; l < L; l++) {
            size_t at = (size_t)sample * units(l);
            for (int i = 0; i < units(l); i++)
                r_E[l][i] = looked_up(&rate_E, s->u_E[l][at + i], l, at + i);
        }
        size_t out = (size_t)sample * n_out;
        if (Q) {
            error(s->u_out + out, target + out, e, (size_t)sample);
            for (int k = 0; k < n_out; k++) {
                int f;
                Int z = s->z[out + k];
                Int wide = added(e[k] * k_p.m, point(ERROR) + (int)k_p.shift, z * k_i.m,
                                 point(INTEGRAL) + (int)k_i.shift, &f);
                c[k] = rounded(wide, f, CONTROL, 64 * CONTROL_SITE, out + k);
                wide = added(e[k], point(ERROR), -z * leak.m, point(INTEGRAL) + (int)leak.shift, &f);
                s->z[out + k] = taken_in(z, wide, f, INTEGRAL, shift_c, 64 * INTEGRAL_SITE, out + k);
            }
        }
        for (int l = 0; l < L; l++) {
            size_t at = (size_t)sample * units(l);
            for (int i = 0; i < units(l); i++) {
                Int u = s->u_E[l][at + i], v = s->u_I[l][at + i], wide;
                int f = point(INPUT) + point(WEIGHT), g;
                Int a = a_1[at + i];
                if (l > 0) {
                    f = f_sum;
                    a = driven(r_E[l - 1], W[l], b[l], units(l - 1), units(l), i, f);
                }
                wide = added(a, f, -u, f_u, &g);
                wide = added(wide, g, -looked_up(&rate_I, v, l, at + i), f_r, &f);
                s->u_E[l][at + i] = taken_in(u, wide, f, POTENTIAL, shift_E, 64 * U_E + l, at + i);
                wide = added(r_E[l][i], f_r, -v, f_u, &f);
                if (Q) {
                    Int cQ = 0;
                    size_t of = is_shared ? 0 : (size_t)sample * n_out * units(l);
                    for (int k = 0; k < n_out; k++) cQ += c[k] * Q[l][of + (size_t)k * units(l) + i];
                    cQ = saturated(cQ, accumulator);
                    wide = added(wide, f, -cQ, point(CONTROL) + point(FEEDBACK), &g);
                    f = g;
                }
                s->u_I[l][at + i] = taken_in(v, wide, f, POTENTIAL, shift_I, 64 * U_I + l, at + i);
            }
        }
        for (int k = 0; k < n_out; k++) {
            int f, g;
            Int u = s->u_out[out + k];
            Int wide = driven(r_E[L - 1], W[L], 0, units(L - 1), n_out, k, f_sum);
            wide = added(wide, f_sum, -u, f_u, &f);
            if (Q && to_readout) {
                wide = added(wide, f, c[k], point(CONTROL), &g);
                f = g;
            }
            s->u_out[out + k] = taken_in(u, wide, f, POTENTIAL, shift_E, 64 * U_OUT, out + k);
        }
    }
    for (int l = 0; l < L; l++) free(r_E[l]);
    free(e), free(c);
}

/* All ticks of a loop, every one of them answered; numbered from `first`. */
static void run_ticks(State *s, const Int *x, Int first, Int *const *Q, int is_shared,
                      const Int *target, Int step) {
    const char *stage = Q ? "closed_loop" : "open_loop";
    Int *a_1 = memory((size_t)batch * units(0));
    State path;
    int f = point(INPUT) + point(WEIGHT);
    for (Int sample = 0; sample < batch; sample++)
        for (int i = 0; i < units(0); i++)
            a_1[(size_t)sample * units(0) + i] =
                driven(x + (size_t)sample * sizes[0], W[0], b[0], sizes[0], units(0), i, f);
    for (int l = 0; l < L; l++) {
        path.u_E[l] = memory((size_t)(ticks * batch) * units(l));
        path.u_I[l] = memory((size_t)(ticks * batch) * units(l));
    }
    path.u_out = memory((size_t)(ticks * batch) * n_out);
    path.z = memory((size_t)(ticks * batch) * n_out);
    for (Int t = 0; t < ticks; t++) {
        tick_number = (uint32_t)(first + t);
        tick(s, a_1, Q, is_shared, target);
        for (int l = 0; l < L; l++) {
            size_t n = (size_t)batch * units(l);
            memcpy(path.u_E[l] + (size_t)t * n, s->u_E[l], n * sizeof(Int));
            memcpy(path.u_I[l] + (size_t)t * n, s->u_I[l], n * sizeof(Int));
        }
        size_t n = (size_t)batch * n_out;
        memcpy(path.u_out + (size_t)t * n, s->u_out, n * sizeof(Int));
        memcpy(path.z + (size_t)t * n, s->z, n * sizeof(Int));
    }
    tick_number = 0;
    for (int l = 0; l < L; l++) {
        answer(step, stage, "u_E_#", l, path.u_E[l], (size_t)(ticks * batch) * units(l));
        answer(step, stage, "u_I_#", l, path.u_I[l], (size_t)(ticks * batch) * units(l));
        free(path.u_E[l]), free(path.u_I[l]);
    }
    answer(step, stage, "u_out", -1, path.u_out, (size_t)(ticks * batch) * n_out);
    if (Q) answer(step, stage, "z", -1, path.z, (size_t)(ticks * batch) * n_out);
    free(path.u_out), free(path.z), free(a_1);
}

/* Feedback weights: Q[l] is (batch or 1, n_out, n_l). */

static void feedback_weights(const State *s, Int **Q) {
    Int *J[MOST_LAYERS];
    for (int l = L - 1; l >= 0; l--) {
        int n = units(l);
        J[l] = memory((size_t)batch * n_out * n);
        Q[l] = memory((size_t)batch * n_out * n);
        for (Int sample = 0; sample < batch; sample++)
            for (int k = 0; k < n_out; k++)
                for (int i = 0; i < n; i++) {
                    size_t at = ((size_t)sample * n_out + k) * n + i, unit = (size_t)sample * n + i;
                    Int through = W[L][(size_t)i * n_out + k];
                    int f = point(WEIGHT);
                    if (l < L - 1) {
                        int m = units(l + 1);
                        Int sum = 0;
                        for (int j = 0; j < m; j++)
                            sum += J[l + 1][((size_t)sample * n_out + k) * m + j] * W[l + 1][(size_t)i * m + j];
                        f = point(SENSITIVITY) + point(WEIGHT);
                        through = rounded(saturated(sum, accumulator), f, SENSITIVITY,
                                          64 * J_W + l + 1, at);
                        f = point(SENSITIVITY);
                    }
                    Int slope = looked_up(&slope_E, s->u_E[l][unit], l, unit);
                    J[l][at] = rounded(through * slope, f + point(SLOPE), SENSITIVITY, 64 * J_SITE + l, at);
                    slope = looked_up(&slope_I, s->u_I[l][unit], l, unit);
                    Q[l][at] = rounded(J[l][at] * slope, point(SENSITIVITY) + point(SLOPE), SENSITIVITY,
                                       64 * Q_SITE + l, at);
                }
    }
    for (int l = 0; l < L; l++) {
        size_t n = (size_t)n_out * units(l);
        Int of = is_average ? 1 : batch;
        if (is_average)
            for (size_t i = 0; i < n; i++) {
                Int sum = 0;
                for (Int sample = 0; sample < batch; sample++) sum += Q[l][(size_t)sample * n + i];
                Q[l][i] = rounded(sum * by_batch.m, point(SENSITIVITY) + by_batch.shift, SENSITIVITY,
                                  64 * MEAN + l, i);
            }
        for (Int sample = 0; sample < of; sample++) {
            Int *q = Q[l] + (size_t)sample * n, squares = 0, p, factor = 1, f;
            for (size_t i = 0; i < n; i++) {
                if (has_clip) q[i] = clamped(q[i], -clip, clip);
                squares += q[i] * q[i];
            }
            squares = saturated(squares, 62);
            Int m = mantissa(squares ? squares : 1, 2, &p);
            if (!is_normal) {
                f = point(SENSITIVITY);
            } else if (normalization == BY_TABLE) {
                factor = looked_up(&inverse_root, m, l, (size_t)sample);
                f = point(MANTISSA) + p / 2 - norm_exponent;
            } else if (normalization == BY_POWER) {
                f = p / 2 + 2 - norm_exponent;
            } else {
                factor = norm.m, f = point(SENSITIVITY) + norm.shift;
            }
            for (size_t i = 0; i < n; i++)
                q[i] = rounded(q[i] * factor, f, FEEDBACK, 64 * NORMALISED + l, (size_t)sample * n + i);
        }
        free(J[l]);
    }
}

/* Learning. */

static Int mean_gradient(Int sum, int f, int layer, size_t i) {
    Int fewer = dropped(sum, f - point(GRADIENT), rounding, 64 * SUM_OF_PRODUCTS + layer, i);
    return rounded(fewer * by_batch.m, point(GRADIENT) + by_batch.shift, GRADIENT,
                   64 * GRADIENT_SITE + layer, i);
}

/* Of layer l from its presynaptic activity and δ; with a bias but for the readout. */
static void gradients(const Int *pre, int of, const Int *delta, int n_in, int n, int l, Int *gW, Int *gb) {
    for (int j = 0; j < n_in; j++)
        for (int i = 0; i < n; i++) {
            Int sum = 0;
            for (Int s = 0; s < batch; s++) sum += pre[(size_t)s * n_in + j] * delta[(size_t)s * n + i];
            gW[(size_t)j * n + i] = mean_gradient(saturated(sum, accumulator), point(of) + point(DELTA), l,
                                                  (size_t)j * n + i);
        }
    if (!gb) return;
    for (int i = 0; i < n; i++) {
        Int sum = 0;
        for (Int s = 0; s < batch; s++) sum += delta[(size_t)s * n + i];
        gb[i] = has_bias ? mean_gradient(sum, point(DELTA), 32 + l, (size_t)i) : 0;
    }
}

static void plasticity(const Int *x, const Int *y, const State *opened, const State *closed, Int **gW, Int **gb) {
    const Int *pre = x;
    Int *r[MOST_LAYERS], *delta;
    for (int l = 0; l < L; l++) {
        int n = units(l), n_in = sizes[l];
        r[l] = memory((size_t)batch * n);
        delta = memory((size_t)batch * n);
        for (size_t at = 0; at < (size_t)batch * n; at++) {
            int i = (int)(at % (size_t)n), f;
            r[l][at] = looked_up(&rate_E, closed->u_E[l][at], l, at);
            Int estimate = closed->u_I[l][at];
            if (rule != EXACT_INVERSE) {
                /* θ and δ are of the layer's n means; with a fixed rate all are the same. */
                Int mean = rule == LINEAR_THRESHOLD ? r_bar[l][i] : fixed_point;
                Int theta = looked_up(&offset, mean, l, (size_t)i), slope = looked_up(&gain, mean, l, (size_t)i);
                Int r_I = looked_up(&rate_I, estimate, l, at);
                Int wide = added(theta, point(TANGENT), slope * r_I, point(TANGENT) + point(RATE), &f);
                estimate = rounded(wide, f, POTENTIAL, 64 * TANGENT_SITE + l, at);
            }
            Int difference = added(estimate, point(POTENTIAL), -r[l][at], point(RATE), &f);
            Int slope = looked_up(&slope_E, closed->u_E[l][at], l, at);
            delta[at] = rounded(difference * slope, f + point(SLOPE), DELTA, 64 * DELTA_SITE + l, at);
        }
        gradients(pre, l ? RATE : INPUT, delta, n_in, n, l, gW[l], gb[l]);
        free(delta);
        pre = r[l];
    }
    Int *top = memory((size_t)batch * units(L - 1));
    delta = memory((size_t)batch * n_out);
    memcpy(top, pre, sizeof(Int) * (size_t)batch * units(L - 1));
    if (!to_readout)
        for (size_t at = 0; at < (size_t)batch * units(L - 1); at++)
            top[at] = looked_up(&rate_E, opened->u_E[L - 1][at], L, at);
    for (Int s = 0; s < batch; s++) {
        Int *e = delta + (size_t)s * n_out;
        if (!to_readout) error(opened->u_out + (size_t)s * n_out, y + (size_t)s * n_out, e, (size_t)s);
        for (int k = 0; k < n_out; k++) {
            int f = point(ERROR), f_sum = point(RATE) + point(WEIGHT);
            size_t at = (size_t)s * n_out + k;
            Int wide = -e[k];
            if (to_readout) {
                wide = driven(top + (size_t)s * units(L - 1), W[L], 0, units(L - 1), n_out, k, f_sum);
                wide = added(wide, f_sum, -closed->u_out[at], point(POTENTIAL), &f);
            }
            e[k] = rounded(wide, f, DELTA, 64 * DELTA_SITE + L, at);
        }
    }
    gradients(top, RATE, delta, units(L - 1), n_out, L, gW[L], 0);
    for (int l = 0; l < L; l++) free(r[l]);
    free(top), free(delta);
}

static void backprop(const Int *x, const Int *y, Int **gW, Int **gb, Int step) {
    Int *a[MOST_LAYERS], *hidden[MOST_LAYERS + 1], *u_out = memory((size_t)batch * n_out);
    Int *delta = memory((size_t)batch * n_out);
    hidden[0] = memory((size_t)batch * sizes[0]);
    memcpy(hidden[0], x, sizeof(Int) * (size_t)batch * sizes[0]);
    for (int l = 0; l <= L; l++) {
        int n = l < L ? units(l) : n_out, f = (l ? point(RATE) : point(INPUT)) + point(WEIGHT);
        Int *u = l < L ? (a[l] = memory((size_t)batch * n)) : u_out;
        for (Int s = 0; s < batch; s++)
            for (int i = 0; i < n; i++) {
                size_t at = (size_t)s * n + i;
                Int sum = driven(hidden[l] + (size_t)s * sizes[l], W[l], l < L ? b[l] : 0, sizes[l], n, i, f);
                u[at] = rounded(sum, f, POTENTIAL, 64 * DRIVE + l, at);
            }
        if (l == L) break;
        hidden[l + 1] = memory((size_t)batch * n);
        for (size_t at = 0; at < (size_t)batch * n; at++)
            hidden[l + 1][at] = looked_up(&rate_E, u[at], l, at);
    }
    answer(step, "output", "u_out", -1, u_out, (size_t)batch * n_out);
    for (Int s = 0; s < batch; s++) {
        Int *e = delta + (size_t)s * n_out;
        error(u_out + (size_t)s * n_out, y + (size_t)s * n_out, e, (size_t)s);
        for (int k = 0; k < n_out; k++)
            e[k] = rounded(-e[k], point(ERROR), DELTA, 64 * DELTA_SITE + L, (size_t)s * n_out + k);
    }
    gradients(hidden[L], RATE, delta, sizes[L], n_out, L, gW[L], 0);
    for (int l = L - 1; l >= 0; l--) {
        int n = units(l), m = l < L - 1 ? units(l + 1) : n_out;
        Int *below = memory((size_t)batch * n);
        for (Int s = 0; s < batch; s++)
            for (int i = 0; i < n; i++) {
                size_t at = (size_t)s * n + i;
                Int sum = 0;
                for (int j = 0; j < m; j++) sum += delta[(size_t)s * m + j] * W[l + 1][(size_t)i * m + j];
                Int back = rounded(saturated(sum, accumulator), point(DELTA) + point(WEIGHT), DELTA,
                                   64 * BACK + l, at);
                Int slope = looked_up(&slope_E, a[l][at], l, at);
                below[at] = rounded(back * slope, point(DELTA) + point(SLOPE), DELTA, 64 * DELTA_SITE + l, at);
            }
        free(delta);
        delta = below;
        gradients(hidden[l], l ? RATE : INPUT, delta, sizes[l], n, l, gW[l], gb[l]);
    }
    for (int l = 0; l < L; l++) free(a[l]);
    for (int l = 0; l <= L; l++) free(hidden[l]);
    free(u_out), free(delta);
}

static void descend(Int *values, const Int *g, size_t n, int quantity, int layer) {
    for (size_t i = 0; i < n; i++) {
        Int s = point(GRADIENT) + eta.shift - point(quantity);
        Int change = dropped(g[i] * eta.m, s, update_rounding, 64 * UPDATE + layer, i);
        values[i] = fitted(values[i] - change, quantity);
    }
}

static void updated_means(const State *opened, Int step) {
    for (int l = 0; l < L; l++) {
        int n = units(l), f;
        for (int i = 0; i < n; i++) {
            Int sum = 0;
            for (Int s = 0; s < batch; s++) {
                size_t at = (size_t)s * n + i;
                sum += looked_up(&rate_I, opened->u_I[l][at], l, at);
            }
            Int mean = rounded(sum * by_batch.m, point(RATE) + by_batch.shift, RATE, 64 * MEAN + l, (size_t)i);
            Int wide = added(r_bar[l][i], point(RATE), (mean - r_bar[l][i]) * rho.m,
                             point(RATE) + (int)rho.shift, &f);
            r_bar[l][i] = rounded(wide, f, RATE, 64 * R_BAR + l, (size_t)i);
        }
        answer(step, "mean_inhibition", "r_bar_#", l, r_bar[l], (size_t)n);
    }
}

static void learn(const Int *x, const Int *y, Int step) {
    Int *gW[MOST_LAYERS + 1], *gb[MOST_LAYERS];
    for (int l = 0; l <= L; l++) {
        gW[l] = memory((size_t)sizes[l] * sizes[l + 1]);
        if (l < L) gb[l] = memory((size_t)sizes[l + 1]);
    }
    step_taken = (uint32_t)step;
    if (rule == BACKPROP) {
        backprop(x, y, gW, gb, step);
    } else {
        State opened = new_state(), closed = new_state();
        Int *Q[MOST_LAYERS], *target = memory((size_t)batch * n_out);
        run_ticks(&opened, x, 1, 0, 0, 0, step);
        if (rule == LINEAR_THRESHOLD) updated_means(&opened, step);
        feedback_weights(&opened, Q);
        for (int l = 0; l < L; l++)
            answer(step, "feedback_weights", "Q_#", l, Q[l], (size_t)(is_average ? 1 : batch) * n_out * units(l));
        for (Int s = 0; s < batch; s++)
            target_of(opened.u_out + (size_t)s * n_out, y + (size_t)s * n_out, target + (size_t)s * n_out, (size_t)s);
        answer(step, "target", "target", -1, target, (size_t)batch * n_out);
        for (int l = 0; l < L; l++) {
            memcpy(closed.u_E[l], opened.u_E[l], sizeof(Int) * (size_t)batch * units(l));
            memcpy(closed.u_I[l], opened.u_I[l], sizeof(Int) * (size_t)batch * units(l));
        }
        memcpy(closed.u_out, opened.u_out, sizeof(Int) * (size_t)batch * n_out);
        run_ticks(&closed, x, ticks + 1, Q, is_average, target, step);
        plasticity(x, y, &opened, &closed, gW, gb);
    }
    for (int l = 0; l <= L; l++) {
        const char *name = l < L ? "hidden_#_weight" : "readout_weight";
        size_t n = (size_t)sizes[l] * sizes[l + 1];
        answer(step, "gradients", name, l, gW[l], n);
        descend(W[l], gW[l], n, WEIGHT, l);
        answer(step, "parameters", name, l, W[l], n);
        if (l == L) break;
        answer(step, "gradients", "hidden_#_bias", l, gb[l], (size_t)units(l));
        descend(b[l], gb[l], (size_t)units(l), BIAS, 32 + l);
        answer(step, "parameters", "hidden_#_bias", l, b[l], (size_t)units(l));
    }
}

static int rounding_named(const char *name) {
    static const char *const names[] = {"floor", "truncate", "nearest-even", "nearest-away", "stochastic"};
    for (int way = 0; way < 5; way++)
        if (is(name, names[way])) return way;
    fail("%s is %s: unknown", name, setting(name));
    return 0;
}

int main(int n, char **arguments) {
#ifndef NETWORK_H
    if (n != 3) fail("usage: integers QUESTIONS ANSWERS");
    questions = arguments[1], answers = arguments[2];
    if (mkdir(answers, 0777) && errno != EEXIST) fail("%s: %s", answers, strerror(errno));
#else
    (void)n, (void)arguments;
#endif
    if (((Int)-3 >> 1) != -2) fail("this compiler's shift to the right does not keep the sign");
    char text[MOST_NAME], *rest;
    const char *given = setting("network.sizes");
    for (L = -2; *given; L++) {
        if (L == MOST_LAYERS) fail("more than %d hidden layers", MOST_LAYERS);
        sizes[L + 2] = (int)strtol(given, &rest, 10);
        if (rest == given || sizes[L + 2] < 1) fail("network.sizes: %s is no number of units", given);
        for (given = rest; *given == ' '; given++) {}
    }
    if (L < 1) fail("network.sizes: inputs, hidden layers and outputs are needed");
    n_out = sizes[L + 1];
    for (int q = 0; q < QUANTITIES; q++) {
        snprintf(text, sizeof text, "arithmetic.%s", quantity_names[q]);
        form[q].width = (int)strtol(setting(text), &rest, 10);
        form[q].fraction = (int)strtol(rest + 1, 0, 10);
    }
    accumulator = (int)whole("arithmetic.accumulator");
    ticks = whole("arithmetic.ticks");
    shift_E = whole("arithmetic.shift_E"), shift_I = whole("arithmetic.shift_I");
    shift_c = whole("arithmetic.shift_c");
    seed = (uint32_t)strtoul(setting("arithmetic.seed"), 0, 10);
    rounding = rounding_named("arithmetic.rounding");
    update_rounding = rounding_named("arithmetic.update_rounding");
    normalization = is("arithmetic.normalization", "table") ? BY_TABLE
                  : is("arithmetic.normalization", "fixed") ? BY_FIXED : BY_POWER;
    is_mse = is("network.loss", "mse");
    rule = is("network.rule", "exact-inverse") ? EXACT_INVERSE
         : is("network.rule", "linear-threshold") ? LINEAR_THRESHOLD
         : is("network.rule", "linear-threshold-fixed") ? LINEAR_THRESHOLD_FIXED : BACKPROP;
    is_average = (int)whole("network.feedback.average"), is_normal = (int)whole("network.feedback.normalize");
    is_strong = (int)whole("network.feedback.strong"), to_readout = (int)whole("network.feedback.to_readout");
    has_bias = (int)whole("network.bias"), has_clip = !is("network.feedback.clip", "none");
    k_p = constant("k_p"), k_i = constant("k_i"), leak = constant("leak"), nudge = constant("nudge");
    rho = constant("rho"), eta = constant("eta"), by_batch = constant("batch"), norm = constant("norm");
    norm_exponent = *array("constants.norm_exponent", 1), clip = *array("constants.clip", 1);
    fixed_point = *array("constants.fixed_point", 1);
    rate_E = table("rate_E", RATE_E), rate_I = table("rate_I", RATE_I);
    slope_E = table("slope_E", SLOPE_E), slope_I = table("slope_I", SLOPE_I);
    offset = table("offset", OFFSET), gain = table("gain", GAIN);
    exponential = table("exponential", EXPONENTIAL), reciprocal = table("reciprocal", RECIPROCAL);
    inverse_root = table("inverse_root", INVERSE_ROOT);
    Int steps = length_of("inputs", 0);
    batch = length_of("inputs", 1);
    for (int l = 0; l <= L; l++) {
        snprintf(text, sizeof text, l < L ? "initial.hidden_%d_weight" : "initial.readout_weight", l);
        W[l] = array(text, (size_t)sizes[l] * sizes[l + 1]);
        if (l == L) break;
        snprintf(text, sizeof text, "initial.hidden_%d_bias", l);
        b[l] = array(text, (size_t)units(l));
        snprintf(text, sizeof text, "initial.r_bar_%d", l);
        r_bar[l] = array(text, (size_t)units(l));
    }
    Int *x = array("inputs", (size_t)(steps * batch) * sizes[0]);
    Int *y = array("targets", (size_t)(steps * batch) * n_out);
    for (Int step = 0; step < steps; step++)
        learn(x + (size_t)(step * batch) * sizes[0], y + (size_t)(step * batch) * n_out, step);
#ifdef NETWORK_H
    printf("%zu integers compared, %zu differ\n", n_compared, n_other);
    return n_other ? 1 : 0;
#endif
    return 0;
}
