#!/usr/bin/env python3
"""A TCP proxy that closes the connection of the first PUT request after BYTES of its bytes.

cut.py LISTEN_PORT UPSTREAM_PORT BYTES
"""

import socket
import sys
import threading

listen, upstream, limit = map(int, sys.argv[1:])
first_put = threading.Lock()


def pump(source, destination, left=None):
    """Forwards all bytes, or only `left` of them."""
    try:
        while data := source.recv(65536):
            if left is not None:
                data = data[:left]
                left -= len(data)
            destination.sendall(data)
            if left == 0:
                break
    except OSError:
        pass
    for side in (source, destination):
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    server = socket.create_connection(("127.0.0.1", upstream))
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    # A client may send its PUT on a reused connection, so the head of each request is checked.
    while data := client.recv(65536):
        cut = data.startswith(b"PUT ") and b"/uploads/" in data and first_put.acquire(blocking=False)
        server.sendall(data)
        if cut:
            pump(client, server, limit)
            break
    server.close()


with socket.create_server(("127.0.0.1", listen)) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
