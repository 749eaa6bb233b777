"""Networks from sequence to sequence train as their twins in PyTorch do."""

import pytest
from seq2seq_cases import make_batch, make_network

import fastseq as fs

torch = pytest.importorskip("torch")
from torch_cases import DecoderTwin  # noqa: E402

functional = torch.nn.functional

CASES = {
    "lstm": {"attention": None},
    "gru": {"attention": None},
    "deep": {"attention": None},
    "one direction": {"attention": None},
    "tied": {"attention": None, "label_smoothing": 0.2},
    "general": {"attention": "general"},
    "general fed": {"attention": "general", "input_feeding": True},
    "additive": {"attention": "additive", "cell": "gru"},
    "deep additive": {"attention": "additive", "num_layers": 2, "tie_weights": True},
    "deep concat": {"attention": "concat", "num_layers": 3, "attention_size": 5},
    "dot": {"attention": "dot", "bidirectional": False},
}
SIZE = 4


class Twin(DecoderTwin):
    """Written step by step, after the papers."""

    def __init__(self, network, options):
        super().__init__()
        self.options, self.deep = options, options.get("num_layers", 1)
        self.cell = options.get("cell", "lstm")
        kind = torch.nn.LSTM if self.cell == "lstm" else torch.nn.GRU
        self.encoder = kind(SIZE, SIZE, self.deep, bidirectional=options.get("bidirectional", True))
        values = {name: torch.from_numpy(a.copy()) for name, a in network.parameters.items()}
        encoder = {k[8:]: v for k, v in values.items() if k.startswith("encoder.")}
        self.encoder.double().load_state_dict(encoder)
        self.values = torch.nn.ParameterDict(
            {k.replace(".", "/"): v for k, v in values.items() if not k.startswith("encoder.")}
        )

    def forward(self, batch):
        inputs, targets = map(torch.from_numpy, (batch.targets[:-1], batch.targets[1:]))
        mask = torch.from_numpy(batch.mask[1:])
        rows = [self.row(batch, row, inputs[:, row]) for row in range(batch.x.shape[1])]
        y = torch.stack(rows, dim=1)[mask]
        weight = self["target.weight"] if self.options.get("tie_weights") else self["linear.weight"]
        logits = y @ weight.T + self["linear.bias"]
        smoothing = self.options.get("label_smoothing", 0.0)
        return functional.cross_entropy(logits, targets[mask], label_smoothing=smoothing)

    def row(self, batch, row, inputs):
        x = torch.from_numpy(batch.x[: batch.lengths[row], row])
        memory, last = self.encoder(self["source.weight"][x])
        parts = [list(part) for part in (last if self.cell == "lstm" else (last,))]
        if self.options.get("bidirectional", True):
            parts = [self.bridge("hc"[i], part) for i, part in enumerate(parts)]
        state = [tuple(part[layer] for part in parts) for layer in range(self.deep)]
        fed, outputs = torch.zeros(SIZE, dtype=torch.float64), []
        for token in inputs:
            y, state, fed = self.step(self["target.weight"][token], state, memory, fed)
            outputs.append(y)
        return torch.stack(outputs)

    def bridge(self, name, part):
        pairs = [torch.cat(part[2 * i : 2 * i + 2]) for i in range(self.deep)]
        y = [
            self[f"bridge.{name}_l{i}.weight"] @ pair + self[f"bridge.{name}_l{i}.bias"]
            for i, pair in enumerate(pairs)
        ]
        return [torch.tanh(v) for v in y] if name == "h" else y

    def step(self, x, state, memory, fed):
        score, state = self.options["attention"], list(state)
        for layer in range(self.deep):
            if layer or score is None:
                prefix = f"decoder.layers.{{}}_l{layer - (score is not None)}"
                state[layer] = self.advance(prefix, x, state[layer])
                x = state[layer][0]
                continue
            prefix = "decoder.bottom.{}"
            if score == "additive":
                context = self.look(score, state[0][0], memory)
                state[0] = self.advance(prefix, torch.cat([x, context]), state[0])
            else:
                feeds = self.options.get("input_feeding", False)
                state[0] = self.advance(prefix, torch.cat([x, fed]) if feeds else x, state[0])
                context = self.look(score, state[0][0], memory)
            both = torch.cat([context, state[0][0]])
            y = self["decoder.bottom.weight_output"] @ both + self["decoder.bottom.bias_output"]
            x = fed = torch.tanh(y)
        return x, state, fed


@pytest.mark.parametrize("name", CASES)
def test_losses_of_many_updates(name):
    options = CASES[name]
    kind = name if options["attention"] is None else "lstm"
    network = make_network(kind, **options)
    settings = {"gru": {"cell": "gru"}, "deep": {"cell": "gru", "num_layers": 2}}.get(kind, {})
    settings |= {"bidirectional": False} if name == "one direction" else {}
    settings |= {"tie_weights": True} if name == "tied" else {}
    twin = Twin(network, settings | options)
    ours = fs.Adam(network.parameters, 0.01)
    theirs = torch.optim.Adam(twin.parameters(), 0.01)
    for seed in range(8):
        batch = make_batch(seed)
        ours.zero_grad()
        loss = network.loss_and_grad(batch)
        norm = ours.step(max_norm=0.3)
        expected = twin(batch)
        theirs.zero_grad()
        expected.backward()
        expected_norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        theirs.step()
        assert loss == pytest.approx(expected.item(), rel=1e-10)
        assert norm == pytest.approx(expected_norm.item(), rel=1e-8)
