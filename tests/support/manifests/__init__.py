"""A linter for `cluster/`: the manifests for Kubernetes, the file for Ray's launcher, and the Dockerfile.

```
documents ──pods──► every pod that the manifests create, KubeRay's own containers included ──CHECKS──► complaints
ray-up.yaml, Dockerfile ───────────────────────────────────────────────────────────────────CHECKS──► complaints
```

`python -m tests.support.manifests` lists complaints; with `--planted` it also changes the files in memory, one fault at
a time, and reports each fault that no check finds. `make lint` runs both.
"""
