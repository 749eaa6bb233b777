/* The optimisers' updates, for one instruction set and one dtype; the NumPy twin in
 * fastseq/reference.py says the same in a line per equation.
 *
 * Each works on whole vectors: loops over lanes in local arrays, as the gates have them, come out
 * one number at a time where compilers unroll them first.
 */

#define AT(array) (*(VECU *)((array) + at * ITEM))
#define GRADIENT(value) (scale * *(const VECU *)(u->gradients + at * ITEM) + decay * (value))
#define NUMBER(name) const REAL name = (REAL)u->name

typedef BITS FS_NAME(bits) __attribute__((vector_size(FS_VECTOR_BYTES)));

FS_INLINE VEC FS_NAME(root)(VEC x) {
    VEC y;
    for (int l = 0; l < LANES; l++) y[l] = FS_DOUBLE ? sqrt(x[l]) : sqrtf(x[l]);
    return y;
}

/* The larger one; a where either is NaN. */
FS_INLINE VEC FS_NAME(larger)(VEC a, VEC b) {
    FS_NAME(bits) b_is = (FS_NAME(bits))(b > a);
    return (VEC)((b_is & (FS_NAME(bits))b) | (~b_is & (FS_NAME(bits))a));
}

/* Defines `name`: the call for every vector; constants in the call choose a variant. */
#define UPDATER(name, call)                                                                 \
    static void FS_NAME(name)(const fs_update *update, long begin, long end) {              \
        const fs_update copy = *update, *u = &copy; /* no store into an array changes it */ \
        for (long at = begin; at < end; at += LANES) call;                                  \
    }

/* Numbers [begin, end).  The last ones, too few for a vector, go through the very same
 * instructions in buffers that have room for one: where a number lies must not show. */
static void FS_NAME(update)(fs_updater updater, const fs_update *u, long begin, long end) {
    const long rest = (end - begin) % LANES, at = end - rest;
    updater(u, begin, at);
    if (!rest) return;
    REAL value[LANES] = {0}, gradient[LANES] = {0}, state[3][LANES] = {{0}};
    fs_update padded = *u;
    padded.values = (char *)value;
    padded.gradients = (const char *)gradient;
    memcpy(value, u->values + at * ITEM, rest * ITEM);
    memcpy(gradient, u->gradients + at * ITEM, rest * ITEM);
    for (int i = 0; i < 3; i++) {
        padded.state[i] = (char *)state[i];
        if (u->state[i]) memcpy(state[i], u->state[i] + at * ITEM, rest * ITEM);
    }
    updater(&padded, 0, LANES);
    memcpy(u->values + at * ITEM, value, rest * ITEM);
    for (int i = 0; i < 3; i++)
        if (u->state[i]) memcpy(u->state[i] + at * ITEM, state[i], rest * ITEM);
}

/* --- SGD ------------------------------------------------------------------------------------ */

FS_INLINE void FS_NAME(sgd_vector)(const fs_update *u, long at, const int with_momentum,
                                   const int nesterov) {
    NUMBER(scale); NUMBER(decay); NUMBER(rate); NUMBER(momentum); NUMBER(gain);
    VEC value = AT(u->values), g = GRADIENT(value);
    if (with_momentum) {
        VEC buffer = momentum * AT(u->state[0]) + gain * g;
        AT(u->state[0]) = buffer;
        g = momentum * buffer + g;
        if (!nesterov) g = buffer;
    }
    AT(u->values) = value - rate * g;
}

UPDATER(sgd_plain, FS_NAME(sgd_vector)(u, at, 0, 0))
UPDATER(sgd_momentum, FS_NAME(sgd_vector)(u, at, 1, 0))
UPDATER(sgd_nesterov, FS_NAME(sgd_vector)(u, at, 1, 1))

/* --- Adam: running mean and squares ---------------------------------------------------------- */

FS_INLINE void FS_NAME(adam_vector)(const fs_update *u, long at, const int amsgrad) {
    NUMBER(scale); NUMBER(decay); NUMBER(shrink); NUMBER(rate); NUMBER(beta2);
    NUMBER(correction); NUMBER(eps);
    const REAL towards = (REAL)(1 - u->beta1), added = (REAL)(1 - u->beta2);
    VEC value = AT(u->values), g = GRADIENT(value), mean = AT(u->state[0]);
    mean += towards * (g - mean);
    VEC square = beta2 * AT(u->state[1]) + added * g * g;
    AT(u->state[0]) = mean;
    AT(u->state[1]) = square;
    if (amsgrad) AT(u->state[2]) = square = FS_NAME(larger)(square, AT(u->state[2]));
    AT(u->values) = shrink * value - rate * mean / (FS_NAME(root)(square) * correction + eps);
}

UPDATER(adam_plain, FS_NAME(adam_vector)(u, at, 0))
UPDATER(adam_amsgrad, FS_NAME(adam_vector)(u, at, 1))

