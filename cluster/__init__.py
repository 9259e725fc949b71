"""The machines: the helper that submits a job to a Ray cluster."""
