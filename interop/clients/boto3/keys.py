"""Asks boto3's default credential chain for AWS keys, once and with its default settings, and prints what it got.

It prints one line of JSON: {"got": "ID SECRET TOKEN"}, or {"error": NAME, "text": MESSAGE}.
"""

import json

import boto3

try:
    credentials = boto3.Session().get_credentials()
    if credentials is None:  # which is how boto3 says that it found none; a request would raise this
        line = {"error": "NoCredentialsError", "text": ""}
    else:
        keys = credentials.get_frozen_credentials()
        line = {"got": f"{keys.access_key} {keys.secret_key} {keys.token or ''}"}
except Exception as error:  # whatever it is, it is what the program gets
    line = {"error": type(error).__name__, "text": str(error)}
print(json.dumps(line))
