"""Training: fit a head on labelled embeddings and calibrate it on rows that its models did not see."""
