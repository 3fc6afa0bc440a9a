#!/usr/bin/env python3
"""Clients that start to push a blob and then become idle. When all have started, the program listens, and runs until it is stopped.

stand_still.py LISTEN_PORT REGISTRY_PORT CLIENTS
"""

import signal
import socket
import sys

listen, registry, count = map(int, sys.argv[1:])
head = f"POST /v2/a/b/blobs/uploads/?digest=sha256:{'0' * 64} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nab"
clients = []
for _ in range(count):
    client = socket.create_connection(("127.0.0.1", registry))
    client.sendall(head.encode())
    clients.append(client)
listener = socket.create_server(("127.0.0.1", listen))
signal.pause()
