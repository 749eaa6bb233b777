"""Networks of dialogue models train as their twins in PyTorch do."""

import itertools

import numpy as np
import pytest
from dialogue_cases import END, KINDS, LATENT, make_batches, make_dialogues, make_network

import fastseq as fs

torch = pytest.importorskip("torch")
from torch_cases import DecoderTwin  # noqa: E402

functional = torch.nn.functional

NAMES = [name for name in KINDS if "noise" not in name]
SIZES = {"hidden_size": 4, "context_size": 3}


class Twin(DecoderTwin):
    """Written after the papers: utterance by utterance, turn by turn, word by word."""

    def __init__(self, network, options, noise=None):
        super().__init__()
        self.options, self.depth = options, options.get("num_layers", 1)
        self.cell, self.noise = options.get("cell", "gru"), noise
        self.both = options.get("bidirectional", True)
        values = {name: torch.from_numpy(a.copy()) for name, a in network.parameters.items()}
        kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "rnn": torch.nn.RNN}[self.cell]
        self.encoder = kind(4, 4, self.depth, bidirectional=self.both).double()
        self.encoder.load_state_dict(self.of(values, "encoder."))
        if options.get("context", True):
            size = 4 * (1 + self.both)
            self.context = kind(size, options.get("context_size", 3)).double()
            self.context.load_state_dict(self.of(values, "context."))
        parts = ("encoder.", "context.")
        self.values = torch.nn.ParameterDict(
            {k.replace(".", "/"): v for k, v in values.items() if not k.startswith(parts)}
        )

    @staticmethod
    def of(values, prefix):
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}

    def linear(self, name, x):
        return functional.linear(x, self[f"{name}.weight"], self[f"{name}.bias"])

    def read(self, utterance):
        """All that is left in the encoder, and its highest h in both directions."""
        _, last = self.encoder(self["embedding.weight"][torch.from_numpy(utterance[1:])])
        parts = last if self.cell == "lstm" else (last,)
        return parts, torch.cat(list(parts[0][-1 - self.both :]))

    def forward(self, dialogues):
        nats, divergence, bag, words, noise = (
            0,
            0,
            0,
            0,
            iter(() if self.noise is None else self.noise),
        )
        places = sorted(((k, b) for b, own in enumerate(dialogues) for k in range(len(own) - 1)))
        drawn = dict(zip(places, noise, strict=False))
        for b, dialogue in enumerate(dialogues):
            state, states = None, []
            for k, (heard, answer) in enumerate(itertools.pairwise(dialogue)):
                last, utterance = self.read(heard)
                known = None
                if self.options.get("context", True):
                    s, state = self.context(utterance[None], state)
                    states.append(s[0])
                    known = s[0]
                if self.noise is not None:
                    z, kl = self.draw(known, self.read(answer)[1], drawn[k, b])
                    known, divergence = torch.cat([known, z]), divergence + kl
                    bag = bag + self.bag(known, answer[1:-1])
                nats = nats + self.write(self.open(known, last), known, states, answer)
                words += len(answer) - 1
        weight = self.options.get("bag_of_words", 0.0)
        return (nats + 0.7 * divergence + weight * bag) / words

    def gaussian(self, name, x):
        h = torch.tanh(self.linear(f"latent.{name}.hidden", x))
        return self.linear(f"latent.{name}.output", h).chunk(2)

    def draw(self, context, answer, noise):
        mean_q, log_q = self.gaussian("posterior_network", torch.cat([context, answer]))
        mean_p, log_p = self.gaussian("prior_network", context)
        normal = torch.distributions.Normal
        posterior = normal(mean_q, torch.exp(log_q / 2))
        kl = torch.distributions.kl_divergence(posterior, normal(mean_p, torch.exp(log_p / 2)))
        return mean_q + torch.exp(log_q / 2) * torch.from_numpy(noise), kl.sum()

    def bag(self, known, words):
        if "bag_of_words" not in self.options or not len(words):
            return 0
        logits = self.linear("bag.output", torch.tanh(self.linear("bag.hidden", known)))
        words = torch.from_numpy(words[words != END])
        return -torch.log_softmax(logits, dim=0)[words].sum()

    def open(self, known, last):
        """The decoder's first state, layer by layer."""
        if known is not None:
            parts = self.linear("bridge.linear", known).reshape(-1, self.depth, 4)
            parts = [torch.tanh(parts[0]), *parts[1:]]
        elif self.both:
            parts = [self.bridge("hc"[i], part) for i, part in enumerate(last)]
        else:
            parts = last
        return [tuple(part[layer] for part in parts) for layer in range(self.depth)]

    def bridge(self, name, part):
        pairs = [torch.cat(list(part[2 * i : 2 * i + 2])) for i in range(self.depth)]
        y = torch.stack([self.linear(f"bridge.{name}_l{i}", p) for i, p in enumerate(pairs)])
        return torch.tanh(y) if name == "h" else y

    def write(self, state, known, states, answer):
        tied = self.options.get("tie_weights")
        weight = self["embedding.weight"] if tied else self["linear.weight"]
        nats = 0
        for token, target in itertools.pairwise(answer):
            x = self["embedding.weight"][token]
            x = x if known is None else torch.cat([x, known])
            for layer in range(self.depth):
                score = self.options.get("attention") if layer == 0 else None
                if score is None:
                    index = layer - (self.options.get("attention") is not None)
                    names = f"decoder.layers.{{}}_l{index}"
                    state[layer] = self.advance(names, x, state[layer])
                    x = state[layer][0]
                    continue
                memory, names = torch.stack(states), "decoder.bottom.{}"
                if score == "additive":
                    context = self.look(score, state[0][0], memory)
                    state[0] = self.advance(names, torch.cat([x, context]), state[0])
                else:
                    state[0] = self.advance(names, x, state[0])
                    context = self.look(score, state[0][0], memory)
                both = torch.cat([context, state[0][0]])
                y = self["decoder.bottom.weight_output"] @ both
                x = torch.tanh(y + self["decoder.bottom.bias_output"])
            logits = weight @ x + self["linear.bias"]
            nats = nats - torch.log_softmax(logits, dim=0)[target]
        return nats


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_of_several_updates(name):
    network = make_network(name)
    dialogues = make_dialogues(turns=(5, 4, 3, 2))
    (batch,) = make_batches(dialogues, bucket=False)
    assert batch.rows.tolist() == [0, 1, 2, 3]
    noise = None
    if name in LATENT:
        network.objective.begin(0.7, 1.0, 0.0)
        noise = np.random.default_rng(0).standard_normal((len(batch.places), 3))
        network.latent._rng = Fixed(noise)
    twin = Twin(network, KINDS[name], noise)
    ours = fs.Adam(network.parameters, 0.01)
    theirs = torch.optim.Adam(twin.parameters(), 0.01)
    for _ in range(4):
        ours.zero_grad()
        loss = network.loss_and_grad(batch)
        expected = twin(dialogues)
        theirs.zero_grad()
        expected.backward()
        assert loss == pytest.approx(expected.item(), rel=1e-10)
        gradients = {k.replace("/", "."): p.grad for k, p in twin.values.items()}
        for part in ("encoder", "context"):
            if hasattr(twin, part):
                own = getattr(twin, part).named_parameters()
                gradients |= {f"{part}.{k}": p.grad for k, p in own}
        assert gradients.keys() == network.parameters.keys()
        for key, gradient in gradients.items():
            np.testing.assert_allclose(
                network.parameters.grads[key], gradient.numpy(), rtol=1e-7, atol=1e-9, err_msg=key
            )
        ours.step()
        theirs.step()


class Fixed:
    """Noise that is always the same."""

    def __init__(self, noise):
        self.noise = noise

    def standard_normal(self, shape):
        assert self.noise.shape == shape
        return self.noise
