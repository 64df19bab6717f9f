"""Sweeps a config: ``python -m experiments.sweep --config=X --sweep=Y [--workers=N]``.

The same command again goes on where it was left; when all is done it only prints the
table. From another terminal, host or job, more workers join:
``python -m experiments.sweep worker --storage=URL --study=NAME``. For many of them,
``python -m experiments.sweep serve --storage=URL --port=13000`` stands before a
database, and they join at ``grpc://host:13000``. ``python -m experiments.sweep report
--storage=URL --study=NAME`` writes the results so far. ``python -m experiments.sweep
launch --to=slurm`` or ``--to=gke``, with the flags of a sweep, prepares the study and
writes what starts its workers there.

Exit codes: 0 all trials are done, 1 one failed, 2 refused, 3 workers keep dying, 75
stopped by a signal, or the storage stayed away; the same command goes on.
"""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # before jax is imported
    from experiments.sweeps.devices import keep_to_cores

    keep_to_cores()

from absl import flags

from experiments import command_line, configs
from experiments.sweeps import devices, supervisor

EXIT_LATER = 75
COMMANDS = ("run", "worker", "serve", "report", "launch")


def define_flags(values: flags.FlagValues, command: str) -> None:
    """Adds the flags of one of `COMMANDS`."""
    text = lambda *words: flags.DEFINE_string(*words, flag_values=values)  # noqa: E731
    number = lambda *words, **more: flags.DEFINE_integer(  # noqa: E731
        *words, flag_values=values, **more
    )
    text("storage", None, "Where the study is kept; default SQLite in the workdir.")
    text("storage_file", None, "A file that holds the address, with its password.")
    number("patience", 600, "Seconds that the storage may be away.", lower_bound=1)
    if command == "serve":
        number("port", 13000, "The port to listen at.")
        text("host", "0.0.0.0", "The address to listen at.")
        return
    text("config", None, "The config, as experiments.run takes it.")
    text("study", None, "The study's name; default <config>/<sweep>.")
    text("workdir", None, "The directory of all runs; default runs/sweeps/<study>.")
    if command == "worker":
        number("trials", 0, "Leave after so many; 0 for no limit.", lower_bound=0)
        text("worker", None, "What to call this worker; default <host>:<process>.")
        text("coordinator", None, "host:port of process 0, or 'auto'.")
        number("processes", None, "How many processes one worker is.")
        number("process", None, "Which one this is.")
        number(
            "heartbeat_seconds",
            10,
            "Silence after which a process is gone.",
            lower_bound=1,
        )
    if command in ("run", "launch"):
        flags.DEFINE_bool(
            "retry", False, "Try what has failed again.", flag_values=values
        )
        text("sweep", None, "One of its SWEEPS, file.py:name, or a JSON file.")
        least = int(command == "launch")
        number("workers", 1, "How many; 0 prepares the study.", lower_bound=least)
        number("tries", 2, "Runs of a trial that fail by themselves.", lower_bound=1)
        number("deaths", 5, "Workers that may die of a trial.", lower_bound=1)
        number(
            "lease_seconds", 90, "Silence after which a worker is gone.", lower_bound=6
        )
    if command == "run":
        flags.DEFINE_enum(
            "platform", "auto", devices.PLATFORMS, "Devices.", flag_values=values
        )
        number("per_worker", 1, "GPUs or TPU chips of each worker.", lower_bound=1)
        flags.DEFINE_bool(
            "dry_run", False, "Say what would be run, then exit.", flag_values=values
        )
    if command == "launch":
        flags.DEFINE_enum("to", None, ("slurm", "gke"), "Where.", flag_values=values)
        text("name", "sweep", "What the jobs are called.")
        number("nodes", 1, "slurm: hosts of each worker.", lower_bound=1)
        flags.DEFINE_multi_string(
            "sbatch", [], "slurm: one more option, --gres=gpu:1.", flag_values=values
        )
        text("image", None, "gke: the container.")
        text("accelerator", "tpu-v6e-slice", "gke: the kind of TPU.")
        text("topology", "2x4", "gke: of each slice.")
        number("chips", 4, "gke: chips of one host.", lower_bound=1)
        text("queue", "kexue", "gke: Kueue's local queue.")
        text("claim", "kexue-runs", "gke: the volume claim of the runs.")


