"""What a number depends on: the house files behind the names in a config."""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def names_in(data: Any) -> Iterator[str]:
    """Yields every ``package.module:attribute`` that a config makes or binds."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if key in ("make", "bind"):
                yield value
            else:
                yield from names_in(value)
    elif isinstance(data, tuple | list):
        for value in data:
            yield from names_in(value)


class House:
    """The Python files below a folder, and what they import of each other.

    Nothing is imported: files are read. A package's ``__init__`` that only passes names
    on is looked through, name by name, so that one more name in it changes nothing.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self._trees: dict[Path, ast.Module] = {}

    def file(self, module: str) -> Path | None:
        """Returns the file of a module, or None if it is not of the house."""
        path = self.root.joinpath(*module.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
        return None

    def files_behind(self, names: Iterable[str]) -> list[Path]:
        """Returns the files that these names are made of, directly or by import."""
        waiting = [tuple(name.partition(":")[::2]) for name in names]
        seen, found = set(), set()
        while waiting:
            module, attribute = waiting.pop()
            if (module, attribute) in seen:
                continue
            seen.add((module, attribute))
            path = self.file(module)
            if path is None:
                continue
            if path.name == "__init__.py":
                waiting += self._through(path, module, attribute)
                if not attribute or not self._defines(path, attribute):
                    continue
            if path not in found:
                found.add(path)
                waiting += self._imports(path, module)
        return sorted(found)

    def digest(self, names: Iterable[str]) -> str:
        """Returns a hash of those files' paths and contents."""
        total = hashlib.sha256()
        for path in self.files_behind(names):
            total.update(path.relative_to(self.root).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()

    def _tree(self, path: Path) -> ast.Module:
        if path not in self._trees:
            self._trees[path] = ast.parse(path.read_text("utf-8"))
        return self._trees[path]

    def _imports(self, path: Path, module: str) -> list[tuple[str, str]]:
        """Every ``(module, attribute)`` that a file imports, anywhere in it."""
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = []
        for node in ast.walk(self._tree(path)):
            if isinstance(node, ast.Import):
                found += [(alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = package.split(".")
                    above = parts[: len(parts) - node.level + 1]
                    base = ".".join([*above, *([base] if base else [])])
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    if self.file(inner):
                        found.append((inner, ""))
                    else:
                        found.append((base, alias.name))
        return found

    def _through(self, path: Path, module: str, attribute: str) -> list:
        """Where an ``__init__`` has a name from; all that it imports for ``*``."""
        imports = self._imports(path, module)
        if attribute in ("", "*"):
            return []
        return [
            (home, name)
            for home, name in imports
            if name == attribute or (name == "" and home == f"{module}.{attribute}")
        ]

    def _defines(self, path: Path, attribute: str) -> bool:
        """Whether a file itself binds a name, other than by importing it."""
        for node in self._tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                if node.name == attribute:
                    return True
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = (
                    node.targets if isinstance(node, ast.Assign) else [node.target]
                )
                if any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
                    return True
        return False
