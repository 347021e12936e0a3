"""Digests of values by what they hold: settings, arrays, and the code of what a user wrote."""

from __future__ import annotations

import ast
import dataclasses
import dis
import enum
import functools
import hashlib
import stat
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, resolve_name
from pathlib import Path, PurePath
from typing import Any

PLUGIN = "plugin_"  # begins the names of modules of plug-ins, see `redundancy.plugins`
_VERSIONED = frozenset({"torch", "numpy"})  # installed packages whose versions stand in the provenance
_OWN = Path(__file__).resolve().parent  # this package, and the studies beside it in a checkout
_STANDARD = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def digest_of(settings: object) -> str:
    """SHA-256 of a value by what it holds: equal in every process and on every machine, other where a part differs.

    Taken are plain data (numbers of numpy as those of Python, lists as tuples), paths, enums, arrays and tensors,
    dataclasses (by the path of their class and every field, so that a changed default changes the digest, and by what
    `digest_parts` says that a name in a field stands for), functions
    (by their path, code, defaults and what they close over), classes, and every other object that pickle could store,
    by what pickle would store of it. Of functions and classes that are not of this package the code counts too, and
    what their code looks up by name: values, functions, classes; of a module that is not installed its file.

    Parameters
    ----------
    settings
        Any such value, nested as deep as you like.

    Returns
    -------
    64 hexadecimal digits.

    Raises
    ------
    TypeError
        If a part has no content that is the same in another process, such as a generator or an open file.

    Examples
    --------
    >>> digest_of({"frames": 32, "seed": 0}) == digest_of({"seed": 0, "frames": 32})
    True
    """
    return _Digest().of(settings, "the value given").hex()


