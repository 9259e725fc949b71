"""A simulation of the protocol: jobs/tables/protocol.py on a store in memory, under every kind of fault.

```
 actors: runs, their workers, gc, the world      scheduler                       store in memory
┌──────────────────────────────────────────┐    ┌────────────────────────┐      ┌────────────────────┐
│ protocol.freeze/commit/… yields a Put, a ├───►│ chooses the next       ├─────►│ conditional PUT,   │
│ Get or a List, and waits for its answer  │    │ request and its fault  │      │ etags, list: atomic│
└──────────────────────────────────────────┘    └────────────────────────┘      └─────────┬──────────┘
                                                                                every write is checked
```

Between any two requests an actor may be killed, sleep until all others are done, lose a reply and repeat its request,
or leave behind a request that arrives hours later. Meanwhile sources are replaced (also by an earlier state), added
and removed, further runs begin, and garbage is collected without a grace time.

`python -m tests.drills.simulation --seed 7 --count 100000` draws schedules; a violation prints the command that
repeats it. `--exhaustive singles` and `--exhaustive pairs` try every fault, and every two faults in order, at every
request of small scenarios.
"""
