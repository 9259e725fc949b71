"""A HTTP fault proxy before an S3 server: passes every request on, except where a rule says otherwise.

```python
with FaultProxy(endpoint) as proxy:                               # in a thread; clients are told proxy.url
    proxy.when("PUT", r"/_commits/").nth(1).drop_reply()          # the first marker is stored, and nobody hears of it
    proxy.when("GET", r"\\.tar$").chance(0.1, seed=7).reply(503, "SlowDown")
    proxy.when("PUT", r"/embeddings/").nth(3).before(lambda _: run.kill(SIGKILL))
    ...
    assert proxy.count("GET", r"\\.tar$") == 12                    # everything that came is on record
```

A rule is a pattern of requests, then which of those that match (all of them, unless said), then one fault. Where
several rules want one request, the first that was made is the outermost. The Host header is passed through, because
it is signed; bodies are held whole, because the archives of the tests are small.
"""

from tests.support.proxy.messages import Reply, Request
from tests.support.proxy.rules import Rule
from tests.support.proxy.server import FaultProxy, refused

__all__ = ["FaultProxy", "Reply", "Request", "Rule", "refused"]
