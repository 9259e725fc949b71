"""An HTTP proxy in front of an S3 server that forwards every request, except those that a rule changes.

```python
with FaultProxy(endpoint) as proxy:                               # in a thread; clients connect to proxy.url
    proxy.when("PUT", r"/_commits/").nth(1).drop_reply()          # the first marker is stored, but its reply is lost
    proxy.when("GET", r"\\.tar$").chance(0.1, seed=7).reply(503, "SlowDown")
    proxy.when("PUT", r"/embeddings/").nth(3).before(lambda _: run.kill(SIGKILL))
    ...
    assert proxy.count("GET", r"\\.tar$") == 12                    # every request is on record
```

A rule is a pattern of requests, then a choice among those that match (by default all), then one fault. If several rules
match a request, the rule that was made first is the outermost. The Host header is forwarded unchanged, because it is
signed; bodies are held in memory, because the archives of the tests are small.
"""

from tests.support.proxy.messages import Reply, Request
from tests.support.proxy.rules import Rule
from tests.support.proxy.server import FaultProxy, refused

__all__ = ["FaultProxy", "Reply", "Request", "Rule", "refused"]
