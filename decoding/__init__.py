"""How a trained captioner writes: greedy, sampling, beam search, ensembles, consensus, traces."""