class _Digest:
    """One walk through a value; remembers what it is inside of, so that a circle ends."""

    def __init__(self) -> None:
        self._inside: list[object] = []
        self._known: dict[int, bytes] = {}  # of functions and classes, which code looks up again and again

    def of(self, value: object, where: str) -> bytes:
        """Digest of one part, which `where` names in messages."""
        if value is None or value is Ellipsis or value is NotImplemented:
            return _leaf("constant", repr(value).encode())
        for kind in (bool, int, float, complex, str):  # the shortest text that gives the same value
            if isinstance(value, kind) and not isinstance(value, enum.Enum) and not _is_numpy(value):
                name = kind.__name__ if type(value) is kind else _path(type(value))
                return _leaf(name, kind.__repr__(value).encode(errors="surrogatepass"))
        if isinstance(value, bytes | bytearray):
            return _leaf("bytes", bytes(value))
        if any(value is outer for outer in self._inside):
            # a patched forward keeps the old one; modules import each other
            if isinstance(value, type | types.FunctionType | types.ModuleType) or _is_module(value):
                return _leaf("circle", _path(value).encode())
            raise TypeError(f"{where} contains itself, which has no digest")
        if id(value) in self._known:
            return self._known[id(value)]
        self._inside.append(value)
        try:
            found = self._compound(value, where)
        finally:
            self._inside.pop()
        # others may be gone, and their id taken, before the walk ends
        if isinstance(value, type | types.FunctionType | types.ModuleType):
            self._known[id(value)] = found
        return found

    def _compound(self, value: Any, where: str) -> bytes:
        if (raw := _array(value, where)) is not None:
            return self.of(raw, where)
        if isinstance(value, type):
            return self._class(value, where)
        if isinstance(value, types.ModuleType):
            return self._module(value, where)
        if isinstance(value, enum.Enum):
            return _node("enum", [self.of(part, where) for part in (_path(type(value)), value.name, value.value)])
        if isinstance(value, PurePath):
            return _leaf("path", str(value).encode(errors="surrogateescape"))
        if isinstance(value, Mapping) and type(value).__module__ in ("builtins", "collections", "types"):
            pairs = ([self.of(k, f"a key of {where}"), self.of(v, f"{where}[{k!r}]")] for k, v in value.items())
            return _node("mapping", sorted(a + b for a, b in pairs))
        if isinstance(value, set | frozenset):
            return _node("set", sorted(self.of(v, f"a member of {where}") for v in value))
        if type(value) in (list, tuple):
            return _node("sequence", self._each(value, where))
        if dataclasses.is_dataclass(value):
            named = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            behind = {} if isinstance(value, type) else getattr(value, "digest_parts", {})
            named |= {f"{name} stands for": part for name, part in behind.items() if part is not named[name]}
            parts = [self.of(name, where) + self.of(v, f"{where}.{name}") for name, v in named.items()]
            return _node("dataclass", [self.of(type(value), where), *parts])
        return self._callable(value, where) or self._reduced(value, where)

    def _each(self, values: Iterable[object], where: str) -> list[bytes]:
        return [self.of(v, f"{where}[{i}]") for i, v in enumerate(values)]

    def _callable(self, value: Any, where: str) -> bytes | None:
        """Functions, methods and partial functions; None for everything else."""
        if isinstance(value, types.UnionType | types.GenericAlias):
            return _leaf("annotation", repr(value).encode())
        if isinstance(value, weakref.ref):
            return _node("weakref", [self.of(value(), where)])
        if isinstance(value, types.FunctionType):
            return _node("function", [_leaf("path", _path(value).encode()), *self._function(value, where)])
        if isinstance(value, types.MethodType):
            return _node("method", [self.of(value.__self__, where), self.of(value.__func__, where)])
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return _node("partial", [self.of(part, where) for part in parts])
        if isinstance(value, types.BuiltinFunctionType) and isinstance(value.__self__, types.ModuleType | None):
            return _leaf("builtin", _path(value).encode())
        wrapped = getattr(value, "__wrapped__", None) or getattr(value, "fget", None) or getattr(value, "func", None)
        if isinstance(wrapped, types.FunctionType):
            return _node(_path(type(value)), [self.of(wrapped, where)])
        inner = getattr(value, "__func__", None)
        return None if inner is None else _node(_path(type(value)), [self.of(inner, where)])

    def _function(self, value: types.FunctionType, where: str) -> list[bytes]:
        """Code, defaults and closure of a function that a version of this package does not stand for."""
        closed = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
        if _is_versioned(value) and (not closed or hasattr(value, "__wrapped__")):
            return []
        held: list[object] = [value.__defaults__, value.__kwdefaults__, closed]
        where = f"{where} ({value.__qualname__})"
        looked_up = [self._global(value, name, where) for name in _looked_up(value.__code__)]
        looked_up += [self._named(module, where) for module in (*_imported(value), *_inside_packages(value))]
        return [self._code(value.__code__, where), *(self.of(part, where) for part in held), *looked_up]

    def _global(self, function: types.FunctionType, name: str, where: str) -> bytes:
        """What a name outside of a function stands for now."""
        if name not in function.__globals__:
            return _leaf("builtin", name.encode())
        value = function.__globals__[name]
        if isinstance(value, type | types.FunctionType) and _is_installed(value.__module__):
            return _leaf("installed", _path(value).encode())
        return self.of(value, f"{where}, {name}")

    def _named(self, module: str, where: str) -> bytes:
        """A module that code names; one that is not there is its name."""
        if _is_installed(module):
            return _leaf("module", module.encode())
        try:
            return self.of(import_module(module), where)
        except ImportError:
            return _leaf("absent", module.encode())

    def _module(self, value: types.ModuleType, where: str) -> bytes:
        """A module by its name, and where it is not installed by its file and the modules that the file imports."""
        name = value.__name__.removeprefix(PLUGIN)
        if _is_installed(value.__name__):
            return _leaf("module", name.encode())
        file = _file(value.__name__)
        if file is None or not file.is_file():
            return _leaf("folder", name.encode())
        package = str(getattr(value, "__package__", None) or "")
        behind = [self._named(module, f"{where}, {name}") for module in _imports(file, package)]
        return _node("module", [_leaf("file", f"{name} {file_sha256(file)}".encode()), *behind])

    def _code(self, code: types.CodeType, where: str) -> bytes:
        parts = code.co_consts
        constants = [self._code(c, where) if isinstance(c, types.CodeType) else self.of(c, where) for c in parts]
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_flags, code.co_argcount)
        return _node("code", [_leaf("code", code.co_code), self.of(names, where), *constants])

    def _class(self, value: type, where: str) -> bytes:
        path = _leaf("class", _path(value).encode())
        if _is_versioned(value):
            return path
        own = {name: member for name, member in sorted(vars(value).items()) if _is_written(name, member)}
        members = [self.of(name, where) + self.of(m, f"{_path(value)}.{name}") for name, m in own.items()]
        return _node("class", [path, *(self.of(base, where) for base in value.__bases__), *members])

    def _reduced(self, value: Any, where: str) -> bytes:
        """By what pickle would store."""
        try:
            stored = value.__reduce_ex__(2)
        except Exception as error:  # whatever a class's own reduction raises
            raise TypeError(f"{where} is of type {_path(type(value))}, which has no digest: {error}") from error
        if isinstance(stored, str):
            return _leaf("global", f"{_path(type(value))} {stored}".encode())
        made, arguments, *rest = stored
        state = rest[0] if rest else None
        items = [list(part) for part in rest[1:3] if part is not None]
        return _node("object", [self.of(part, where) for part in (type(value), _path(made), arguments, state, items)])


