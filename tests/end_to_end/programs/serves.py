"""Serves its metrics in Prometheus' text format, at /numbers: of one more step at each look, up to the second one."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

HOST = os.environ.get("OWN_HOST", "127.0.0.1")
LOOKS = int(os.environ.get("OWN_LOOKS", "4"))


class Numbers(HTTPServer):
    looks = 0


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.looks += self.path == "/numbers"
        step = min(self.server.looks, 2)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"epoch {step}\naccuracy 0.5\nloss {float(os.environ['HP_X']) / step}\n".encode())


server = Numbers((HOST, int(os.environ["HYDRO_METRICS_PORT"])), Page)
# Who looks once more has read what there was before.
while server.looks < LOOKS:
    server.handle_request()
