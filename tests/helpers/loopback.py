"""A file server on loopback, for tests of downloads."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def serve(folder):
    """Serve a folder; yield the address and the list of the paths that were asked for."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            requests.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", requests
        running.shutdown()
