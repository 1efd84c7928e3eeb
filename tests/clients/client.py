"""Sends with the `datadog` package what the test expects: client.py udp:PORT | unixgram:PATH | unixstream:PATH"""

import sys

from datadog.dogstatsd import DogStatsd

how, where = sys.argv[1].split(":", 1)
# Without a timeout the client drops what a unix socket's short queue has no room for.
common = dict(constant_tags=["client:python"], disable_telemetry=True, socket_timeout=5)
if how == "udp":
    statsd = DogStatsd(host="127.0.0.1", port=int(where), **common)
else:
    scheme = "unix://" if how == "unixgram" else "unixstream://"
    statsd = DogStatsd(socket_path=scheme + where, **common)

for n in range(100):
    statsd.increment("py.hits", tags=["b:2", "a:1"])
    statsd.gauge("py.temp", n)
    statsd.histogram("py.size", n)
    statsd.distribution("py.wait", n)
    statsd.set("py.users", n % 7)
statsd.timing("py.took", 12)
statsd.event("deploy", "of shop\nversion 2", alert_type="info", tags=["env:prod"])
statsd.service_check("py.up", statsd.OK, message="fine")
statsd.flush()
statsd.close_socket()
