"""Where the pipeline runs: server, runner, pools."""
