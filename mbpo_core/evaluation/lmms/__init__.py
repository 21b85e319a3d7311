"""Bridge to lmms-eval: the command for a checkpoint, tasks that it lacks, its results as rows."""
