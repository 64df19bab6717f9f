"""Takes something out of texts: ``python -m experiments.predict --workdir=X --text=Y``.

Texts come from ``--text``, as often as it is given, or as lines of ``--file``, or as
lines of standard input; for a run that answers questions, ``--question`` is asked of
each. Every text is printed with what was found in it: its place, its words, its score.
``--json`` prints a line of JSON for each text, for other programs.

``--export=FILE`` writes the model instead, with its weights, for texts of up to
``--length`` tokens: ``jax.export.deserialize`` of the bytes gives a function that needs
nothing but jax.

From Python: ``from experiments.runner import load; load("RUN").predict(texts)``.

Exit codes: 0 done, 2 refused.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line


def define_flags(values: flags.FlagValues) -> None:
    """Adds this command's flags."""
    text = lambda *words: flags.DEFINE_string(*words, flag_values=values)  # noqa: E731
    text("workdir", None, "The run directory.")
    flags.DEFINE_multi_string("text", [], "A text.", flag_values=values)
    text("question", None, "What is asked of each text, if the run answers questions.")
    text("file", None, "A file with a text in each line; - for standard input.")
    flags.DEFINE_bool("json", False, "Print JSON.", flag_values=values)
    flags.DEFINE_integer(
        "step", None, "The checkpoint; default the best or last.", flag_values=values
    )
    text("export", None, "Where to write the model with its weights.")
    flags.DEFINE_integer(
        "length", 128, "Tokens of its texts.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_list(
        "trust",
        [],
        "Packages that its config may name beside ours.",
        flag_values=values,
    )


def texts_of(values: flags.FlagValues) -> Iterator[str]:
    """Yields the texts that the flags name.

    Raises:
      ConfigError: if there are none, or both kinds.
    """
    if bool(values.text) == bool(values.file):
        raise command_line.ConfigError("give texts by --text or by --file, one of them")
    yield from values.text
    if values.file == "-":
        yield from (line.rstrip("\r\n") for line in sys.stdin)
    elif values.file:
        if not Path(values.file).is_file():
            raise command_line.ConfigError(f"--file: there is no {values.file}")
        with open(values.file, encoding="utf-8") as lines:
            yield from (line.rstrip("\r\n") for line in lines)


def exported(run: Any, length: int) -> bytes:
    """Returns the model of a run with its weights, as `jax.export` serialises it.

    The function takes tokens, ``[B, T]`` int32, what of them is kept, bool, and
    segments, int32, for any B and T = `length`, and gives what the head gives.

    Raises:
      TypeError: if the task has no such function.
    """
    import jax
    import jax.numpy as jnp

    if not hasattr(run.task, "serving"):
        raise TypeError(f"{type(run.task).__name__} has no one function to be served")
    (batch,) = jax.export.symbolic_shape("b")
    shape = (batch, length)
    like = [jax.ShapeDtypeStruct(shape, kind) for kind in (jnp.int32, bool, jnp.int32)]
    serve = jax.jit(run.task.serving(run.params, run.extras))
    return bytes(jax.export.export(serve)(*like).serialize())


def for_people(text: str, items: Sequence[dict[str, Any]]) -> str:
    """Returns a text and what was found in it, in lines."""
    lines = [text]
    for item in items:
        place = f"{item['start']}-{item['stop']}" if "start" in item else ""
        lines.append(f"  {item['score']:.3f}  {place:>9}  {item['shown']}")
    return "\n".join(lines if items else [*lines, "  nothing was found"])


def main(argv: Sequence[str]) -> int:
    """Predicts what the arguments say and returns the exit code."""
    values = flags.FlagValues()
    define_flags(values)
    if any(word in ("-h", "--help", "--helpfull", "--helpshort") for word in argv):
        print(__doc__)
        print(values.get_help())
        return 0
    from experiments import configs, runner
    from experiments.memory import keep_freed_memory
    from kexue_jax.build import BuildError
    from kexue_jax.train.checkpoint import CheckpointError

    try:
        left = values(["predict", *argv])
        if len(left) > 1:
            raise command_line.ConfigError(f"what is {left[1]!r}? Flags start with --")
        if values.workdir is None:
            raise command_line.ConfigError("--workdir is missing: the run directory")
        if not (Path(values.workdir) / "config.json").is_file():
            raise command_line.ConfigError(f"--workdir: {values.workdir} holds no run")
        keep_freed_memory()
        texts = [] if values.export else list(texts_of(values))
        run = runner.load(values.workdir, step=values.step, trust=values.trust)
        if values.export:
            Path(values.export).write_bytes(exported(run, values.length))
            return 0
        asked = values.question
        inputs = texts if asked is None else [(asked, text) for text in texts]
        found = run.predict(inputs)
    except (
        flags.Error,
        configs.ConfigError,
        BuildError,
        CheckpointError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        return command_line.leave(error, command_line.EXIT_CONFIG)
    for text, items in zip(texts, found, strict=True):
        if values.json:
            plain = [{k: v for k, v in item.items() if k != "shown"} for item in items]
            print(json.dumps({"text": text, "found": plain}, ensure_ascii=False))
        else:
            print(for_people(text, items))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
