"""What every test has: clients of the engine at DOCKER_HOST, and a cleaning that does not depend on its success."""

import io
import os
import tarfile
import unittest

import docker
from docker.errors import APIError, NotFound

IMAGE = "busybox"
FOREVER = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 600 & wait; done"]


class EngineCase(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.client = docker.from_env(version=os.environ.get("CLIENT_API_VERSION", "auto"), timeout=30)
        cls.api = cls.client.api

    @classmethod
    def tearDownClass(cls):
        cls.client.close()

    def forget(self, act, *args, **kwargs):
        """Calls `act` after the test; what is gone by then is fine."""

        def call():
            try:
                act(*args, **kwargs)
            except NotFound:
                pass

        self.addCleanup(call)

    def container(self, command=None, **options):
        made = self.client.containers.create(IMAGE, command or FOREVER, **options)
        self.forget(made.remove, force=True, v=True)
        return made

    def started(self, command=None, **options):
        made = self.container(command, **options)
        made.start()
        # A shell has no trap yet when it has just begun.
        if command is None:
            next(made.logs(stream=True))
        made.reload()
        return made

    def network(self, name, **options):
        made = self.client.networks.create(name, check_duplicate=True, **options)
        self.forget(made.remove)
        return made

    def volume(self, name=None, **options):
        made = self.client.volumes.create(name, **options)
        self.forget(made.remove, force=True)
        return made

    def image_gone(self, name):
        self.forget(self.client.images.remove, name, force=True)

    def refused(self, status, words, act, *args, **kwargs):
        with self.assertRaises(APIError) as caught:
            act(*args, **kwargs)
        statuses = status if isinstance(status, tuple) else (status,)
        self.assertIn(caught.exception.status_code, statuses, caught.exception)
        self.assertIn(words, caught.exception.explanation)


def archive(files):
    """A tar archive of regular files by name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o640
            entry.mtime = 1_600_000_000
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def opened(chunks):
    return tarfile.open(fileobj=io.BytesIO(b"".join(chunks)))
