#!/bin/sh
# Asks for one S3 object's head in a loop, a process of the AWS CLI a call, with its default credential chain and a
# single attempt.
#
#   loop.sh AWS PYTHON ENDPOINT BUCKET KEY SECONDS PAUSE
#
# It prints a line "failure: ..." on stderr for each call that fails, and a summary as JSON when the time is over or on
# SIGTERM. python is there to write the JSON and to read a clock that nobody sets.
set -u
if [ $# -ne 7 ]; then
	echo "usage: loop.sh AWS PYTHON ENDPOINT BUCKET KEY SECONDS PAUSE" >&2
	exit 2
fi
aws=$1 python=$2 endpoint=$3 bucket=$4 key=$5 seconds=$6 pause=$7

export AWS_MAX_ATTEMPTS=1 AWS_RETRY_MODE=standard AWS_PAGER=
kept=5

now() { "$python" -c 'import time; print(int(time.monotonic()))'; }

# The shell runs a trap between commands: the signal ends the loop, not the call. A pause in the background is what wait
# can be interrupted in.
stopped=
trap 'stopped=1' TERM INT

calls=0 failures=0 errors=
deadline=$(($(now) + ${seconds%.*}))
while [ -z "$stopped" ] && [ "$(now)" -lt "$deadline" ]; do
	calls=$((calls + 1))
	# A path-style address is what botocore chooses for an endpoint that is an IP address.
	if ! output=$("$aws" --endpoint-url "$endpoint" --region us-east-1 \
		s3api head-object --bucket "$bucket" --key "$key" 2>&1); then
		failures=$((failures + 1))
		output=$(printf '%s' "$output" | tr '\n' ' ')
		echo "failure: awscli: $output" >&2
		if [ "$failures" -le "$kept" ]; then
			errors="$errors$output
"
		fi
	fi
	if [ -z "$stopped" ]; then
		sleep "$pause" &
		sleeper=$!
		wait "$sleeper"
		kill "$sleeper" 2>/dev/null
	fi
done
"$python" -c '
import json, sys
calls, failures, errors = sys.argv[1:]
print(json.dumps({"client": "awscli", "calls": int(calls), "failures": int(failures), "errors": errors.splitlines()}))
' "$calls" "$failures" "$errors"
