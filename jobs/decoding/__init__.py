"""Decoding: recordings are decoded in a process of their own, so that a file that crashes, hangs or swells a decoder
costs one row and disturbs nothing else.

```
worker process                        jobs.decoding.process
┌────────────────────┐   the file    ┌──────────────────────────┐
│ read_shard         ├──────────────►│ no secrets, no files,    │  one a worker, started at its first
│  └ DecodeQueue     │◄──────────────┤ bounded memory and CPU   │  recording, kept for thousands
└────────────────────┘   segments    └──────────────────────────┘
```
"""
