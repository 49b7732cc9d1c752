from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from routing import ROUTES


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        route = ROUTES.get(self.path)
        self.send_response(404 if route is None else 200)
        self.end_headers()
        self.wfile.write(((route() if route else "no such page") + "\n").encode())


ThreadingHTTPServer(("", 8080), Handler).serve_forever()
