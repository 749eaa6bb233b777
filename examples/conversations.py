"""Small conversations: Seq2Seq ignores what was said before, HRED repeats itself, VHRED varies.

Two people plan a day.  The place is named at the beginning; later one asks what to take along, a
question that says nothing of the place, and to which there are many good answers.
"""

import itertools
import time

import numpy as np
import results

import fastseq as fs

PLACES = {
    "sea": "a towel and sun cream|your blue swimsuit|the big umbrella|some cold water|a ball",
    "mountains": "good boots and a map|your warm coat|a rope|bread and cheese|the old tent",
    "cinema": "the tickets|some money for popcorn|your glasses|a friend",
    "garden": "a spade and some seeds|old gloves|the green hose|a basket for the apples",
}
BEGINNINGS = ("let us go to the {}", "how about the {} today", "i would like to see the {}")
CONSENTS = ("good idea", "oh yes , i like it there", "why not")
QUESTIONS = ("what shall i take along ?", "and what do i need ?")
THANKS = (("thank you", "you are welcome"), ("fine", "see you soon"))
ASKED = 20  # times that each model is asked the same
SETTINGS = {
    "cell": "gru",
    "embedding_dim": 32,
    "hidden_size": 64,
    "dropout": 0.1,
    "lr": 1e-2,
}
DIALOGUES = {"context_size": 64, "batch_size": 32}


def make_conversations(count, rng):
    """Conversations of six utterances each."""
    return [_make_conversation(rng) for _ in range(count)]


def _make_conversation(rng):
    place = rng.choice(list(PLACES))
    thanks, welcome = THANKS[rng.integers(len(THANKS))]
    return [
        str(rng.choice(BEGINNINGS)).format(place),
        str(rng.choice(CONSENTS)),
        str(rng.choice(QUESTIONS)),
        "take " + str(rng.choice(things(place))),
        thanks,
        welcome,
    ]


def things(place):
    """What one takes along there."""
    return PLACES[place].split("|")


def main():
    parser = results.parser(__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=600, metavar="N", help="default: 600")
    parser.add_argument("--epochs", type=int, default=25, metavar="N", help="default: 25")
    args = results.parse(parser, needs_data=False)
    rows, shown = [], []
    for seed in args.seeds:
        conversations = make_conversations(args.count, np.random.default_rng(seed))
        for name, fit in MODELS.items():
            begin = time.perf_counter()
            answer = fit(conversations, epochs=args.epochs, random_state=seed, **SETTINGS)
            seconds = time.perf_counter() - begin
            answers = {place: answer(ask(place)) for place in PLACES}
            rows.append([name, seed, *describe(answers), f"{seconds:.0f}"])
            if seed == args.seeds[0]:
                shown += [f"{name}: {quote(place, answers[place])}" for place in PLACES]
    results.record(
        args.results,
        "Conversations: what was said before, and what else might be said",
        "python examples/conversations.py",
        ["model", "seed", "fit the place", "different answers", "distinct-2", "seconds"],
        rows,
        [
            f"{args.count} conversations of six utterances. After a place has been named, each "
            f"model is asked {ASKED} times what to take along: how many of its answers are things "
            "that one takes there, how many different ones there are for a place, and how many "
            "different pairs of words for each word. Seq2Seq and HRED search with a beam; VHRED "
            "draws its latent variable, and then writes the most probable words.",
            "First answers to one and the same question, by place:",
            "\n".join(f"- {line}" for line in shown),
        ],
    )


def ask(place):
    """What has been said when the question comes."""
    return [BEGINNINGS[0].format(place), CONSENTS[0], QUESTIONS[0]]


def fit_seq2seq(conversations, **settings):
    """It reads the last utterance alone."""
    pairs = [pair for talk in conversations for pair in itertools.pairwise(talk)]
    batch_size = DIALOGUES["batch_size"] * (len(conversations[0]) - 1)  # as many answers
    model = fs.Seq2Seq(attention=None, batch_size=batch_size, **settings)
    model.fit(pairs, progress=False)
    return lambda history: model.predict(history[-1:] * ASKED)


def fit_hred(conversations, **settings):
    """It reads all of the history, and says what is most probable."""
    model = fs.HRED(**DIALOGUES, **settings).fit(conversations, progress=False)
    return lambda history: model.predict([history] * ASKED)


def fit_vhred(conversations, **settings):
    """Its latent variable is drawn anew for each answer."""
    model = fs.VHRED(latent_size=16, **DIALOGUES, **settings).fit(conversations, progress=False)
    return lambda history: model.respond(history, ASKED, beam_size=1, seed=0)


MODELS = {"Seq2Seq": fit_seq2seq, "HRED": fit_hred, "VHRED": fit_vhred}


def describe(answers):
    """The share of answers that fit their places, and how varied they are."""
    fitting = [
        answer.removeprefix("take ") in things(place)
        for place, given in answers.items()
        for answer in given
    ]
    different = np.mean([len(set(given)) for given in answers.values()])
    variety = np.mean([fs.distinct_n(given, 2) for given in answers.values()])
    return f"{np.mean(fitting):.2f}", f"{different:.1f}", f"{variety:.2f}"


def quote(place, answers, most=4):
    """The place, and the first answers."""
    return f"*{place}* -> " + " / ".join(answers[:most])


if __name__ == "__main__":
    main()
