"""Stands in for the Azure CLI: az account get-access-token --output json --resource RESOURCE, and what it costs to ask for a token.

The first argument is how many seconds of processor time it is to take; 0 leaves out what gives it its weight.
"""
import json
import sys
import time

cpu = float(sys.argv[1])
if cpu > 0:
    # What a large program of this language loads before it begins.
    import argparse, asyncio, concurrent.futures, configparser, csv, ctypes, datetime, decimal, difflib, email.mime.multipart
    import ftplib, getpass, gzip, hashlib, hmac, html.parser, http.cookiejar, http.server, imaplib, inspect, ipaddress, locale
    import logging.config, logging.handlers, lzma, mimetypes, multiprocessing, optparse, pdb, pickle, platform, pprint, pydoc
    import queue, random, shlex, shutil, smtplib, socketserver, sqlite3, ssl, statistics, subprocess, tarfile, tempfile
    import textwrap, threading, tokenize, typing, unittest.mock, urllib.request, uuid, webbrowser, xml.dom.minidom
    import xml.etree.ElementTree, xmlrpc.client, zipfile, zoneinfo
    commands = []
    while time.process_time() < cpu:
        # A table of commands and their arguments, which az builds at every start; 20 MB of it at most.
        table = json.loads(json.dumps([{"name": "command %d" % n, "help": "x" * 200} for n in range(1000)]))
        if len(commands) < 40:
            commands.append(table)

if sys.argv[2:4] != ["account", "get-access-token"]:
    sys.exit("ERROR: the stand-in for az knows no %r" % sys.argv[2:4])
expires = int(time.time()) + 3600
print(json.dumps({
    "accessToken": "token-of-a-stand-in-for-az-%d" % time.time_ns(),
    "expires_on": expires,
    "expiresOn": time.strftime("%Y-%m-%d %H:%M:%S.000000", time.localtime(expires)),
    "subscription": "00000000-0000-0000-0000-000000000000",
    "tenant": "00000000-0000-0000-0000-000000000000",
    "tokenType": "Bearer",
}))
