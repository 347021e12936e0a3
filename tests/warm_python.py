"""A Python that has the large packages imported already, for tests that start programs: each start costs 6 s otherwise.

`python(*arguments)` is a command that behaves as `python ARGUMENTS` does: `-m module`, `-c code` or a script, in the
folder, environment and streams of whoever starts it, with its exit status or signal. One server for all workers of a
test run imports packages of others, never those of this project, and forks a child for every command; a client passes
streams and signals on. The server ends with the test run.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys

PACKAGES = (  # what `load_model` and the studies import of others; one that is not installed is left out
    *("torch", "torch._dynamo", "transformers.modeling_utils", "transformers.processing_utils"),
    *("transformers.image_processing_utils", "transformers.video_processing_utils", "transformers.generation"),
    *("transformers.models.auto", "transformers.models.qwen2.modeling_qwen2"),
    *("transformers.models.qwen2.tokenization_qwen2", "transformers.loss.loss_utils"),
    *("pandas", "xarray", "zarr", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "sklearn.cluster"),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_pdf"),
    *("matplotlib.figure", "seaborn", "av", "tyro", "tqdm", "jaxtyping", "safetensors.torch", "filelock"),
)
REPAIR = ("..", "redundancy", "models", "torchvision_repair.py")  # a file that needs no other of the project
LENGTH = 8  # bytes that say how long what follows is


def python(*arguments: object) -> list[str]:
    """The command that runs Python with these arguments; the first one of a test run starts the server."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), "call", _running_server(), *map(str, arguments)]


def _running_server() -> str:
    """Path of the server's socket."""
    import subprocess
    import tempfile
    import time

    from filelock import FileLock

    worker = "PYTEST_XDIST_WORKER" in os.environ
    owner = os.getppid() if worker else os.getpid()  # the process of the test run, which all workers share
    folder = os.path.join(tempfile.gettempdir(), f"warm-python-{os.getuid()}-{owner}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path, log = os.path.join(folder, "socket"), os.path.join(folder, "log")
    with FileLock(f"{path}.lock"):
        if not os.path.exists(path):
            known = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"}
            with open(log, "wb") as output:
                started = [sys.executable, os.path.abspath(__file__), "serve", path, str(owner)]
                server = subprocess.Popen(
                    started, cwd=folder, env=known, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            end = time.monotonic() + 240
            while not os.path.exists(path):
                if server.poll() is not None or time.monotonic() > end:
                    with open(log) as told:
                        raise RuntimeError(f"the server of warm Pythons did not start: {told.read()}")
                time.sleep(0.05)
            server.returncode = 0  # it outlives this worker, and ends with the test run
    return path


# the client -----------------------------------------------------------------------------------------------------------


def call(path: str, arguments: list[str]) -> None:
    """Let the server run a command with this process's streams, folder and environment, and end as it ends."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    told = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    server.sendmsg(
        [len(told).to_bytes(LENGTH, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    )
    server.sendall(told)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: server.sendall(bytes([received])))
    status = b""
    while len(status) < 4 and (part := server.recv(4 - len(status))):
        status += part
    code = int.from_bytes(status, "big", signed=True) if len(status) == 4 else 1
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


# the server -----------------------------------------------------------------------------------------------------------


def serve(path: str, owner: int) -> None:
    """Import, and fork a child for every call until the test run is over."""
    import contextlib
    import runpy
    import selectors
    import shutil
    from importlib import import_module

    repaired = runpy.run_path(os.path.join(os.path.dirname(__file__), *REPAIR))  # is kept, as what it declares
    with contextlib.suppress(ImportError):
        repaired["import_torchvision"]()
    for name in PACKAGES:
        with contextlib.suppress(ImportError):
            import_module(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{path}.new")
    listening.listen(16)
    os.rename(f"{path}.new", path)
    ready = selectors.DefaultSelector()
    ready.register(listening, selectors.EVENT_READ)
    children: dict[int, socket.socket] = {}
    while _lives(owner):
        for key, _ in ready.select(timeout=0.02 if children else 0.5):
            if key.fileobj is listening:
                client = listening.accept()[0]
                process = _forked(client, listening)
                children[process] = client
                ready.register(client, selectors.EVENT_READ)
                continue
            process = next(p for p, c in children.items() if c is key.fileobj)
            received = children[process].recv(1)
            os.kill(process, received[0] if received else signal.SIGKILL)  # a client that is gone was killed
            if not received:
                ready.unregister(children[process])
        for process in list(children):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                client = children.pop(process)
                with contextlib.suppress(KeyError):
                    ready.unregister(client)
                with contextlib.suppress(OSError):
                    client.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
                client.close()
    for process in children:
        os.kill(process, signal.SIGKILL)
    shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _forked(client: socket.socket, listening: socket.socket) -> int:
    """A child that runs what a client asks for."""
    length, streams, *_ = socket.recv_fds(client, LENGTH, 3)
    told = b""
    while len(told) < int.from_bytes(length, "big"):
        told += client.recv(1 << 16)
    process = os.fork()
    if process:
        for stream in streams:
            os.close(stream)
        return process
    listening.close()
    client.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    _run(**json.loads(told))
    raise AssertionError("a child ends in `_run`")


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be a Python that was just started; does not return."""
    import atexit
    import runpy
    import threading
    import types

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    first, *rest = arguments
    more = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    place = {"-m": folder, "-c": ""}.get(first, os.path.dirname(os.path.abspath(first)))
    sys.path[:] = [place, *more, *sys.path[1:]]
    code = 0
    try:
        if first == "-m":
            sys.argv = list(rest)
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        else:
            sys.argv = list(arguments)
            runpy.run_path(os.path.abspath(first), run_name="__main__")
    except SystemExit as ended:
        if ended.code is not None and not isinstance(ended.code, int):
            print(ended.code, file=sys.stderr)
        code = 0 if ended.code is None else ended.code if isinstance(ended.code, int) else 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        code = -signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a reader that went away
            code = code or 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        call(sys.argv[2], sys.argv[3:])
