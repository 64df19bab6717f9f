import numpy as np

from kexue_jax.train.incidents import Incidents
from kexue_jax.train.rows import read_rows


def opened(path, said=None):
    return Incidents(path, log=(said if said is not None else []).append)


def test_an_incident_is_in_the_file_and_in_the_log(tmp_path):
    path, said = tmp_path / "incidents.jsonl", []
    incidents = opened(path, said)
    incidents.not_finite(3, "loss", float("nan"), 4, {"index": np.array([5, 6])})
    incidents.rolled_back(2, spiked=9)
    incidents.save_failed(9, OSError("disk full"))
    incidents.close()
    rows = read_rows(path)
    assert [row["event"] for row in rows] == [
        "not finite",
        "rolled back",
        "save failed",
    ]
    assert rows[0] == {
        "step": 3,
        "event": "not finite",
        "first": "loss",
        "loss": None,
        "batch": 4,
        "examples": [5, 6],
    }
    assert rows[1] == {"step": 2, "event": "rolled back", "from": 9}
    assert "first in loss" in said[0]
    assert "9: back to step 2" in said[1]
    assert "disk full" in said[2]


def test_a_batch_without_indices_is_known_by_a_hash_of_its_rows(tmp_path):
    path = tmp_path / "incidents.jsonl"
    incidents = opened(path)
    for step, x in enumerate((np.zeros(3), np.zeros(3), np.ones(3))):
        incidents.not_finite(step, "loss", 0.0, step, {"x": x})
    incidents.close()
    one, same, other = (row["sha256"] for row in read_rows(path))
    assert one == same != other


def test_going_on_drops_later_incidents_and_rollbacks_yet_to_be_made(tmp_path):
    path = tmp_path / "incidents.jsonl"
    incidents = opened(path)
    incidents.rolled_back(2, spiked=5)
    incidents.save_failed(4, OSError())
    incidents.rolled_back(4, spiked=8)
    incidents.save_failed(9, OSError())
    incidents.close()
    again = opened(path)
    again.start_from(6, rollbacks=1)
    again.close()
    assert [(row["step"], row["event"]) for row in read_rows(path)] == [
        (2, "rolled back"),
        (4, "save failed"),
    ]
