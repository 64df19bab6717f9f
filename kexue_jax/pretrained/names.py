"""What parameters of ours are called elsewhere: tables, one for each way of writing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Their(NamedTuple):
    """An array of another library, as our array is made of it.

    Attributes:
      name: what it is called.
      transposed: whether it is our array turned, as torch keeps kernels.
      part: ``(k, n)``, if ours is part k of n equal ones of its last axis.
      stacked: whether it has an axis of one in front of ours.
    """

    name: str
    transposed: bool = False
    part: tuple[int, int] | None = None
    stacked: bool = False


Leaves = Mapping[str, tuple[str, bool]]

TORCH: Leaves = {
    "kernel": (".weight", True),  # torch keeps [out, in]
    "embedding": (".weight", False),
    "table": (".weight", False),
    "scale": (".weight", False),
    "bias": (".bias", False),
}
CONV1D: Leaves = {**TORCH, "kernel": (".weight", False)}  # of GPT: [in, out]
TENSORFLOW: Leaves = {
    "kernel": ("/kernel", False),
    "embedding": ("", False),
    "table": ("", False),
    "bias": ("/bias", False),
    "norm/scale": ("/gamma", False),
    "norm/bias": ("/beta", False),
}


@dataclass(frozen=True)
class Names:
    """How a kind of model is written.

    Attributes:
      kind: what it is called in messages.
      modules: from our modules, such as ``blocks/{}/mixer/query`` with ``{}`` for a
        number, to theirs. A backbone's have no ``backbone/`` in front.
      leaves: from our last names to theirs, and whether theirs are turned; under
        ``norm/`` those of modules whose names end so.
      whole: from our paths, likewise with ``{}``, to arrays that no rule gives.
      packed: our modules that are equal parts of one of theirs: which, of how many.
      stacked: our last names whose arrays have an axis of one in front there.
      front: how names of the backbone begin in files of whole models; files of a
        backbone alone may lack it.
      spare: patterns of names that files hold beside such a model.
      same: names in files that repeat another array, to which they have to be equal.
      old: patterns of older names, and what they are now.
    """

    kind: str
    modules: Mapping[str, str]
    leaves: Leaves = field(default_factory=lambda: TORCH)
    whole: Mapping[str, Their] = field(default_factory=dict)
    packed: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    stacked: tuple[str, ...] = ()
    front: str = ""
    spare: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)
    old: Mapping[str, str] = field(default_factory=dict)

    def of(self, path: str) -> Their:
        """Returns what our path, such as ``blocks/0/mixer/query/kernel``, is called.

        Raises:
          ValueError: if such a model has no such parameter.
        """
        within = path.removeprefix("backbone/")
        number = re.search(r"(?<=/)\d+(?=/)", within)
        key = re.sub(r"(?<=/)\d+(?=/)", "{}", within, count=1)
        place = number[0] if number else ""
        if key in self.whole:
            their = self.whole[key]
            return their._replace(name=their.name.format(place))
        module, _, leaf = key.rpartition("/")
        rule = self.leaves.get(
            f"norm/{leaf}" if module.endswith("norm") else leaf, self.leaves.get(leaf)
        )
        if module not in self.modules or rule is None:
            raise ValueError(f"{self.kind} has no parameter {path!r}")
        ending, transposed = rule
        name = self.modules[module].format(place) + ending
        part = self.packed.get(module)
        return Their(name, transposed, part, stacked=leaf in self.stacked)

    def plain(self, name: str) -> str:
        """Returns the name that `of` gives for one in a file, which may be older."""
        for pattern, new in self.old.items():
            name = re.sub(pattern, new, name)
        written = [*self.modules.values(), *(t.name for t in self.whole.values())]
        roots = tuple(w.partition("{")[0] for w in written if not self._inner(w))
        known = name.startswith(roots) or self._inner(name) or self.is_spare(name)
        return name if known or name in self.same else self.front + name

    def _inner(self, name):
        return bool(self.front) and name.startswith(self.front)

    def is_spare(self, name: str) -> bool:
        """Returns whether files hold this array beside such a model."""
        return any(re.search(pattern, name) for pattern in self.spare)

    def bare(self, name: str) -> str:
        """Returns a name as files of a backbone alone have it."""
        return name.removeprefix(self.front)
