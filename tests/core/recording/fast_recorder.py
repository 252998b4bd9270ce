"""The recorder in a rhythm for tests: `python -m tests.core.recording.fast_recorder RUN_DIR`."""

from __future__ import annotations

import sys

from comfysoak_core.recording import compaction, recorder

recorder.LOG_S = 0.02
recorder.SYNC_S = 0.05
recorder.COMPACT_S = 0.05
compaction.MERGE_FILES = 3

if __name__ == "__main__":
    sys.exit(recorder.main())
