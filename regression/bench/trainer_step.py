# SPDX-License-Identifier: Apache-2.0
"""The peer of against_trainer.py: full fine-tuning of a model folder by the Trainer of transformers with DeepSpeed
ZeRO-3, parameters and optimizer states on NVMe.

    DS_ACCELERATOR=cpu LOCAL_SIZE=1 OMP_NUM_THREADS=2 torchrun --standalone --nproc_per_node=1 trainer_step.py \\
        FOLDER NVME SEQUENCES TOKENS STEPS

Each step accumulates SEQUENCES micro-batches of one sequence, checkpoints activations, and computes in bf16. Ends with
a line "peer: S s/step, maxrss B bytes": the median of the steps after the first, which makes the moments.
"""
import os
import resource
import statistics
import sys
import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments


def deepspeed_config(nvme, sequences):
    return {
        "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": sequences, "gradient_clipping": 1.0,
        "bf16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}},
        "zero_optimization": {
            "stage": 3, "sub_group_size": 20000000, "reduce_bucket_size": 40000000, "overlap_comm": False,
            "stage3_prefetch_bucket_size": 5000000, "stage3_max_live_parameters": 60000000,
            "stage3_max_reuse_distance": 0, "stage3_param_persistence_threshold": 10000,
            "offload_param": {"device": "nvme", "nvme_path": nvme, "max_in_cpu": 0, "buffer_count": 8,
                              "buffer_size": 70000000},
            "offload_optimizer": {"device": "nvme", "nvme_path": nvme, "buffer_count": 12, "pipeline_read": True,
                                  "pipeline_write": True}},
        "aio": {"block_size": 1048576, "queue_depth": 16, "intra_op_parallelism": 1, "single_submit": False,
                "overlap_events": True}}


class RandomTokens(torch.utils.data.Dataset):
    def __init__(self, count, tokens, vocabulary):
        self.ids = torch.randint(0, vocabulary, (count, tokens), generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


class Clock(TrainerCallback):
    def __init__(self):
        self.times, self.begin = [], 0.0

    def on_step_begin(self, *_, **__):
        self.begin = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.times.append(time.perf_counter() - self.begin)
        print(f"step {len(self.times)}: {self.times[-1]:.2f} s", flush=True)


def main():
    folder, nvme, sequences, tokens, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place, per_device_train_batch_size=1, gradient_accumulation_steps=sequences, max_steps=steps,
            learning_rate=1e-4, weight_decay=0.1, adam_beta2=0.95, bf16=True, use_cpu=True,
            gradient_checkpointing=True, deepspeed=deepspeed_config(nvme, sequences), report_to=[],
            save_strategy="no", logging_steps=1, lr_scheduler_type="constant", dataloader_pin_memory=False)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, use_cache=False)
        clock = Clock()
        data = RandomTokens(sequences * steps, tokens, model.config.vocab_size)
        Trainer(model=model, args=arguments, train_dataset=data, callbacks=[clock]).train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peer: {statistics.median(clock.times[1:]):.3f} s/step, maxrss {peak} bytes", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
