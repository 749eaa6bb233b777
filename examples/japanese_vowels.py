"""Nine speakers told apart by how they say two vowels: series of 12 features and 7 to 29 steps.

Data: JapaneseVowels of the UCR/UEA archive, in timeseries/ of --data.
"""

import time

import results

import fastseq as fs

SETTINGS = {"cell": "gru", "epochs": 30}


def main():
    args = results.parse(results.parser(__doc__.splitlines()[0], seeds=range(5)))
    train, test = (
        fs.read_ts(args.data / "timeseries" / f"JapaneseVowels_{part}.ts.gz")
        for part in ("TRAIN", "TEST")
    )
    rows = []
    for seed in args.seeds:
        model = fs.SequenceClassifier(**SETTINGS, random_state=seed)
        begin = time.perf_counter()
        model.fit(train.x, train.y)
        seconds = time.perf_counter() - begin
        rows.append([seed, f"{model.score(test.x, test.y):.4f}", f"{seconds:.1f}"])
    results.record(
        args.results,
        "JapaneseVowels",
        "python examples/japanese_vowels.py",
        ["seed", "test accuracy", "seconds"],
        rows,
        [
            f"`{model.set_params(random_state=None)}`, {len(train.x)} series to learn from, "
            f"{len(test.x)} to test on."
        ],
    )


if __name__ == "__main__":
    main()
