"""Runs one experiment: ``python -m experiments.run --config configs/<room>/<name>.py``.

The same command again goes on where the run was left. Exit codes: 0 finished, 2 refused
before anything started, 3 halted (not finite, or spiking), 4 hanging, 74 nothing can be
written, 75 stopped by a signal and ready to go on.
"""

import gc
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

EXIT_HALTED, EXIT_DISK, EXIT_PREEMPTED = 3, 74, 75

if __name__ == "__main__":  # before the slow imports; the loop has handlers of its own
    for _number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(_number, lambda *_: os._exit(EXIT_PREEMPTED))

from absl import flags  # noqa: E402

from experiments import command_line  # noqa: E402
from experiments.memory import keep_freed_memory  # noqa: E402


def define_flags(values: flags.FlagValues) -> None:
    """Adds this command's flags."""
    text = lambda *words: flags.DEFINE_string(*words, flag_values=values)  # noqa: E731
    switch = lambda *words: flags.DEFINE_bool(*words, flag_values=values)  # noqa: E731
    text("workdir", None, "The run directory; default runs/<room>/<name>/<variant>.")
    switch("dry_run", False, "Say what would be run and what a step costs, then exit.")
    switch("smoke", False, "Lay the config's SMOKE over it: seconds, not minutes.")
    switch("help_config", False, "List every entry that can be overridden, then exit.")
    switch("progress", True, "Show progress.")
    text("profile", None, "Trace these steps, as start:stop, into workdir/profile.")
    switch("debug_nans", False, "Stop in Python where a nan is first made; slow.")
    switch(
        "allow_data_change", False, "Go on although the data are others than before."
    )
    switch("allow_config_change", False, "Go on although the config is another.")
    flags.DEFINE_list(
        "trust",
        [],
        "Packages that the config of a run directory may name beside our own.",
        flag_values=values,
    )
    text(
        "coordinator", None, "host:port of process 0, or 'auto', for several processes."
    )
    flags.DEFINE_integer("processes", None, "How many there are.", flag_values=values)
    flags.DEFINE_integer(
        "heartbeat_seconds",
        10,
        "Silence after which a process counts as gone; more on a busy network.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer("process", None, "Which one this is.", flag_values=values)


def _steps(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (
        colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)
    ):
        raise command_line.ConfigError(
            f"--profile: expected start:stop with start < stop, got {text!r}"
        )
    return int(first), int(last)


def set_up_jax(values: flags.FlagValues) -> None:
    """Joins the other processes, and keeps compiled programs and freed memory.

    The cache belongs to the user alone, as whoever can write it can run code here.
    """
    import jax

    keep_freed_memory()
    if values.coordinator == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=values.heartbeat_seconds)
    elif values.coordinator:
        jax.distributed.initialize(
            values.coordinator,
            values.processes,
            values.process,
            heartbeat_timeout_seconds=values.heartbeat_seconds,
        )
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        cache = home / "kexue_jax" / "compiled"
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            jax.config.update("jax_compilation_cache_dir", str(cache))
        except OSError:
            print(f"no compilation cache: {cache} cannot be made", file=sys.stderr)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_debug_nans", getattr(values, "debug_nans", False))


def main(argv: Sequence[str]) -> int:
    """Runs what the arguments say and returns the exit code."""
    values = flags.FlagValues()
    define_flags(values)
    if any(word in ("-h", "--help", "--helpfull", "--helpshort") for word in argv):
        print(__doc__)
        print(values.get_help())
        return 0
    try:
        parsed = command_line.parse(argv, values)
        profile = _steps(values.profile) if values.profile else None
    except command_line.ConfigError as error:
        return command_line.leave(error, command_line.EXIT_CONFIG)
    if values.help_config:
        print(command_line.help_config(parsed.experiment.config))
        return 0
    set_up_jax(values)
    if not values.coordinator:
        return _run(parsed, values, profile, argv)
    return _run_together(parsed, values, profile, argv)


def _run_together(parsed, values, profile, argv) -> int:
    """As `_run`, for one of several processes: no failure leaves the others waiting."""
    try:
        code = _run(parsed, values, profile, argv)
    except Exception:
        traceback.print_exc()
        print(
            f"process {values.process} cannot go on. If another one is gone, the "
            f"coordinator names it within {values.heartbeat_seconds} seconds:",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(values.heartbeat_seconds + 3)
        code = 1
    if code == EXIT_PREEMPTED:
        import jax

        jax.distributed.shutdown()  # all leave; a failure does not wait for the others
    return code


def _run(parsed, values, profile, argv) -> int:
    from experiments import configs, dry_run, runner
    from kexue_jax.build import BuildError
    from kexue_jax.train.checkpoint import CheckpointError, SaveError
    from kexue_jax.train.lock import Locked
    from kexue_jax.train.step import Refused

    gc.freeze()  # what is imported stays: collections that walk through it double the
    # time of whatever makes many objects, such as tracing and parsing
    experiment = parsed.experiment._replace(trust=tuple(values.trust))
    marks = [*parsed.overrides, *(["smoke"] if values.smoke else [])]
    workdir = Path(values.workdir or runner.default_workdir(experiment, marks))
    command = ["python", "-m", "experiments.run", *argv]
    try:
        if values.dry_run:
            print(dry_run.describe(experiment, workdir))
            return 0
        outcome = runner.run(
            experiment,
            workdir,
            command=command,
            progress=values.progress,
            profile=profile,
            allow_data_change=values.allow_data_change,
            allow_config_change=values.allow_config_change,
        )
    except runner.CrashLoop as error:
        return command_line.leave(error, EXIT_HALTED)
    except (SaveError, OSError) as error:
        return command_line.leave(error, EXIT_DISK)
    except (configs.ConfigError, BuildError, Refused, CheckpointError, Locked) as error:
        return command_line.leave(error, command_line.EXIT_CONFIG)
    if outcome.status == "preempted":
        again = shlex.join(command)
        print(f"stopped at step {outcome.step}; to go on: {again}", file=sys.stderr)
        return EXIT_PREEMPTED
    if outcome.status == "halted":
        print(f"halted: {outcome.reason}", file=sys.stderr)
        return EXIT_HALTED
    return 0


if __name__ == "__main__":
    _code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    if _code:  # a thread that still makes batches must not change the code
        os._exit(_code)