def _leaf(kind: str, content: bytes) -> bytes:
    return hashlib.sha256(kind.encode() + b"\0" + content).digest()


def _node(kind: str, parts: Sequence[bytes]) -> bytes:
    return _leaf(f"{kind} {len(parts)}", b"".join(parts))


def _path(value: Any) -> str:
    return f"{_module_of(value)}.{getattr(value, '__qualname__', None) or type(value).__qualname__}"


def _module_of(value: Any) -> str:
    """Name of the module of a function, class or object, the same whether its file is run, imported or a plug-in."""
    name = str(getattr(value, "__module__", None) or "")
    if name == "__main__":
        main = sys.modules[name]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        name = str(spec.name) if spec is not None else name if file is None else Path(file).stem
    name = name.removeprefix(PLUGIN)
    return name.removeprefix("redundancy.") if name.startswith("redundancy.studies") else name


def _is_numpy(value: object) -> bool:
    return type(value).__module__ == "numpy"


def _is_module(value: object) -> bool:
    return (torch := sys.modules.get("torch")) is not None and isinstance(value, torch.nn.Module)


def _looked_up(code: types.CodeType) -> list[str]:
    """Names that code, and code inside it, looks up outside of functions."""
    found = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _looked_up(c)]
    return sorted(found.union(inner))


def _imported(function: types.FunctionType) -> list[str]:
    """Names of the modules that a function's code imports when it runs."""
    package = str(function.__globals__.get("__package__") or "")
    found: set[str] = set()
    codes = [function.__code__]
    for code in codes:
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
        steps = list(dis.get_instructions(code))
        for i, step in enumerate(steps):
            if step.opname == "IMPORT_NAME":  # how many dots, and which names, lie on the stack before it
                names = steps[i - 1].argval or ()
                found |= _meant(package, int(steps[i - 2].argval), str(step.argval), names)
    return sorted(found)


def _inside_packages(function: types.FunctionType) -> list[str]:
    """Names of the modules that code reaches through a package: `pieces.deep.count()` after `import pieces.deep`."""
    named = _names(function.__code__)
    held = (function.__globals__.get(name) for name in named)
    packages = [m.__name__ for m in held if isinstance(m, types.ModuleType) and not _is_installed(m.__name__)]
    loaded = [(name, package) for name in list(sys.modules) for package in packages if name.startswith(f"{package}.")]
    return sorted({name for name, package in loaded if set(name.removeprefix(f"{package}.").split(".")) <= named})


def _names(code: types.CodeType) -> set[str]:
    """All names of globals and attributes in code, and in code inside it."""
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _names(c)]
    return {*code.co_names, *inner}


