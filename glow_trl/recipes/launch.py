"""
`accelerate launch` as [`glow_trl.recipes.pipeline`] starts it: it ends as the stage does that it starts, with its exit
code and without a traceback of its own, and the two end with the run, so that one that is killed leaves nothing behind
that trains on in its folder.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from ..stages.interruption import Interruption
from ..stages.noise import drop_noise
from ..stages.processes import LAUNCHER, end_children, end_with_launcher


def main(argv: Sequence[str] | None = None) -> int:
    """
    Launch a stage; returns the exit code of its first process that failed, 1 if a signal ended it, 0 if none failed.
    """
    # Before what takes seconds to import
    drop_noise()
    end_with_launcher()
    os.environ[LAUNCHER] = str(os.getpid())
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.agent.server import api as agent
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # That it was interrupted says the run
    logging.getLogger(agent.__name__).setLevel(logging.ERROR)
    with Interruption() as interruption:
        try:
            launch_command(launch_command_parser().parse_args(argv))
        except ChildFailedError as error:
            _, failure = error.get_first_failure()
            return max(failure.exitcode, 1)
        except subprocess.CalledProcessError as error:
            return max(error.returncode, 1)
        except (KeyboardInterrupt, SignalException):
            end_children()
            return 128 + (interruption.number or signal.SIGTERM)
    return 0


if __name__ == "__main__":
    sys.exit(main())
