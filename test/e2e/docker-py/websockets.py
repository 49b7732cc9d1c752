from engine_case import EngineCase


class WebSockets(EngineCase):
    """docker-py has them over TCP only."""

    def test_websocket(self):
        "attach_socket over a WebSocket"
        made = self.started(["sh", "-c", "while read line; do echo got $line; done"], stdin_open=True)
        connection = self.api.attach_socket(made.id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}, ws=True)
        connection.send("hello\n")
        heard = b""
        while b"\n" not in heard:
            part = connection.recv()
            heard += part if isinstance(part, bytes) else part.encode()
        self.assertIn(b"got hello\n", heard)
        connection.close()
