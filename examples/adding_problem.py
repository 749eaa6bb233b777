"""The adding problem: the sum of two marked numbers among 600, far apart.

Each step has a number from 0 to 1 and a mark, which is 1 at one step of the first half and one
step of the second half, else 0 (Hochreiter & Schmidhuber, 1997; Bai et al., 2018).  Always
saying 1 has a mean squared error of 0.167.
"""

import time

import numpy as np
import results

import fastseq as fs

PUBLISHED = {"lstm": "0.164", "gru": "5.3e-5"}  # Bai et al. (2018), table 1
TESTED = 2000


def make(count, steps, rng):
    """Sequences (count, steps, 2) and sums (count,)."""
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = rng.random((count, steps))
    rows = np.arange(count)
    x[rows, rng.integers(steps // 2, size=count), 1] = 1
    x[rows, rng.integers(steps // 2, steps, size=count), 1] = 1
    return x, x.prod(axis=2).sum(axis=1)


def main():
    parser = results.parser(__doc__.splitlines()[0], seeds=range(2))
    parser.add_argument("--steps", type=int, default=600, metavar="T", help="default: 600")
    parser.add_argument("--count", type=int, default=20_000, metavar="N", help="default: 20000")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="default: 5")
    args = results.parse(parser, needs_data=False)
    rows = []
    for cell in ("lstm", "gru"):
        for seed in args.seeds:
            rng = np.random.default_rng(seed)
            (x, y), test = make(args.count, args.steps, rng), make(TESTED, args.steps, rng)
            # the gates begin with memories of up to T steps
            model = fs.SequenceRegressor(
                cell=cell,
                memory=args.steps,
                epochs=args.epochs,
                schedule="cosine",
                random_state=seed,
            )
            begin = time.perf_counter()
            model.fit(x, y)
            seconds = time.perf_counter() - begin
            error = np.square(model.predict(test[0]) - test[1]).mean()
            rows.append([cell, seed, f"{error:.1e}", PUBLISHED[cell], f"{seconds:.0f}"])
    results.record(
        args.results,
        f"Adding problem, T = {args.steps}",
        "python examples/adding_problem.py",
        ["cell", "seed", "test MSE", "Bai et al. (2018)", "seconds"],
        rows,
        [
            f"`{model.set_params(cell='lstm', random_state=None)}`, the GRU likewise; "
            f"{args.count:,} sequences to learn from, {TESTED:,} to test on. `memory` is the "
            "initialisation of the gates' biases by Tallec & Ollivier (2018)."
        ],
    )


if __name__ == "__main__":
    main()
