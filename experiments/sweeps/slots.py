"""The slots of a study: each is a point of the sweep that is to be run once.

Optuna keeps the queue and the record. A slot's first trial waits there from the start;
a trial whose run fails, or whose worker dies, ends as FAIL, and another of the same
slot takes its place, up to a limit. Workers may die anywhere between, and may do the
same thing twice, so nothing here depends on a change being made once:

- A trial runs only if no other of its slot with a lower number waits, runs or is done.
  Numbers are given out one by one, so that of several trials for one slot all workers
  see the same one as its own; the others are told to be duplicates.
- Which slots lack a trial follows from the trials alone. Any worker adds it.
- A worker holds its trial by a *lease*, an attribute that it renews. Those who look on
  count by their own clocks how long it has stayed the same, and begin anew when the
  storage was away: no two clocks are compared. Optuna's own heartbeats compare times of
  the database, which after an outage makes every trial look dead; they overlook trials
  whose worker died before the first; and only some storages have them.
"""

import math
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

STATES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
}
DUPLICATE, ERROR, DIED, STOPPED = "duplicate", "error", "died", "stopped"
LEASE, ENDED, SLOT, CHOICE, AGAIN = "lease", "ended", "slot", "choice", "again"


class Limits(NamedTuple):
    """How often a slot is tried.

    Attributes:
      tries: trials whose run fails by itself.
      deaths: trials whose worker dies.
      renew_seconds: between two renewals of a lease.
      expire_seconds: after which a lease that stays the same is void.
    """

    tries: int = 2
    deaths: int = 5
    renew_seconds: float = 15.0
    expire_seconds: float = 90.0


class Slot(NamedTuple):
    """A slot and what became of it.

    `state` is ``waiting``, ``running``, ``lacking`` (a trial is to be added), ``done``,
    ``pruned`` or ``failed``; `trial` is the trial that says so, `ended` why those
    before it ended.
    """

    number: int
    state: str
    trial: FrozenTrial
    ended: tuple[Mapping[str, Any], ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "pruned", "failed")


def slots_of(trials: Sequence[FrozenTrial], limits: Limits) -> dict[int, Slot]:
    """Returns every slot, by number, from all trials of a study."""
    groups: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: trial.number):
        if SLOT in trial.user_attrs:
            groups[trial.user_attrs[SLOT]].append(trial)
    return {number: _slot(number, groups[number], limits) for number in sorted(groups)}


def _slot(number: int, trials: Sequence[FrozenTrial], limits: Limits) -> Slot:
    kept = [(t, t.user_attrs.get(ENDED, {"kind": DIED, "why": ""})) for t in trials]
    kept = [
        (t, end) for t, end in kept if not (_failed(t) and end["kind"] == DUPLICATE)
    ]
    anew = [
        i
        for i, (trial, _) in enumerate(kept)
        if AGAIN in trial.user_attrs and all(_failed(t) for t, _ in kept[:i])
    ]
    kept = kept[max(anew, default=0) :]  # tries count from where they began anew
    ended = tuple(end for trial, end in kept if _failed(trial))
    live = [trial for trial, _ in kept if not _failed(trial)]
    if live:
        return Slot(number, STATES[live[0].state], live[0], ended)
    count = lambda kind: sum(end["kind"] == kind for end in ended)  # noqa: E731
    over = count(ERROR) >= limits.tries or count(DIED) >= limits.deaths
    return Slot(number, "failed" if over else "lacking", kept[-1][0], ended)


def _failed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL


