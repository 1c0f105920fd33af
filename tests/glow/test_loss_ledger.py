"""The ledger by itself: size, epochs, recording, files."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from glow_trl import LossLedger
from glow_trl.errors import UserError


def ids(*values):
    return torch.tensor(values, dtype=torch.int64)


def values(tensor):
    return [None if np.isnan(value) else round(value, 6) for value in tensor.tolist()]


def test_size():
    """Eight bytes a sample, in memory and but for a header in the file."""
    ledger = LossLedger(100_000)
    assert len(ledger) == 100_000 and ledger.nbytes == 1_200_000
    assert ledger.previous.dtype == ledger.current.dtype == torch.float32


def test_epochs():
    """Losses of an epoch become the previous ones of the next; what was skipped is unknown."""
    ledger = LossLedger(3)
    assert ledger.epoch == 0 and values(ledger.current) == [None] * 3
    ledger.begin_epoch(1)
    ledger.record(ids(0, 2), torch.tensor([1.0, 3.0]))
    assert values(ledger.previous_loss(ids(0, 2))) == [None, None]
    ledger.begin_epoch(2)
    assert values(ledger.previous) == [1.0, None, 3.0] and values(ledger.current) == [None] * 3
    ledger.record(ids(2, 1), torch.tensor([2.0, 5.0]))
    assert values(ledger.gain) == [None, None, 1.0]
    ledger.begin_epoch(2)
    assert values(ledger.current) == [None, 5.0, 2.0], "beginning the current epoch again changes nothing"
    ledger.begin_epoch(4)
    assert values(ledger.previous) == values(ledger.current) == [None] * 3, "epoch 3 was not seen"
    with pytest.raises(ValueError, match="cannot go back"):
        ledger.begin_epoch(3)
    ledger.reset()
    assert ledger.epoch == 0


def test_recording():
    """Losses that are not finite count as no visit, and id -1 stands for no sample."""
    ledger = LossLedger(4)
    ledger.begin_epoch(1)
    loss = torch.tensor([1.0, float("nan"), float("inf"), 7.0, 8.0], requires_grad=True)
    ledger.record(ids(3, 1, 0, -1, -1), loss)
    assert values(ledger.current) == [None, None, None, 1.0]
    assert not ledger.current.requires_grad
    ledger.begin_epoch(2)
    assert values(ledger.previous_loss(ids(3, -1, 0))) == [1.0, None, None]
    ledger.record(ids(2), torch.tensor([2.0], dtype=torch.bfloat16))
    assert values(ledger.current) == [None, None, 2.0, None]
    ledger.record(ids(), torch.zeros(0))


def test_empty():
    with pytest.raises(UserError, match="at least one sample"):
        LossLedger(0)


def test_files(tmp_path):
    """What was saved is restored to the bit, in the middle of an epoch too; no half-written file has its name."""
    ledger = LossLedger(5, fingerprint="abc")
    for epoch in (1, 2):
        ledger.begin_epoch(epoch)
        ledger.record(ids(0, 3), torch.rand(2))
    ledger.save(tmp_path / "ledger.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.safetensors"]
    restored = LossLedger(5, fingerprint="abc")
    restored.load(str(tmp_path / "ledger.safetensors"))
    assert restored.epoch == 2
    assert torch.equal(restored.previous.nan_to_num(-1), ledger.previous.nan_to_num(-1))
    assert torch.equal(restored.current.nan_to_num(-1), ledger.current.nan_to_num(-1))
    restored.begin_epoch(2)
    restored.record(ids(1), torch.ones(1))
    assert int((~restored.current.isnan()).sum()) == 3
    assert set(load_file(tmp_path / "ledger.safetensors")) == {"previous", "current", "weight"}


def test_files_of_other_data(tmp_path):
    """Each kind of file that does not fit is named, with what to do."""
    path = tmp_path / "ledger.safetensors"
    with pytest.raises(UserError, match="not written by GLOWTrainer"):
        LossLedger(5).load(path)
    LossLedger(5, fingerprint="abc").save(path)
    with pytest.raises(UserError, match="holds 5 samples, the training set has 6"):
        LossLedger(6, fingerprint="abc").load(path)
    with pytest.raises(UserError, match="other training data"):
        LossLedger(5, fingerprint="abd").load(path)
    LossLedger(5).load(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="is damaged"):
        LossLedger(5, fingerprint="abc").load(path)
    for tensors, metadata in (
        ({"previous": torch.zeros(5)}, {"epoch": "1", "fingerprint": ""}),
        ({"previous": torch.zeros(5), "current": torch.zeros(5)}, None),
        ({"previous": torch.zeros(5), "current": torch.zeros(5)}, {"epoch": "one", "fingerprint": ""}),
        ({"previous": torch.zeros(4), "current": torch.zeros(5)}, {"epoch": "1", "fingerprint": ""}),
    ):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(UserError, match="is damaged"):
            LossLedger(5).load(path)


def test_ten_million_samples(tmp_path):
    """A large ledger changes its epoch, is synchronized, saved and loaded. bench_ledger.py says how long it takes."""
    ledger = LossLedger(10_000_000)
    ledger.begin_epoch(1)
    losses = torch.rand(4096)
    ledger.record(torch.arange(0, 10_000_000, 2442)[:4096], losses)
    ledger.begin_epoch(2)
    ledger.sync()
    ledger.save(tmp_path / "ledger.safetensors")
    loaded = LossLedger(10_000_000)
    loaded.load(tmp_path / "ledger.safetensors")
    assert loaded.epoch == 2 and loaded.current.isnan().all()
    assert torch.equal(loaded.previous[::2442][:4096], losses)
    assert (~loaded.previous.isnan()).sum() == 4096
