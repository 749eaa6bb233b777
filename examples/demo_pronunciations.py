"""Make the pronunciations that ``fastseq demo g2p`` learns from: the part of CMUdict with the words
that are most frequent in a text.

Data: cmudict/cmudict.dict.gz and gutenberg8/gut8.xz of --data.
"""

import gzip
import lzma
import re
from collections import Counter

import results

FOLDER = results.ROOT / "fastseq" / "demo" / "data"
WORDS = 20_000


def main():
    parser = results.parser(__doc__.splitlines()[0])
    parser.add_argument("--out", default=FOLDER / "cmudict_common.tsv.gz", metavar="FILE")
    args = results.parse(parser)
    counts = count_words(args.data / "gutenberg8" / "gut8.xz")
    phones = read_dictionary(args.data / "cmudict" / "cmudict.dict.gz")
    words = sorted(phones, key=lambda word: (-counts[word], word))[:WORDS]
    text = "".join(f"{word}\t{phones[word]}\n" for word in words)
    with open(args.out, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as archive:
        archive.write(text.encode("ascii"))
    print(f"{args.out}: {len(words)} words, the last one {counts[words[-1]]} times in the text")


def count_words(path):
    with lzma.open(path, "rt", encoding="ascii") as file:
        return Counter(file.read().split())


def read_dictionary(path):
    """Word to its first pronunciation, without stress; words of two letters or more alone."""
    phones = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            word, _, rest = line.partition("#")[0].strip().partition(" ")
            if re.fullmatch("[a-z]{2,}", word):
                phones.setdefault(word, re.sub(r"\d", "", rest))
    return phones


if __name__ == "__main__":
    main()
