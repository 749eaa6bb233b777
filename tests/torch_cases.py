"""What twins in PyTorch of our networks with decoders share."""

import pytest

torch = pytest.importorskip("torch")


class DecoderTwin(torch.nn.Module):
    """Steps of cells, and looks at a memory, with the weights that a network's decoder has.

    A subclass sets ``cell``, and ``values``, which are parameters by the network's names.
    """

    def __getitem__(self, name):
        return self.values[name.replace(".", "/")]

    def advance(self, names, x, state):
        """The state (H,) of a cell after one step; names are those of its weights, with {}."""
        weights = [
            self[names.format(name)] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        if self.cell == "lstm":
            h, c = torch.lstm_cell(x[None], [part[None] for part in state], *weights)
            return h[0], c[0]
        step = torch.gru_cell if self.cell == "gru" else torch.rnn_tanh_cell
        return (step(x[None], state[0][None], *weights)[0],)

    def look(self, score, query, memory):
        """The context (E,) that a query (H,) finds in a memory (S, E)."""
        name = "decoder.bottom.{}".format
        if score == "dot":
            scores = memory @ query
        elif score == "general":
            scores = (memory @ self[name("weight_key")].T) @ query
        else:
            if score == "additive":
                q, k = self[name("weight_query")], self[name("weight_key")]
            else:
                sizes = [len(query), memory.shape[1]]
                q, k = self[name("weight_concat")].split(sizes, dim=1)
            inner = torch.tanh(q @ query + memory @ k.T + self[name("bias_key")])
            scores = inner @ self[name("weight_score")]
        return torch.softmax(scores, dim=0) @ memory