def main(argv: Sequence[str]) -> int:
    """Does what the arguments say and returns the exit code."""
    words = list(argv)
    command = words.pop(0) if words and words[0] in COMMANDS else "run"
    values = flags.FlagValues()
    define_flags(values, command)
    if any(word in ("-h", "--help") for word in words):
        print(__doc__)
        print(values.get_help())
        return 0
    warnings.filterwarnings("ignore", message=".* is experimental", module="optuna")
    try:
        left = values(["sweep", *words])[1:]
        if left:
            raise configs.ConfigError(f"what is {left[0]!r}? Flags start with --")
        does = {"run": _run, "worker": _work, "serve": _serve, "report": _report}
        return (does | {"launch": _launch})[command](values)
    except flags.UnrecognizedFlagError as error:
        hint = command_line.nearest(error.flagname, list(values))
        problem = configs.ConfigError(f"there is no flag --{error.flagname}{hint}")
        return command_line.leave(problem, command_line.EXIT_CONFIG)
    except (configs.ConfigError, flags.Error) as error:
        return command_line.leave(error, command_line.EXIT_CONFIG)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# The whole sweep on this host


def _run(values: flags.FlagValues) -> int:
    sweep = _sweep_of(values)
    if values.dry_run:
        return _say(sweep)
    from experiments.sweeps import results, storage

    shares = devices.shares(
        values.workers, platform=values.platform, per_worker=values.per_worker
    )
    try:
        joined, url = _prepare(values, sweep)
        slots = joined.slots
        over, code = slots.are_over(), 0
        if values.workers and not over:
            options = _worker_options(values, joined)
            code = supervisor.supervise(
                url, options, shares, begun=slots.begun, log=_log
            )
        if slots.are_over():
            code = 0
        rows = results.rows_of(slots.all())
    except storage.StorageGone as error:
        return _later(error)
    if not code:
        _write(rows, joined)
        print(results.table(rows, sweep))
    print(results.summary(rows))
    return code or int(any(row.state == "failed" for row in rows))


def _sweep_of(values: flags.FlagValues):
    from experiments.sweeps import definition

    if not values.config:
        raise configs.ConfigError("--config is missing")
    return definition.load_sweep(values.config, values.sweep)


def _prepare(values: flags.FlagValues, sweep):
    """Makes or extends the study; returns it and the address of its storage."""
    from experiments.sweeps import storage, studies
    from experiments.sweeps.slots import Limits

    study = values.study or f"{sweep.experiment.name}/{sweep.name}"
    workdir = Path(values.workdir or Path("runs") / "sweeps" / study)
    workdir.mkdir(parents=True, exist_ok=True)
    url = storage.address(values.storage, values.storage_file, workdir / "study.db")
    silence = float(values.lease_seconds)
    limits = Limits(values.tries, values.deaths, silence / 6, silence)
    opened = storage.open_storage(url, patience=values.patience, log=_log)
    joined = studies.make(opened, study, sweep, limits, workdir=workdir, log=_log)
    if values.retry:
        _log(f"{joined.slots.try_again()} failed trials are tried again")
    return joined, url


def _worker_options(values: flags.FlagValues, joined) -> list[str]:
    """What a worker on any host is told; the storage comes by its environment."""
    return [
        f"--study={joined.slots.study.study_name}",
        f"--config={joined.sweep.spec}",
        f"--workdir={joined.workdir.absolute()}",
        f"--patience={values.patience}",
    ]


def _launch(values: flags.FlagValues) -> int:
    from experiments.sweeps import launch, storage

    if not values.to:
        raise configs.ConfigError("--to is missing: slurm or gke")
    sweep = _sweep_of(values)
    try:
        joined, url = _prepare(values, sweep)
    except storage.StorageGone as error:
        return _later(error)
    here = url.startswith("sqlite")
    if here and values.to == "gke":
        raise configs.ConfigError(
            "--storage: workers on several hosts need PostgreSQL, or grpc:// before it"
        )
    folder = joined.workdir.absolute() / "launch"
    folder.mkdir(exist_ok=True)
    command = ["python", "-m", "experiments.sweep", "worker"]
    command += _worker_options(values, joined)
    if values.to == "slurm":
        if values.storage_file:
            command.append(f"--storage_file={Path(values.storage_file).absolute()}")
        elif storage.shown(url) == url:
            command.append(f"--storage={url}")
        command[0] = sys.executable
        text = launch.slurm_script(
            command,
            workers=values.workers,
            nodes=values.nodes,
            name=values.name,
            logs=str(folder),
            options=values.sbatch,
        )
        file = folder / "slurm.sh"
        then = [f"sbatch --chdir={configs.ROOT} {file}"]
        if here:
            then.append("(SQLite: only if all of its tasks run on this very host)")
    else:
        if not values.image:
            raise configs.ConfigError("--image is missing: the container of a worker")
        sets = launch.job_sets(
            command,
            workers=values.workers,
            name=values.name,
            image=values.image,
            accelerator=values.accelerator,
            topology=values.topology,
            chips=values.chips,
            queue=values.queue,
            claim=values.claim,
            mount=str(joined.workdir.absolute()),
        )
        text, file = launch.as_yaml(sets), folder / "jobsets.yaml"
        then = [
            f"kubectl create secret generic {launch.SECRET} --from-file=url=FILE",
            f"kubectl apply -f {file}",
        ]
    file.write_text(text, "utf-8")
    print("\n".join([f"{file} is written; now:", *then]))
    return 0


