import random
import threading
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from experiments import configs
from experiments.configs import ConfigError
from experiments.sweeps import slots as slots_module
from experiments.sweeps import studies
from experiments.sweeps.definition import Sweep
from experiments.sweeps.slots import (
    CHOICE,
    DIED,
    ERROR,
    STOPPED,
    Lease,
    Limits,
    identity,
    is_gone,
)
from experiments.sweeps.storage import open_storage

SPEC = str(Path(__file__).with_name("config.py").relative_to(configs.ROOT))
VALUE = {"x/value": "min"}
THREE = {"grid": {"task.x": [0.0, 1.0, 2.0]}, "objective": VALUE}


class Clock:
    """A clock that tests move."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(slots_module.time, "monotonic", lambda: self.now)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def make(url, data=THREE, **limits):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(url, patience=5)
    sweep = Sweep(SPEC, data)
    return studies.make(storage, "s", sweep, Limits(**limits), workdir=Path("w")).slots


def join(url, pid=None):
    """The slots as another process, which need not exist, sees them."""
    found = studies.join(open_storage(url, patience=5), "s", spec=SPEC).slots
    found.owner |= {"pid": pid or 1, "host": "elsewhere"}
    return found


def states(slots):
    return [slot.state for slot in slots.all().values()]


def test_every_point_waits_in_its_slot_and_is_taken_once(url):
    slots, other = make(url), join(url)
    assert states(slots) == ["waiting"] * 3
    taken = [x.take() for x in (slots, other, slots)]
    xs = [trial.user_attrs[CHOICE]["task.x"] for trial in taken]
    assert xs == [0.0, 1.0, 2.0]
    assert slots.take() is None
    assert taken[0].params == {"variant": "plain", "task.x": 0.0}


def test_workers_at_once_never_take_the_same_trial(url):
    data = {"grid": {"task.x": [float(x) for x in range(12)]}}
    make(url, data)
    found, start = [], threading.Barrier(3)

    def work():
        slots = join(url)
        start.wait()
        while trial := slots.take():
            found.append(trial.number)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(12))


def test_a_study_made_again_has_the_same_slots_and_more_points_are_added(url):
    first = make(url)
    first.tell(first.take(), [1.0], pruned=False)
    again = make(url)
    assert states(again) == ["done", "waiting", "waiting"]
    more = THREE | {"grid": {"task.x": [2.0, 1.0, 0.0, 3.0]}}
    assert states(make(url, more)) == ["done", "waiting", "waiting", "waiting"]


@pytest.mark.parametrize(
    "data",
    [
        THREE | {"grid": {"task.x": [0.0, 1.0]}},
        THREE | {"objective": {"x/value": "max"}},
        {
            "space": {"task.x": {"low": 0.0, "high": 1.0}},
            "trials": 3,
            "objective": VALUE,
        },
    ],
)
def test_another_sweep_under_the_same_name_is_refused(url, data):
    make(url)
    with pytest.raises(ConfigError, match=r"study 's' holds another sweep"):
        make(url, data)


def test_a_space_may_only_gain_trials(url):
    axes = {"task.x": {"low": 0.0, "high": 1.0}}
    data = {"space": axes, "trials": 2, "objective": VALUE}
    make(url, data)
    assert states(make(url, data | {"trials": 4})) == ["waiting"] * 4
    with pytest.raises(ConfigError, match="may only gain points or trials"):
        make(url, data)


def test_random_points_are_drawn_beforehand_and_alike_everywhere(url, tmp_path):
    axes = {
        "variant": {"choices": ["plain", "shifted"]},
        "task.x": {"low": -1.0, "high": 1.0, "when": {"variant": "plain"}},
        "task.count": {"low": 1, "high": 9},
        "task.y": {"low": 1e-4, "high": 1.0, "log": True},
        "task.sizes": {"choices": [[1], [2, 3]]},
    }
    sampler = {"make": "optuna.samplers:RandomSampler"}
    data = {"space": axes, "trials": 20, "objective": VALUE, "sampler": sampler}

    def drawn(url, data):
        trials = make(url, data).trials()
        return [trial.user_attrs[CHOICE] for trial in trials]

    here = drawn(url, data)
    assert here == drawn(f"sqlite:///{tmp_path / 'other.db'}", data)
    other = drawn(f"sqlite:///{tmp_path / 'third.db'}", data | {"seed": 1})
    assert here != other
    assert all(("task.x" in x) == (x["variant"] == "plain") for x in here)
    assert all(type(x["task.count"]) is int for x in here)
    assert {str(x["task.sizes"]) for x in here} == {"[1]", "[2, 3]"}
    assert min(x["task.y"] for x in here) < 1e-2


def test_a_trial_that_fails_is_tried_again_up_to_its_limit(url):
    slots = make(url, tries=2)
    for count in (1, 2):
        trial = slots.take()
        assert trial.user_attrs[CHOICE]["task.x"] == (0.0 if count == 1 else 1.0)
        slots.end(trial, ERROR, f"no {count}")
    # the retries wait behind those that were there before
    found = [slots.take() for _ in range(3)]
    assert [t.user_attrs[CHOICE]["task.x"] for t in found] == [2.0, 0.0, 1.0]
    slots.end(found[1], ERROR, "no 3")
    assert states(slots) == ["failed", "running", "running"]
    assert [x["why"] for x in slots.all()[0].ended] == ["no 1", "no 3"]
    assert slots.take() is None


def test_being_stopped_is_no_failure(url):
    slots = make(url, tries=1, deaths=1)
    for _ in range(4):
        trial = slots.take()
        assert slots.end(trial, STOPPED, "asked to stop")
    slots.settle()
    assert states(slots) == ["waiting"] * 3


def test_a_worker_that_is_silent_loses_its_trial_by_the_clock_of_who_looks(
    url, monkeypatch
):
    slots, clock = make(url, expire_seconds=60.0), Clock(monkeypatch)
    other = join(url)
    trial = other.take()
    slots.settle()
    clock.now = 59.0
    slots.settle()
    assert states(slots)[0] == "running"
    slots.storage.set_trial_user_attr(trial._trial_id, "lease", [other.owner, 1])
    slots.settle()  # it was renewed, so the count begins anew
    clock.now = 118.0
    slots.settle()
    assert states(slots)[0] == "running"
    clock.now = 120.0
    slots.settle()
    assert states(slots)[0] == "waiting"
    assert slots.all()[0].ended[0]["kind"] == DIED
    assert slots.all()[0].trial.number == 3


def test_a_trial_taken_by_a_worker_that_died_at_once_is_not_lost(url, monkeypatch):
    slots, clock = make(url, expire_seconds=60.0), Clock(monkeypatch)
    key = slots.trials()[0]._trial_id
    slots.storage.set_trial_state_values(key, TrialState.RUNNING)  # and no lease
    slots.settle()
    clock.now = 61.0
    slots.settle()
    assert states(slots) == ["waiting"] * 3


def test_after_an_outage_nobody_is_taken_for_dead(url, monkeypatch):
    slots, clock = make(url, expire_seconds=60.0), Clock(monkeypatch)
    other = join(url)
    other.take()
    slots.settle()
    slots.storage.outages += 1  # two minutes, in which nobody could renew
    clock.now = 120.0
    slots.settle()
    assert states(slots)[0] == "running"
    clock.now = 181.0
    slots.settle()
    assert states(slots)[0] == "waiting"


def test_a_dead_process_of_this_host_is_known_at_once(url):
    slots, other = make(url), join(url)
    other.owner |= identity() | {"started": "1"}  # its number is another's now
    other.take()
    slots.settle()
    assert slots.all()[0].ended[0]["kind"] == DIED
    assert not is_gone(identity())
    assert not is_gone(other.owner | {"space": "pid:[1]"})
    assert not is_gone(other.owner | {"boot": "another"})


def test_who_lost_a_trial_cannot_tell_how_it_ended(url, monkeypatch):
    slots, clock = make(url, expire_seconds=60.0), Clock(monkeypatch)
    other = join(url)
    trial = other.take()
    slots.settle()
    clock.now = 61.0
    slots.settle()
    assert not other.tell(trial, [1.0], pruned=False)
    assert not other.end(trial, ERROR, "no")
    assert states(slots) == ["waiting"] * 3
    assert slots.all()[0].ended[0]["kind"] == DIED


def test_who_lost_a_trial_is_told(url):
    slots = make(url, renew_seconds=0.01)
    trial, told = slots.take(), threading.Event()
    with Lease(slots, trial, lost=told.set) as lease:
        slots.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        assert told.wait(20)
        assert lease.is_lost


def test_telling_twice_is_telling_once(url):
    slots = make(url)
    trial = slots.take()
    assert slots.tell(trial, [1.0], pruned=False)
    assert slots.tell(trial, [1.0], pruned=False)  # the first answer was lost
    assert states(slots) == ["done", "waiting", "waiting"]


def test_of_two_trials_for_one_slot_all_run_the_first(url):
    slots = make(url)
    first = slots.trials()[0]
    slots.add(0, user_attrs={CHOICE: first.user_attrs[CHOICE]})  # as after an outage
    other = join(url)
    taken = [other.take().user_attrs["slot"] for _ in range(3)]
    assert taken == [0, 1, 2]
    assert other.take() is None
    trial = slots.trials()[3]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["ended"]["kind"] == "duplicate"
    assert slots.all()[0].ended == ()


def test_whatever_happens_each_slot_is_done_exactly_once(url):
    """Workers that die, fail, stall and come back, in an order that chance decides."""
    data = {"grid": {"task.x": [float(x) for x in range(4)]}, "objective": VALUE}
    slots = make(url, data, tries=50, deaths=50)
    draw, held = random.Random(0), []
    workers = [join(url, pid=pid) for pid in (2, 3, 4)]
    for _ in range(500):
        worker = draw.choice(workers)
        trial = worker.take()
        if trial is None and all(slot.is_over for slot in slots.all().values()):
            break
        if trial is not None:
            held.append((worker, trial))
        if held and draw.random() < 0.5:
            owner, mine = held.pop(draw.randrange(len(held)))
            fate = draw.choice(["done", "error", "stopped", "dies", "dies late"])
            frozen = slots.storage.get_trial(mine._trial_id)
            if fate == "done":
                owner.tell(mine, [1.0], pruned=False)
            elif fate in ("error", "stopped"):
                owner.end(mine, fate, "")
            else:
                slots.end(frozen, DIED, "")
                if fate == "dies late":
                    assert not owner.tell(mine, [1.0], pruned=False)
    done = [t for t in slots.trials() if t.state == TrialState.COMPLETE]
    assert sorted(t.user_attrs["slot"] for t in done) == list(range(4))


def test_slots_are_of_this_storage_alone(url):
    with pytest.raises(ConfigError, match="no study 'other'"):
        studies.join(open_storage(url, patience=5), "other")
    make(url)
    storage = open_storage(url, patience=5)
    with pytest.raises(ConfigError, match="outside of configs; if you trust it"):
        studies.join(storage, "s")
    optuna.create_study(study_name="alien", storage=storage)
    with pytest.raises(ConfigError, match="was not made by"):
        studies.join(storage, "alien")


def test_what_failed_is_tried_again_only_when_asked(url):
    slots = make(url, tries=1)
    slots.end(slots.take(), ERROR, "no")
    slots.settle()
    assert states(slots) == ["failed", "waiting", "waiting"]
    assert slots.try_again() == 1
    assert states(slots) == ["waiting"] * 3
    assert slots.try_again() == 0
    assert slots.all()[0].trial.user_attrs[CHOICE] == {
        "variant": "plain",
        "task.x": 0.0,
    }


def test_trying_again_twice_at_once_is_trying_again_once(url):
    slots, other = make(url, tries=1), join(url)
    slots.end(slots.take(), ERROR, "no")
    failed = [slots.settle()[0], other.settle()[0]]
    for who, slot in zip((slots, other), failed, strict=True):
        who._add_after(slot, again=True)
    taken = [slots.take() for _ in range(3)] + [other.take()]
    assert [trial and trial.user_attrs["slot"] for trial in taken] == [1, 2, 0, None]
    slots.end(taken[2], ERROR, "no")
    assert slots.settle()[0].state == "failed"
    assert slots.take() is None
