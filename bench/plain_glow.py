"""
GLOW implemented plainly, as the released code has it, for the benchmarks to compare with: full float32 logits, a
barrier and a gather of Python objects at each step, and a dictionary of losses on every process. Written from its
description.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from trl import SFTConfig, SFTTrainer

from glow_trl.glow.samples import SAMPLE_ID, SAMPLE_ROW, SampleIdCollator, add_sample_ids


class PlainGLOWTrainer(SFTTrainer):
    """Takes pre-tokenized samples, padded; `alpha` and `beta` as in GLOW, weights clipped to 0.5 and 5."""

    def __init__(self, model, args: SFTConfig, *, train_dataset, alpha: float = 2.0, beta: float = 20.0, **kwargs):
        super().__init__(model, args, train_dataset=add_sample_ids(train_dataset), **kwargs)
        self.data_collator = SampleIdCollator(self.data_collator)
        self.alpha, self.beta = alpha, beta
        self.history: dict[int, float] = {}
        # The loss below is a mean over the micro-batch
        self.model_accepts_loss_kwargs = False

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, SAMPLE_ID]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        ids = inputs.pop(SAMPLE_ID)
        inputs.pop(SAMPLE_ROW)
        labels = inputs.pop("labels")
        outputs = model(**inputs, use_cache=False)
        logits, targets = outputs.logits[:, :-1].float(), labels[:, 1:]
        losses = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none").sum(-1)
        losses = losses / (targets != -100).sum(-1).clamp(min=1)
        found = losses.detach()
        weights = torch.ones_like(found)
        if self.state.epoch is not None and self.state.epoch >= 1:
            mean = found.mean().item()
            previous = torch.tensor([self.history.get(i, mean) for i in ids.tolist()], device=found.device)
            weights = (self.alpha * (1 - torch.sigmoid(self.beta * (previous - found)))).clamp(0.5, 5)
        pairs = [list(zip(ids.tolist(), found.tolist(), strict=True))]
        if dist.is_initialized():
            dist.barrier()
            gathered = [None] * dist.get_world_size()
            dist.all_gather_object(gathered, pairs[0])
            pairs = gathered
        self.history.update(pair for chunk in pairs for pair in chunk)
        loss = (weights * losses).mean()
        return (loss, outputs) if return_outputs else loss
