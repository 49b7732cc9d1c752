import datetime
import socket
import threading
import time
from itertools import islice

import docker
from docker.utils.socket import demux_adaptor, frames_iter

from engine_case import EngineCase, archive

TALK = ["sh", "-c", "echo out; echo err >&2; echo more"]
ECHO = ["sh", "-c", "while read line; do echo got $line; done; echo end"]


def raw(stream):
    """The socket below docker-py's wrapper."""
    return getattr(stream, "_sock", stream)


class Logs(EngineCase):
    def test_logs(self):
        "logs: the streams apart, the last lines, times, since and until"
        made = self.started(TALK)
        made.wait()
        self.assertEqual(made.logs(stderr=False), b"out\nmore\n")
        self.assertEqual(made.logs(stdout=False), b"err\n")
        self.assertEqual(len(made.logs(tail=1).split()), 1)
        self.assertEqual(made.logs(tail=0), b"")
        stamped = made.logs(timestamps=True, stdout=False).decode()
        self.assertRegex(stamped, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z err\n$")
        later = datetime.datetime.utcnow() + datetime.timedelta(hours=1)
        self.assertEqual(made.logs(since=later), b"")
        self.assertEqual(made.logs(until=int(time.time()) - 3600), b"")
        self.assertEqual(len(made.logs(since=1).split()), 3)
        self.assertEqual(b"".join(made.logs(stream=True, follow=False, stderr=False)), b"out\nmore\n")

    def test_follow(self):
        "logs that are followed come as they are written, and end with the container"
        made = self.started(["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"])
        self.assertEqual(list(made.logs(stream=True)), [b"1\n", b"2\n", b"3\n"])

    def test_close(self):
        "a followed stream can be closed from another thread"
        made = self.started(["sh", "-c", "echo here; sleep 600"], init=True)
        stream = made.logs(stream=True, follow=True)
        self.assertEqual(next(stream), b"here\n")
        closer = threading.Timer(0.2, stream.close)
        closer.start()
        self.assertEqual(list(stream), [])
        closer.join()

    def test_terminal(self):
        "logs of a terminal come raw"
        made = self.started(["sh", "-c", "echo one; echo two"], tty=True)
        made.wait()
        self.assertEqual(made.logs(), b"one\r\ntwo\r\n")
        self.assertEqual(b"".join(made.logs(stream=True)), b"one\r\ntwo\r\n")

    def test_much(self):
        "a million bytes come through whole"
        made = self.started(["sh", "-c", "seq 1 150000"])
        made.wait()
        expected = "".join(f"{n}\n" for n in range(1, 150001)).encode()
        self.assertEqual(made.logs(), expected)
        self.assertEqual(b"".join(made.logs(stream=True)), expected)


class Attach(EngineCase):
    def test_attach(self):
        "attach gives what was and what comes"
        made = self.container(TALK)
        stream = made.attach(stream=True, logs=True, demux=True)
        made.start()
        parts = list(stream)
        self.assertEqual(b"".join(out or b"" for out, _ in parts), b"out\nmore\n")
        self.assertEqual(b"".join(err or b"" for _, err in parts), b"err\n")
        self.assertEqual(made.attach(logs=True, stream=False, stderr=False), b"out\nmore\n")

    def test_socket(self):
        "attach_socket writes to the program's input and reads its output to the end"
        made = self.container(ECHO, stdin_open=True)
        self.api.inspect_container(made.id)
        stream = made.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        made.start()
        raw(stream).sendall(b"one\ntwo\n")
        frames = frames_iter(stream, tty=False)
        heard = b""
        while heard.count(b"\n") < 2:
            heard += next(frames)[1]
        self.assertEqual(heard, b"got one\ngot two\n")
        # stdin_open without stdin_once: the end of the client is not the end of the input.
        raw(stream).shutdown(socket.SHUT_WR)
        self.assertEqual(self.client.containers.get(made.id).status, "running")
        stream.close()

    def test_terminal(self):
        "a terminal answers raw, and can be resized"
        made = self.container(["sh"], stdin_open=True, tty=True)
        stream = made.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        made.start()
        made.resize(height=33, width=99)
        raw(stream).sendall(b"stty size; exit 4\n")
        text = b"".join(data for _, data in frames_iter(stream, tty=True))
        self.assertIn(b"33 99\r\n", text)
        self.assertEqual(made.wait()["StatusCode"], 4)
        stream.close()


class Exec(EngineCase):
    def test_run(self):
        "exec_run gives the exit status and the output, apart where asked"
        made = self.started()
        self.assertEqual(tuple(made.exec_run("echo hi")), (0, b"hi\n"))
        self.assertEqual(made.exec_run(["sh", "-c", "exit 9"]).exit_code, 9)
        self.assertEqual(tuple(made.exec_run(TALK, demux=True)), (0, (b"out\nmore\n", b"err\n")))
        self.assertEqual(made.exec_run(TALK, stdout=False).output, b"err\n")
        said = made.exec_run(
            ["sh", "-c", "echo $K; pwd; id -u"], environment={"K": "v"}, workdir="/tmp", user="3"
        )
        self.assertEqual(said.output, b"v\n/tmp\n3\n")
        missing = made.exec_run("no-such-program")
        self.assertIn(missing.exit_code, (126, 127))
        self.assertIn(b"no-such-program", missing.output)

    def test_stream(self):
        "exec_run with stream gives output while it runs"
        made = self.started()
        _, lines = made.exec_run(["sh", "-c", "echo first; sleep 0.3; echo second"], stream=True)
        self.assertEqual(next(lines), b"first\n")
        self.assertEqual(b"".join(lines), b"second\n")
        _, parts = made.exec_run(TALK, stream=True, demux=True)
        self.assertEqual(b"".join(err for _, err in parts if err), b"err\n")

    def test_socket(self):
        "exec_run with a socket talks both ways, and the end of input arrives"
        made = self.started()
        _, stream = made.exec_run(["cat"], stdin=True, socket=True)
        raw(stream).sendall(b"x" * 300_000)
        raw(stream).shutdown(socket.SHUT_WR)
        heard = b"".join(data for _, data in frames_iter(stream, tty=False))
        self.assertEqual(heard, b"x" * 300_000)
        stream.close()

    def test_low(self):
        "exec_create, start, resize and inspect"
        made = self.started()
        created = self.api.exec_create(made.id, ["sh", "-c", "read x; stty size; exit 6"], tty=True, stdin=True)
        before = self.api.exec_inspect(created["Id"])
        self.assertEqual((before["Running"], before["ExitCode"], before["ContainerID"]), (False, None, made.id))
        stream = self.api.exec_start(created["Id"], tty=True, socket=True)
        self.api.exec_resize(created["Id"], height=12, width=34)
        self.assertTrue(self.api.exec_inspect(created["Id"])["Running"])
        raw(stream).sendall(b"\n")
        self.assertIn(b"12 34", b"".join(data for _, data in frames_iter(stream, tty=True)))
        self.assertEqual(self.api.exec_inspect(created["Id"])["ExitCode"], 6)
        stream.close()
        detached = self.api.exec_create(made.id, ["touch", "/was-here"])
        self.assertEqual(self.api.exec_start(detached["Id"], detach=True), "")
        deadline = time.monotonic() + 20
        while self.api.exec_inspect(detached["Id"])["Running"]:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(made.exec_run("ls /was-here").exit_code, 0)

    def test_refusals(self):
        "exec in what does not run, or is not there, is refused"
        stopped = self.container()
        self.refused(409, "is not running", stopped.exec_run, "true")
        with self.assertRaises(docker.errors.NotFound):
            self.api.exec_inspect("0" * 64)


class Demux(EngineCase):
    def test_frames(self):
        "attach with logs: what was printed before and what comes, each frame of its kind, in order"
        part = "for i in {}; do echo o$i; sleep 0.05; echo e$i >&2; sleep 0.05; done; "
        until_told = "while [ ! -e /go ]; do sleep 0.05; done; "
        made = self.started(["sh", "-c", part.format("1 2") + until_told + part.format("3")])
        for _, line in zip(range(4), made.logs(stream=True), strict=False):
            self.assertRegex(line, rb"^[oe][12]\n$")
        stream = made.attach_socket(params={"logs": 1, "stream": 1, "stdout": 1, "stderr": 1})
        frames = frames_iter(stream, tty=False)
        before = [demux_adaptor(*frame) for frame in islice(frames, 4)]
        made.put_archive("/", archive({"go": b""}))
        parts = before + [demux_adaptor(*frame) for frame in frames]
        expected = [f"{kind}{n}\n".encode() for n in (1, 2, 3) for kind in "oe"]
        self.assertEqual([out or err for out, err in parts], expected)
        self.assertEqual([out is None for out, _ in parts], [False, True] * 3)
        stream.close()