def _imports(file: Path, package: str) -> list[str]:
    """Names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    source = file.read_bytes() if file.suffix == ".py" else b""  # a compiled module is known by its file alone
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= _meant(package, node.level, node.module or "", [alias.name for alias in node.names])
    return sorted(found)


def _meant(package: str, level: int, module: str, names: Iterable[str]) -> set[str]:
    """The module in front of `import`, and those behind it that are modules."""
    whole = resolve_name("." * level + module, package)
    return {whole} | {inside for name in names if (inside := f"{whole}.{name}") in sys.modules}


def _file(module: str) -> Path | None:
    """File of a module, imported or not, whatever it is called; of a package without a file of its own its folder."""
    found: Any = sys.modules.get(module)
    if found is None and "." not in module:
        found = find_spec(module)
        file = None if found is None else found.origin
        places = None if found is None else found.submodule_search_locations
    else:
        file, places = getattr(found, "__file__", None), getattr(found, "__path__", None)
    file = file or next(iter(places or ()), None)
    return None if file is None or file in ("built-in", "frozen") else Path(file).resolve()


def _is_standard(module: str, file: Path | None) -> bool:
    """True for modules of Python: those that its folder holds, and those that are built in."""
    if file is None:
        return module.partition(".")[0] in sys.stdlib_module_names
    in_standard = any(file.is_relative_to(folder) for folder in _STANDARD)
    return in_standard and not {"site-packages", "dist-packages"} & set(file.parts)


def _is_own(file: Path | None) -> bool:
    """True for files of this package, and of the studies beside it."""
    return file is not None and (file.is_relative_to(_OWN) or file.is_relative_to(_OWN.parent / "studies"))


def _is_installed(module: str) -> bool:
    """True for modules of Python, of this package, and of packages that were installed: by where their files lie."""
    file = _file(module)
    if _is_standard(module, file) or _is_own(file):
        return True
    top = _file(module.partition(".")[0])
    return top is not None and _is_installation(top.parents[top.name == "__init__.py"])


@lru_cache(maxsize=64)
def _is_installation(folder: Path) -> bool:
    """True for folders that packages are installed into, wherever they are (`pip install --target`)."""
    named = bool({"site-packages", "dist-packages"} & set(folder.parts))
    return named or next(folder.glob("*.dist-info"), None) is not None


def _is_versioned(value: Any) -> bool:
    """True where the version of Python or of a package stands for the code."""
    module = str(getattr(value, "__module__", None) or "")
    file = _file(module)
    if _is_standard(module, file) or _is_own(file):
        return True
    return module.partition(".")[0] in _VERSIONED and _is_installed(module)


def _is_written(name: str, member: object) -> bool:
    """True for members of a class that its author wrote, and not Python or `dataclass` for them."""
    if isinstance(member, types.FunctionType):
        return not name.startswith("__") or member.__code__.co_filename != "<string>"
    return not name.startswith(("__", "_abc_")) and not isinstance(
        member, types.MemberDescriptorType | types.GetSetDescriptorType
    )


def _array(value: Any, where: str) -> object:
    """Type, shape and bytes of an array or a tensor, a Python number for one of numpy; None for everything else."""
    if (torch := sys.modules.get("torch")) is not None and isinstance(value, torch.Tensor):
        if value.is_meta or value.layout is not torch.strided:
            raise TypeError(f"{where} is a tensor without values in memory ({value.device}), which has no digest")
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return ["tensor", str(value.dtype), list(value.shape), hashlib.sha256(raw).digest()]
    if torch is not None and isinstance(value, torch.dtype | torch.device | torch.Size):
        return ["torch", str(value)]
    if (numpy := sys.modules.get("numpy")) is None or not isinstance(value, numpy.ndarray | numpy.generic):
        return None
    if isinstance(value, numpy.generic) and not isinstance(value.item(), numpy.generic):
        return value.item()
    array = numpy.ascontiguousarray(value)
    content = array.ravel().tolist() if array.dtype.hasobject else hashlib.sha256(array).digest()
    return ["array", array.dtype.str, list(array.shape), content]


def file_sha256(file: str | Path) -> str:
    """SHA-256 of a file's bytes, read once as long as the file does not change.

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    """
    file = Path(file).resolve()
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{file} is no regular file, which alone has content that can be hashed")
    return _file_hash(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@lru_cache(maxsize=4096)  # what changes with a file is part of the key: a changed file is hashed again
def _file_hash(file: Path, *changes: int) -> str:
    in_hub = file.parent.name == "blobs" and file.parent.parent.name.startswith("models--")
    if in_hub and len(file.name) == 64:
        return file.name  # files in the hub's cache are named by their own hash
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
