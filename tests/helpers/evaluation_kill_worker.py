"""Runs one evaluation in children that are killed at random moments; started by a test.

What takes long to import is imported once: the children are forked.

    python -m helpers.evaluation_kill_worker SETTINGS.json KILLS SEED
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path


def start(settings: dict) -> int:
    """A child that evaluates; its process id."""
    child = os.fork()
    if child:
        return child
    from glow_trl.evaluation import EvalConfig, evaluate

    try:
        evaluate(EvalConfig(**settings))
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def main() -> None:
    settings, kills, seed = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]), int(sys.argv[3])
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401
    import trl.trainer  # noqa: F401
    from trl.trainer import add_fused_lm_head  # noqa: F401

    import glow_trl.evaluation.runner
    import glow_trl.generation.transformers_engine
    import glow_trl.verifiers  # noqa: F401

    begun = time.perf_counter()
    _, status = os.waitpid(start(settings | {"output_dir": settings["output_dir"] + "_straight"}), 0)
    assert status == 0, "the straight run failed"
    whole = time.perf_counter() - begun

    rng = random.Random(seed)
    killed = 0
    while killed < kills:
        child = start(settings)
        time.sleep(rng.uniform(0.02, 0.4) * whole)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        # One that had ended before is not counted: what it left stays for the next to be killed over
        killed += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            assert status == 0, "a resumed run failed"
            for path in Path(settings["output_dir"]).iterdir():
                if path.is_file():
                    path.unlink()
            killed = 0
    _, status = os.waitpid(start(settings), 0)
    assert status == 0, "the last run failed"
    print(json.dumps({"killed": killed}))


if __name__ == "__main__":
    main()
