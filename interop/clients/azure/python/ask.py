"""Asks one of azure-identity's credentials for a token, once and with its default settings, and prints what it got.

    ask.py ManagedIdentityCredential|DefaultAzureCredential|AzureCliCredential

It prints one line of JSON: {"got": TOKEN}, or {"error": NAME, "text": MESSAGE}.
"""

import json
import sys

import azure.identity

try:
    credential = getattr(azure.identity, sys.argv[1])()
    line = {"got": credential.get_token("https://vault.azure.net/.default").token}
except Exception as error:  # whatever it is, it is what the program gets
    line = {"error": type(error).__name__, "text": str(error)}
print(json.dumps(line))
