"""A real HTTP server on this machine that plays a chat endpoint."""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, ended="stop"):
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": ended}]
    }


class Script:
    """A server that gives one scripted answer a request, and remembers what it was asked.

    An answer is status, content, seconds to wait and headers. `to`, where it is given, returns
    the answer to a request's body in place of the script.
    """

    def __init__(self, *answers, to=None):
        self.answers, self.asked = list(answers), []
        self.to = to or (lambda body: self.answers.pop(0))
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                script.asked.append((self.path, dict(self.headers), json.loads(body)))
                status, content, *rest = script.to(json.loads(body))
                seconds, headers = rest or (0, {})
                time.sleep(seconds)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(BrokenPipeError):  # whoever asked did not wait
                    self.wfile.write(data)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
