"""From a running model to labelled tensors: hooks, records, stores."""
