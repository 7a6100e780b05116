"""Reads one S3 object in a loop, with boto3's default credential chain and a single attempt a call.

    loop.py ENDPOINT BUCKET KEY SECONDS PAUSE

It prints a line "failure: ..." on stderr for each call that fails, and a summary as JSON when the time is over or on
SIGTERM.
"""

import json
import signal
import sys
import threading
import time

import boto3
from botocore.config import Config

KEPT_ERRORS = 5


def main(endpoint, bucket, key, seconds, pause):
    # The signal ends the loop, not the call: a call it cut short would count as a failure.
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path"},
            connect_timeout=30,
            read_timeout=30,
        ),
    )
    calls, failures, errors = 0, 0, []
    deadline = time.monotonic() + float(seconds)
    while not stop.is_set() and time.monotonic() < deadline:
        calls += 1
        try:
            client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except Exception as error:  # whatever it is, the caller's call failed
            failures += 1
            if len(errors) < KEPT_ERRORS:
                errors.append(str(error))
            print(f"failure: boto3: {error}", file=sys.stderr, flush=True)
        stop.wait(min(float(pause), max(0, deadline - time.monotonic())))
    print(json.dumps({"client": "boto3", "calls": calls, "failures": failures, "errors": errors}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: loop.py ENDPOINT BUCKET KEY SECONDS PAUSE")
    main(*sys.argv[1:])
