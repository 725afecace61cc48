"""Named points at which a process can be made to die, so that recovery is tested where it matters.

The setting ``fault_point`` names one; without it nothing happens.
"""

import os
import signal

from export_pipeline.settings import Settings


def reach(settings: Settings, point: str) -> None:
    """Die by SIGKILL, as in a power cut, if ``fault_point`` is ``point``."""
    if settings.fault_point == point:
        os.kill(os.getpid(), signal.SIGKILL)
