"""The one place that registers hooks on a model, and takes them away again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import fx, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from redundancy.models.wrapped import unwrapped

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

# by model, since contexts are opened by verbs that know nothing of each other; weak, so that no model is kept for it
_lock = threading.Lock()
# Shared by all contexts of the process: one that opens must see those of other threads on the same model. Weak, so that
# a model which is let go is freed.
_holders: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()  # thread and its open contexts, by model
_eager: list[Any] = []  # what torch.compile's stance was before the first open context, once per open context


class Hooks:
    """Forward hooks that exist while the context is open, and are removed on exit, also after an exception.

    Compiled code runs the hooks that it was compiled with and no others, so all of it runs eagerly while a context is
    open. The hooks serve the thread that opened the context, and its asyncio task. What runs again for a gradient
    (checkpointing) is no call: hooks do nothing then.

    Parameters
    ----------
    model
        The module that the thread holds meanwhile; a context of another thread on it is refused. None holds nothing.

    Raises
    ------
    NotImplementedError
        On opening, if another thread holds the model; in a call of another thread or task on a module with hooks, of a
        copy of such a module, and under `torch.jit.trace` or `torch.export`.
    RuntimeError
        On leaving, if `torch.compiler.set_stance` was called meanwhile, so that compiled code may have run.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self._model = None if model is None else unwrapped(model)
        self._handles: list[RemovableHandle] = []

    def before(self, module: nn.Module, hook: Callable[[nn.Module, Any, dict[str, Any]], Arguments | None]) -> None:
        """Call `hook(module, args, kwargs)` before the module's forward; what it returns replaces both."""
        handle = unwrapped(module).register_forward_pre_hook(_Guarded(hook), with_kwargs=True)
        self._handles.append(handle)

    def after(
        self, module: nn.Module, hook: Callable[[nn.Module, Any, dict[str, Any], Any], Any], *, always: bool = False
    ) -> None:
        """Call `hook(module, args, kwargs, output)` after the module's forward; what it returns replaces the output.

        With `always` also after a forward that raised, with None as output.
        """
        handle = unwrapped(module).register_forward_hook(
            _Guarded(hook, quiet=always), with_kwargs=True, always_call=always
        )
        self._handles.append(handle)

    def before_graphs(self, hook: Callable[[nn.Module], None]) -> None:
        """Call `hook(graph)` before any traced, scripted or exported module, whatever modules it was made of."""
        self._handles.append(register_module_forward_pre_hook(partial(_if_graph, hook)))

    def remove(self) -> None:
        """Take every hook away; safe to call twice."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> Hooks:
        with _lock:
            _hold(self._model)
            _eager.append(torch.compiler.set_stance("force_eager") if not _eager else _eager[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
        with _lock:
            _release(self._model)
            stance = _stance()
            before = _eager.pop()
            if not _eager:
                before.__exit__(None, None, None)
        if stance != "force_eager" and kind is None:
            raise RuntimeError(
                f"torch.compile's stance was set to {stance!r} while hooks were on the model, so compiled code may "
                "have run without them: what was computed is not to be trusted; leave the stance alone inside"
            )


def _if_graph(hook: Callable[[nn.Module], None], module: nn.Module, args: Any) -> None:
    if isinstance(module, torch.jit.ScriptModule | fx.GraphModule):
        hook(module)


class _Guarded:
    """A hook that serves the thread that made it; another is refused, or left alone where it was refused before."""

    def __init__(self, hook: Callable[..., Any], *, quiet: bool = False) -> None:
        self.hook, self.quiet, self.thread, self.task = hook, quiet, threading.get_ident(), _task()

    def __call__(self, *arguments: Any) -> Any:
        if torch._C._current_graph_task_id() != -1:  # a backward pass is running
            return None
        problem = self._problem()
        if problem is None:
            return self.hook(*arguments)
        if self.quiet:
            return None
        raise problem

    def _problem(self) -> NotImplementedError | None:
        if threading.get_ident() != self.thread:
            return _other_thread()
        if self.task is not None and not self.task.done() and _task() is not self.task:
            return NotImplementedError(
                "the model is inside a context of another asyncio task (prune, capture or a recording), which serves "
                "that task alone: open the context in the task that runs the model, with nothing awaited inside"
            )
        if torch._C._get_tracing_state() is not None or torch.compiler.is_exporting():
            return NotImplementedError(
                "the model is traced or exported inside a context (prune, capture or a recording), whose decisions "
                "would be frozen into the graph; trace it outside, and run the model itself inside"
            )
        return None

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return _do_nothing if self.quiet else _refuse_copy


def _do_nothing(*arguments: Any) -> None:
    pass


def _refuse_copy(*arguments: Any) -> None:
    raise NotImplementedError(
        "this model was copied from one inside a context (prune, capture or a recording), whose hooks serve the "
        "original alone; copy the model outside the context"
    )


def _task() -> asyncio.Task[Any] | None:
    """The asyncio task that runs, if any."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None


def _other_thread() -> NotImplementedError:
    return NotImplementedError(
        "the model is inside a context of another thread (prune, capture or a recording), which serves that thread "
        "alone: open the context in the thread that runs the model, and give each thread a model of its own or a lock"
    )


def _hold(model: nn.Module | None) -> None:
    if model is not None:
        thread, count = _holders.get(model, (threading.get_ident(), 0))
        if thread != threading.get_ident():
            raise _other_thread()
        _holders[model] = (thread, count + 1)


def _release(model: nn.Module | None) -> None:
    if model is not None:
        thread, count = _holders.pop(model)
        if count > 1:
            _holders[model] = (thread, count - 1)


def _stance() -> str:
    from torch._dynamo import eval_frame

    return str(eval_frame._stance.stance)
