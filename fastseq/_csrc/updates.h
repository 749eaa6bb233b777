/* The table of the optimisers' updates, once per instruction set and dtype (optimizers.h).
 *
 * Each goes once over flat arrays of one dtype: numbers [begin, end) of values, gradients and
 * state.  What becomes of a number depends on its own values only, not on where it lies or how the
 * arrays are split, so neither threads nor alignment show in the result.
 */
#ifndef FASTSEQ_UPDATES_H
#define FASTSEQ_UPDATES_H

typedef struct {
    char *values;
    const char *gradients;
    char *state[3];    /* as many as the optimiser keeps */
    double scale;      /* of the gradients */
    double decay;      /* weight decay that joins the gradient */
    double shrink;     /* weight decay that multiplies the values first; 1: none */
    double rate;       /* learning rate; the weight of an average's next member */
    double momentum;   /* how much of the momentum is kept, */
    double gain;       /* how much of the gradient joins it */
    double beta1, beta2; /* how much is kept of the running mean, of the squares */
    double correction; /* of the root of the squares */
    double eps;
} fs_update;

/* For whole vectors of numbers: [begin, end) is a multiple of their length. */
typedef void (*fs_updater)(const fs_update *, long begin, long end);

typedef struct {
    /* Runs an updater for any [begin, end). */
    void (*update)(fs_updater, const fs_update *, long begin, long end);

    fs_updater sgd[3];     /* plain, momentum, Nesterov's momentum */
    fs_updater adam[2];    /* the second one with amsgrad */
    fs_updater rmsprop[4]; /* + 1: centered, + 2: momentum */
    fs_updater adagrad;

    /* state[0], which is float64, moves towards the values; for any [begin, end). */
    void (*average)(const fs_update *, long begin, long end);

    /* The sum of n squares in float64, in one order whatever the instruction set. */
    double (*squared_norm)(long n, const char *x);
} fs_optimizers;

#endif
