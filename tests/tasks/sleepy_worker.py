"""A worker that notes each request and takes its time; stands in for the real one in pool tests."""

import json
import os
import sys
import time


def main(device):
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        with open(request["begun"], "a") as file:
            file.write(f"{request['shard']}\n")
        time.sleep(0.2)
        answers.write(json.dumps({"facts": {"shard": request["shard"]}}) + "\n")
        answers.flush()
