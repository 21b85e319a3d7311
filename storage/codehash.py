"""Hashes of the project code that a module reaches through its imports.

Nothing is executed: sources are parsed. Docstrings, other bare strings and comments do not
count, so rewording them rebuilds nothing; a change in a helper several imports away does.
Imports that are computed at run time (`importlib.import_module(name)`) cannot be seen: a stage
imports what it runs statically.
"""

import ast
import gc
import hashlib
import importlib.util
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_parsed: dict[tuple[str, str, int, int], "_Parsed"] = {}


@dataclass(frozen=True)
class _Import:
    """One import statement: `module`, and for `from module import name` the names."""

    module: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Parsed:
    hash: str
    imports: tuple[_Import, ...]


@dataclass(frozen=True)
class _Source:
    """Where a module's code lies; a namespace package has folders but no file."""

    name: str
    file: Path | None
    folders: tuple[Path, ...]


def code_closure(
    module: str, packages: Sequence[str], exclude: Sequence[str] = ()
) -> dict[str, str]:
    """Return module name -> hash for `module` and all it imports from `packages`.

    `packages` are top-level packages of the project. A module named in `exclude`, and whatever
    lies below it, is neither hashed nor walked. Packages on the way to a module count, because
    importing a module runs them. Raises ModuleNotFoundError for a project module that is
    imported but not there.
    """
    closure: dict[str, str] = {}
    seen: set[str] = set()
    waiting = deque([module])
    while waiting:
        name = waiting.popleft()
        if name in seen or _is_excluded(name, exclude) or name.split(".")[0] not in packages:
            continue
        seen.add(name)
        source = _required(name)
        waiting.extend(_parents(name))
        if source.file is not None:
            parsed = _parse(source)
            closure[name] = parsed.hash
            for statement in parsed.imports:
                waiting.extend(_imported_modules(statement, packages))
    if not closure:
        raise ValueError(f"module {module!r} is outside of the packages {list(packages)}")
    return dict(sorted(closure.items()))


def _is_excluded(name: str, exclude: Sequence[str]) -> bool:
    return any(name == item or name.startswith(item + ".") for item in exclude)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _imported_modules(statement: _Import, packages: Sequence[str]) -> Iterator[str]:
    """Yield the modules that an import statement loads: the module and imported submodules."""
    if statement.module.split(".")[0] not in packages:
        return
    yield statement.module
    for name in statement.names:
        submodule = f"{statement.module}.{name}"
        if _locate(submodule) is not None:
            yield submodule


def _required(name: str) -> _Source:
    source = _locate(name)
    if source is None:
        raise ModuleNotFoundError(f"project module {name!r} is imported but not found", name=name)
    return source


def _locate(name: str) -> _Source | None:
    """Find a module without importing its parents, which `find_spec` would do below the top."""
    parent, _, last = name.rpartition(".")
    if not parent:
        return _locate_top(name)
    above = _locate(parent)
    for folder in above.folders if above else ():
        package = folder / last
        if (package / "__init__.py").is_file():
            return _Source(name, package / "__init__.py", (package,))
        if (folder / f"{last}.py").is_file():
            return _Source(name, folder / f"{last}.py", ())
        if package.is_dir():
            return _Source(name, None, (package,))
    return None


def _locate_top(name: str) -> _Source | None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    folders = tuple(Path(place) for place in spec.submodule_search_locations or ())
    file = Path(spec.origin) if spec.origin and spec.has_location else None
    return _Source(name, file, folders)


def _parse(source: _Source) -> _Parsed:
    """Parse a file once per process and version of the file."""
    assert source.file is not None
    stat = source.file.stat()
    slot = (source.name, str(source.file), stat.st_mtime_ns, stat.st_size)
    if slot not in _parsed:
        with _no_collection():
            tree = ast.parse(source.file.read_bytes(), filename=str(source.file))
        imports = tuple(_imports(tree, _package_of(source)))
        _drop_bare_strings(tree)
        _parsed[slot] = _Parsed(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports)
    return _parsed[slot]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Inside, no garbage is collected.

    Python 3.11 keeps the depth of the tree it builds in a global: a finaliser that parses something
    in the midst (formatting a traceback does) makes the outer `ast.parse` raise SystemError.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _package_of(source: _Source) -> str:
    """Return the package that relative imports in this module start from."""
    return source.name if source.folders else source.name.rpartition(".")[0]


def _imports(node: ast.AST, package: str) -> Iterator[_Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (_Import(alias.name, ()) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            names = tuple(alias.name for alias in child.names)
            yield _Import(_absolute(child, package), names)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            # Never runs; what is imported there for annotations changes no number.
            for statement in child.orelse:
                yield from _imports(ast.Module([statement], []), package)
        else:
            yield from _imports(child, package)


def _absolute(statement: ast.ImportFrom, package: str) -> str:
    if statement.level == 0:
        assert statement.module is not None
        return statement.module
    parts = package.split(".")
    base = parts[: len(parts) - statement.level + 1]
    return ".".join([*base, statement.module] if statement.module else base)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _drop_bare_strings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        for body_name in ("body", "orelse", "finalbody"):
            body = getattr(node, body_name, None)
            if isinstance(body, list):
                body[:] = [statement for statement in body if not _is_bare_string(statement)]


def _is_bare_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