/* --- RMSprop: running squares, perhaps around a running mean --------------------------------- */

FS_INLINE void FS_NAME(rmsprop_vector)(const fs_update *u, long at, const int centered,
                                       const int with_momentum) {
    NUMBER(scale); NUMBER(decay); NUMBER(rate); NUMBER(beta2); NUMBER(momentum); NUMBER(eps);
    const REAL added = (REAL)(1 - u->beta2);
    VEC value = AT(u->values), g = GRADIENT(value);
    VEC square = beta2 * AT(u->state[0]) + added * g * g;
    AT(u->state[0]) = square;
    if (centered) {
        VEC mean = AT(u->state[1]);
        mean += added * (g - mean);
        AT(u->state[1]) = mean;
        square = FS_NAME(larger)(square - mean * mean, (VEC){0}); /* rounding may go below 0 */
    }
    VEC step = g / (FS_NAME(root)(square) + eps);
    if (with_momentum) AT(u->state[2]) = step = momentum * AT(u->state[2]) + step;
    AT(u->values) = value - rate * step;
}

UPDATER(rmsprop_plain, FS_NAME(rmsprop_vector)(u, at, 0, 0))
UPDATER(rmsprop_centered, FS_NAME(rmsprop_vector)(u, at, 1, 0))
UPDATER(rmsprop_momentum, FS_NAME(rmsprop_vector)(u, at, 0, 1))
UPDATER(rmsprop_centered_momentum, FS_NAME(rmsprop_vector)(u, at, 1, 1))

/* --- Adagrad: the sum of all squares ---------------------------------------------------------- */

FS_INLINE void FS_NAME(adagrad_vector)(const fs_update *u, long at) {
    NUMBER(scale); NUMBER(decay); NUMBER(rate); NUMBER(eps);
    VEC value = AT(u->values), g = GRADIENT(value), total = AT(u->state[0]);
    total += g * g;
    AT(u->state[0]) = total;
    AT(u->values) = value - rate * g / (FS_NAME(root)(total) + eps);
}

UPDATER(adagrad, FS_NAME(adagrad_vector)(u, at))

/* --- in float64 whatever the dtype ---------------------------------------------------------- */

#define WIDE (FS_VECTOR_BYTES / 8)
#define SUMS 16 /* fixed, so that every instruction set adds up in the same order */

typedef double FS_NAME(wide)
    __attribute__((vector_size(FS_VECTOR_BYTES), may_alias, aligned(sizeof(double))));
typedef REAL FS_NAME(narrow)
    __attribute__((vector_size(WIDE * sizeof(REAL)), may_alias, aligned(sizeof(REAL))));

/* WIDE numbers in float64. */
#define WIDEN(from) __builtin_convertvector(*(const FS_NAME(narrow) *)(from), FS_NAME(wide))

static void FS_NAME(average)(const fs_update *u, long begin, long end) {
    const REAL *value = (const REAL *)u->values;
    double *average = (double *)u->state[0];
    const double weight = u->rate;
    long i = begin;
    for (; i + WIDE <= end; i += WIDE) {
        FS_NAME(wide) *vector = (FS_NAME(wide) *)(average + i);
        *vector += weight * (WIDEN(value + i) - *vector);
    }
    for (; i < end; i++) average[i] += weight * ((double)value[i] - average[i]);
}

static double FS_NAME(squared_norm)(long n, const char *x) {
    const REAL *from = (const REAL *)x;
    FS_NAME(wide) vectors[SUMS / WIDE] = {{0}};
    double sum[SUMS];
    for (; n >= SUMS; n -= SUMS, from += SUMS)
        _Pragma("GCC unroll 8") for (int v = 0; v < SUMS / WIDE; v++) {
            FS_NAME(wide) numbers = WIDEN(from + v * WIDE);
            vectors[v] += numbers * numbers;
        }
    memcpy(sum, vectors, sizeof sum);
    for (long l = 0; l < n; l++) sum[l] += (double)from[l] * (double)from[l];
    for (int half = SUMS / 2; half; half /= 2)
        for (int l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
}

static const fs_optimizers FS_NAME(optimizers) = {
    FS_NAME(update),
    {FS_NAME(sgd_plain), FS_NAME(sgd_momentum), FS_NAME(sgd_nesterov)},
    {FS_NAME(adam_plain), FS_NAME(adam_amsgrad)},
    {FS_NAME(rmsprop_plain), FS_NAME(rmsprop_centered), FS_NAME(rmsprop_momentum),
     FS_NAME(rmsprop_centered_momentum)},
    FS_NAME(adagrad),
    FS_NAME(average),
    FS_NAME(squared_norm),
};

#undef AT
#undef GRADIENT
#undef NUMBER
#undef UPDATER
#undef SUMS
#undef WIDE
#undef WIDEN