def _say(sweep) -> int:
    if "space" in sweep.data:
        print(f"{sweep.trials} trials of {len(sweep.space)} axes:")
        for path, axis in sweep.space.items():
            print(f"  {path}: {axis}")
        return 0
    points = sweep.points()
    print(f"{len(points)} runs:")
    for point in points:
        said = " ".join(f"{path}={value}" for path, value in point.named().items())
        print(f"  {point.id}  {said}")
    return 0


def _later(error: Exception) -> int:
    problem = RuntimeError(f"{error}. Nothing is lost: the same command goes on")
    return command_line.leave(problem, EXIT_LATER)


def _write(rows, joined) -> None:
    """Writes page and CSV, unless those that are there say the same."""
    from experiments.sweeps import results

    file = joined.workdir / "results.csv"
    text = results.as_csv(rows, joined.sweep)
    if file.exists() and file.read_text("utf-8") == text:
        return
    from experiments.sweeps import page

    command = ["python", "-m", "experiments.sweep", *sys.argv[1:]]
    study = joined.slots.study
    written = page.write_page(
        rows, joined.sweep, study, joined.workdir, command=command
    )
    _log(f"the page is {written}")


# One worker


def _follow_parent() -> None:
    """Stops this process when the one that keeps it at work is gone."""
    parent = os.environ.get(supervisor.PARENT)
    if parent is None:
        return

    def watch():
        while os.getppid() == int(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _work(values: flags.FlagValues) -> int:
    from experiments.run import set_up_jax

    _follow_parent()
    set_up_jax(values)
    import jax

    from experiments.sweeps import storage, studies, worker
    from experiments.sweeps.definition import Sweep

    chief, about, joined = jax.process_index() == 0, None, None
    try:
        if chief:
            if not values.study:
                raise configs.ConfigError("--study is missing")
            url = storage.address(values.storage, values.storage_file, Path("study.db"))
            opened = storage.open_storage(url, patience=values.patience, log=_log)
            name = values.worker or f"worker {os.getpid()}"
            joined = studies.join(
                opened,
                values.study,
                worker=name,
                workdir=Path(values.workdir) if values.workdir else None,
                spec=values.config,
                log=_log,
            )
            sweep = joined.sweep
            about = [sweep.spec, sweep.data, sweep.name, str(joined.workdir)]
        spec, data, name, workdir = worker.agreed(about)
        sweep = joined.sweep if joined else Sweep(spec, data, name=name)
        slots = joined.slots if joined else None
        made = worker.Worker(sweep, Path(workdir), slots, log=_log)
        why = made.work(most=values.trials)
    except storage.StorageGone as error:
        return _later(error)
    codes = {
        worker.OVER: 0,
        worker.LEAVE: EXIT_LATER,
        worker.MORE: supervisor.EXIT_MORE,
    }
    return codes[why]


def _serve(values: flags.FlagValues) -> int:
    from optuna.storages import run_grpc_proxy_server

    from experiments.sweeps import storage

    url = storage.address(values.storage, values.storage_file, Path("study.db"))
    try:
        opened = storage.open_storage(url, patience=values.patience, log=_log)
    except storage.StorageGone as error:
        return _later(error)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _log(f"{storage.shown(url)} is served at {values.host}:{values.port}")
    run_grpc_proxy_server(opened, host=values.host, port=values.port)
    return 0


def _report(values: flags.FlagValues) -> int:
    from experiments.sweeps import results, storage, studies

    url = storage.address(values.storage, values.storage_file, Path("study.db"))
    try:
        opened = storage.open_storage(url, patience=values.patience, log=_log)
        joined = studies.join(
            opened,
            values.study or "",
            workdir=Path(values.workdir) if values.workdir else None,
            spec=values.config,
        )
        rows = results.rows_of(joined.slots.all())
    except storage.StorageGone as error:
        return _later(error)
    joined.workdir.mkdir(parents=True, exist_ok=True)
    _write(rows, joined)
    print(results.table(rows, joined.sweep))
    print(results.summary(rows))
    return 0


if __name__ == "__main__":
    _code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)
