"""RCMNet and its ablations: models, data, training. Needs the extra `train`."""
