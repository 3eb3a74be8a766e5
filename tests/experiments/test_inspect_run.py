"""`disinhib inspect RUN` looks at every file of a run; resuming brings its picture up to date."""

import json
import shutil

import pytest

from disinhib.experiments.training import resume, train

from .test_command_line import disinhib
from .test_training import Watcher, new_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    train(*new_run(out, epochs=3), Watcher())
    return out


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def told(run):
    """Lines in which something is wrong."""
    result = disinhib("inspect", run)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    (first,) = [number for number, line in enumerate(lines) if "epochs are saved" in line]
    table = next(n for n, line in enumerate(lines) if n > first and not line.startswith("  "))
    return lines[first + 1 : table]


def test_of_a_whole_run_nothing_is_wrong(run):
    assert told(run) == []


def test_a_best_checkpoint_that_is_gone_damaged_or_another_is_told(run):
    best = run / "best.h5"
    content = best.read_bytes()
    best.write_bytes(content[:-100])
    (line,) = told(run)
    assert "best.h5: not a readable HDF5 file" in line or "best.h5: the file is damaged" in line
    best.unlink()
    assert told(run) == [f"  {best}: no such file"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    accuracies = [row["valid_accuracy"] for row in rows]
    epoch = accuracies.index(max(accuracies)) + 1
    # The newest checkpoint is of epoch 3, the one before of epoch 2.
    other, name = (3, "checkpoint.h5") if epoch != 3 else (2, "checkpoint-1.h5")
    shutil.copy(run / name, best)
    line = f"{best} is of epoch {other}: by metrics.jsonl, epoch {epoch} is the best"
    assert told(run) == [f"  {line}"]


def test_a_configuration_that_is_gone_wrong_or_another_is_told(run):
    config = run / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("seed = 0", "seed = 7"))
    assert told(run) == [f"  {config}: seed is 7, 0 in the checkpoint"]
    config.write_text(text.replace("seed = 0", "seeed = 0"))
    (line,) = told(run)
    assert f"{config}: unknown key 'seeed'" in line
    config.write_text("= no TOML")
    (line,) = told(run)
    assert "not valid TOML" in line
    config.unlink()
    assert told(run) == [f"  {config}: no such configuration file"]


def test_a_resumed_run_s_picture_shows_what_its_checkpoint_holds(tmp_path):
    """A kill may fall between checkpoint and picture, whichever is older then."""
    run = tmp_path / "run"
    pictures = []
    for epochs in (1, 2, 3):
        train(*(new_run(run, epochs=1) if epochs == 1 else resume(run, epochs)), Watcher())
        pictures.append((run / "curves.png").read_bytes())
    assert len(set(pictures)) == 3
    for other in (pictures[0], None):
        if other is None:
            (run / "curves.png").unlink()
        else:
            (run / "curves.png").write_bytes(other)
        resumed, _, _ = resume(run, 4)
        resumed.lock.release()
        assert (run / "curves.png").read_bytes() == pictures[2]
    # Nor does an old one stay where none is drawn.
    resumed, _, _ = resume(run, 4, draws=False)
    resumed.lock.release()
    assert not (run / "curves.png").exists()


def test_of_no_saved_epoch_there_is_no_picture(tmp_path):
    run = tmp_path / "run"
    watcher = Watcher(stop_after=5)
    train(*new_run(run, epochs=1), watcher, watcher.stop)
    # As of an epoch whose checkpoint was lost.
    (run / "curves.png").write_bytes(b"of the first epoch")
    resumed, position, _ = resume(run, 1)
    resumed.lock.release()
    assert position.epochs == 0
    assert not (run / "curves.png").exists()