class Slots:
    """The slots of one study, as one worker sees them."""

    def __init__(
        self,
        study: optuna.Study,
        storage: Any,
        limits: Limits,
        *,
        worker: str = "",
        log: Callable[[str], None] = lambda line: None,
    ):
        """Looks at a study in its `Patient` storage; `worker` is a name for people."""
        self.study, self.storage = study, storage
        self.limits, self.log = limits, log
        self.owner = identity() | {"worker": worker}
        self._seen: dict[int, tuple[Any, float]] = {}
        self._queue: list[FrozenTrial] = []  # what waited at the last look
        self._read_at = -math.inf
        self._outages = self.storage.outages

    def trials(self) -> list[FrozenTrial]:
        """Returns all trials; they are not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def all(self) -> dict[int, Slot]:
        """Returns all slots."""
        return slots_of(self.trials(), self.limits)

    def begun(self) -> int:
        """Returns how many trials have begun."""
        waiting = TrialState.WAITING
        return sum(trial.state != waiting for trial in self.trials())

    def are_over(self) -> bool:
        """Returns whether nothing is left to do."""
        return all(slot.is_over for slot in self.all().values())

    def add(self, number: int, **fields: Any) -> None:
        """Adds a trial to a slot; `fields` are those of `optuna.create_trial`."""
        attrs = {SLOT: number} | fields.pop("user_attrs", {})
        self.study.add_trial(
            optuna.create_trial(state=TrialState.WAITING, user_attrs=attrs, **fields)
        )

    def try_again(self) -> int:
        """Gives each failed slot as many tries as at the start; how many there are."""
        failed = [slot for slot in self.settle().values() if slot.state == "failed"]
        for slot in failed:
            self._add_after(slot, again=True)
        return len(failed)

    def _add_after(self, slot: Slot, *, again: bool = False) -> None:
        """Adds a trial like the last one of a slot."""
        last = slot.trial
        kept = {k: v for k, v in last.user_attrs.items() if k in (CHOICE, "id")}
        drawn = CHOICE in kept  # else its worker died while it was drawn
        self.add(
            slot.number,
            params=last.params if drawn else {},
            distributions=last.distributions if drawn else {},
            user_attrs=kept | ({AGAIN: True} if again else {}),
        )

    def take(
        self, *, fits: Callable[[FrozenTrial], bool] = lambda trial: True
    ) -> optuna.Trial | None:
        """Returns a trial that is now this worker's to run, or None if none waits.

        Args:
          fits: says whether a trial may be taken.
        """
        late = time.monotonic() - self._read_at > self.limits.renew_seconds
        if late or not any(map(fits, self._queue)):
            self.settle()
        for trial in [trial for trial in self._queue if fits(trial)]:
            self._queue.remove(trial)
            try:
                key = trial._trial_id
                if self.storage.set_trial_state_values(key, TrialState.RUNNING):
                    self.storage.set_trial_user_attr(key, LEASE, [self.owner, 0])
                    return optuna.Trial(self.study, key)
            except UpdateFinishedTrialError:
                continue
        return None

    def settle(self) -> dict[int, Slot]:
        """Ends dead trials and duplicates, adds those that lack; returns the slots."""
        trials = self.trials()
        dead = self._dead([t for t in trials if t.state == TrialState.RUNNING])
        for trial, why in dead:
            self.log(f"trial {trial.number}: {why}")
            self.end(trial, DIED, why)
        slots = slots_of(self.trials() if dead else trials, self.limits)
        chosen = {slot.trial.number for slot in slots.values()}
        for trial in trials:
            if trial.state == TrialState.WAITING and trial.number not in chosen:
                self.end(trial, DUPLICATE, "another trial has this slot")
        lacking = [slot for slot in slots.values() if slot.state == "lacking"]
        for slot in lacking:
            self._add_after(slot)
        if lacking:
            slots = slots_of(self.trials(), self.limits)
        queue = [slot.trial for slot in slots.values() if slot.state == "waiting"]
        self._queue = sorted(queue, key=lambda trial: trial.number)
        self._read_at = time.monotonic()
        return slots

    def end(self, trial: FrozenTrial | optuna.Trial, kind: str, why: str) -> bool:
        """Ends a trial as FAIL, unless it has ended; says whether it was this call."""
        key = trial._trial_id
        try:
            if isinstance(trial, FrozenTrial) and trial.state == TrialState.RUNNING:
                now = self.storage.get_trial(key)
                if now.user_attrs.get(LEASE) != trial.user_attrs.get(LEASE):
                    return False  # it was renewed meanwhile
            self.storage.set_trial_user_attr(key, ENDED, {"kind": kind, "why": why})
            return self.storage.set_trial_state_values(key, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def tell(
        self, trial: optuna.Trial, values: Sequence[float] | None, *, pruned: bool
    ) -> bool:
        """Records how a trial of this worker ended; false if it was not its any more.

        Made twice, as after an outage, it finds what the first call did.
        """
        state = TrialState.PRUNED if pruned else TrialState.COMPLETE
        frozen = self.storage.get_trial(trial._trial_id)
        lease = frozen.user_attrs.get(LEASE)
        if not lease or lease[0] != self.owner:
            return False
        try:
            self.study.tell(trial, None if pruned else values, state=state)
        except (ValueError, UpdateFinishedTrialError):
            after = self.storage.get_trial(trial._trial_id)
            if not after.state.is_finished():
                raise
            return after.state == state
        return True

    def _dead(self, running: Sequence[FrozenTrial]) -> list[tuple[FrozenTrial, str]]:
        now, dead = time.monotonic(), []
        if self.storage.outages != self._outages:  # nobody could renew meanwhile
            self._outages, self._seen = self.storage.outages, {}
        seen = {}
        for trial in running:
            lease = trial.user_attrs.get(LEASE)
            if lease and lease[0] == self.owner:
                continue
            before, since = self._seen.get(trial._trial_id, (None, now))
            seen[trial._trial_id] = (lease, since if before == lease else now)
            still = now - seen[trial._trial_id][1]
            owner = lease[0] if lease else {"worker": "a worker", "host": "?"}
            name = f"{owner['worker']} on {owner['host']}"
            if lease and is_gone(owner):
                dead.append((trial, f"{name} is gone"))
            elif still > self.limits.expire_seconds:
                dead.append((trial, f"no sign of {name} for {still:.0f} seconds"))
        self._seen = seen
        return dead


class Lease:
    """Keeps a trial while the ``with`` block runs; calls `lost` if it is not ours."""

    def __init__(self, slots: Slots, trial: optuna.Trial, lost: Callable[[], None]):
        self._slots, self._key, self._lost = slots, trial._trial_id, lost
        self._stop, self.is_lost = threading.Event(), False
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._stop.set()

    def _renew(self) -> None:
        storage, owner, count = self._slots.storage, self._slots.owner, 0
        while not self._stop.wait(self._slots.limits.renew_seconds):
            count += 1
            try:
                storage.set_trial_user_attr(self._key, LEASE, [owner, count])
            except UpdateFinishedTrialError:
                if not self._stop.is_set():
                    self.is_lost = True
                    self._lost()
                return
            except Exception as error:  # said by the next call of the worker itself
                self._slots.log(f"the lease cannot be renewed: {error}")
                return


def identity() -> dict[str, Any]:
    """Returns what tells this process from all others, of any host and time."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id").strip(),
        "space": _link("/proc/self/ns/pid"),
        "pid": pid,
        "started": _started(pid),
    }


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether a process of this very host, and no other, is known to have ended."""
    here = identity()
    if not here["boot"] or any(
        owner.get(key) != here[key] for key in ("host", "boot", "space")
    ):
        return False
    return _started(owner["pid"]) != owner["started"]


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot; empty if there is none."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
