"""Does with an S3 server what programs do with one, once, with boto3's default credential chain and a single attempt a call.

    objects.py ENDPOINT BUCKET PLAN

PLAN is JSON: {"prefix": "...", "keys": ["..."], "lists": ["..."], "large": BYTES, "stream": BYTES}. Keys and lists begin with the
prefix; 0 leaves large (an upload in parts) or stream (one of a single part) out. It leaves the objects of "keys" behind.

It prints one line of JSON: {"outcomes": {STEP: "ok", or the error's code}}.
"""

import hashlib
import json
import sys
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError


class Zeros:
    """A file of zeros that can be read twice, as a signature over it needs."""

    def __init__(self, size):
        self.size, self.at = size, 0

    def read(self, n=-1):
        n = self.size - self.at if n is None or n < 0 else min(n, self.size - self.at)
        self.at += n
        return bytes(n)

    def seek(self, offset, whence=0):
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self):
        return self.at


def zeros_digest(size):
    digest, block = hashlib.sha256(), bytes(1 << 20)
    for _ in range(size >> 20):
        digest.update(block)
    digest.update(bytes(size & (1 << 20) - 1))
    return digest.hexdigest()


def digest_of(body):
    digest = hashlib.sha256()
    for block in body.iter_chunks(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def want(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {str(got)[:200]!r}, want {str(wanted)[:200]!r}")


class Steps:
    def __init__(self, endpoint, bucket, plan):
        self.bucket, self.plan = bucket, plan
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            config=Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                s3={"addressing_style": "path"},
                signature_version="s3v4",  # botocore presigns by version 2 otherwise
                connect_timeout=30,
                read_timeout=60,
            ),
        )
        self.outcomes = {}

    def step(self, name, call):
        try:
            call()
            self.outcomes[name] = "ok"
        except ClientError as error:
            self.outcomes[name] = error.response["Error"]["Code"]
        except urllib.error.HTTPError as error:
            self.outcomes[name] = f"{error.code} {error.read()[:300]!r}"
        except Exception as error:  # whatever it is, the step failed
            self.outcomes[name] = f"{type(error).__name__}: {error}"

    def key(self, name):
        return self.plan["prefix"] + name

    def put(self, key, body, **more):
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def get(self, key, **more):
        return self.client.get_object(Bucket=self.bucket, Key=key, **more)["Body"].read()

    def there_and_back(self, key):
        body = ("this is " + key).encode()
        self.put(key, body)
        want(self.get(key), body)

    def empty(self):
        self.put(self.key("empty"), b"")
        want(self.get(self.key("empty")), b"")

    def ranges(self):
        self.put(self.key("range"), b"0123456789")
        want(self.get(self.key("range"), Range="bytes=3-5"), b"345")
        want(self.get(self.key("range"), Range="bytes=-2"), b"89")

    def metadata(self):
        self.put(self.key("metadata"), b"x", Metadata={"words": "two  of them", "sign": "a;b=c"}, ContentType="text/plain; charset=utf-8")
        head = self.client.head_object(Bucket=self.bucket, Key=self.key("metadata"))
        want(head["ContentType"], "text/plain; charset=utf-8")
        want(head["Metadata"]["sign"], "a;b=c")

    def copy(self):
        self.put(self.key("from here;+"), b"copied")
        self.client.copy_object(Bucket=self.bucket, Key=self.key("to"), CopySource={"Bucket": self.bucket, "Key": self.key("from here;+")})
        want(self.get(self.key("to")), b"copied")

    def presigned_get(self):
        key = self.key("presigned get;+ ü")
        self.put(key, b"presigned")
        url = self.client.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": key, "ResponseContentType": "text/x; a=b"}, ExpiresIn=60)
        with urllib.request.urlopen(url, timeout=30) as answer:
            want(answer.read(), b"presigned")
            want(answer.headers["Content-Type"], "text/x; a=b")

    def presigned_put(self):
        key = self.key("presigned put;+ ü")
        url = self.client.generate_presigned_url("put_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=60)
        request = urllib.request.Request(url, data=b"by URL", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
        want(self.get(key), b"by URL")

    def listed(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.key(prefix), PaginationConfig={"PageSize": 2})
        found = sorted(o["Key"] for page in pages for o in page.get("Contents", []))
        stored = sorted(k for k in self.plan["keys"] if self.outcomes.get("key " + k) == "ok" and k.startswith(prefix))
        want(found, [self.key(k) for k in sorted(stored)])

    def delete(self):
        key = self.key("delete me;+ ü")
        self.put(key, b"x")
        self.client.delete_object(Bucket=self.bucket, Key=key)
        try:
            self.get(key)
        except ClientError as error:
            want(error.response["Error"]["Code"], "NoSuchKey")
        else:
            raise AssertionError("it is still there")

    def delete_many(self):
        keys = [self.key(k) for k in ("many/1;", "many/2+", "many/3 ü")]
        for key in keys:
            self.put(key, b"x")
        answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": k} for k in keys]})
        want(sorted(d["Key"] for d in answer["Deleted"]), sorted(keys))

    def large(self):
        size, key = self.plan["large"], self.key("large")
        parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=3)
        self.client.upload_fileobj(Zeros(size), self.bucket, key, Config=parts)
        want(digest_of(self.client.get_object(Bucket=self.bucket, Key=key)["Body"]), zeros_digest(size))
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def stream(self):
        size, key = self.plan["stream"], self.key("stream")
        self.put(key, Zeros(size), ContentLength=size)
        want(digest_of(self.client.get_object(Bucket=self.bucket, Key=key)["Body"]), zeros_digest(size))
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def run(self):
        for key in self.plan["keys"]:
            self.step("key " + key, lambda: self.there_and_back(self.key(key)))
        for prefix in self.plan["lists"]:
            self.step("list " + prefix, lambda: self.listed(prefix))
        for name in ("empty", "ranges", "metadata", "copy", "presigned_get", "presigned_put", "delete", "delete_many"):
            self.step(name, getattr(self, name))
        for name in ("large", "stream"):
            if self.plan[name]:
                self.step(name, getattr(self, name))
        print(json.dumps({"outcomes": self.outcomes}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: objects.py ENDPOINT BUCKET PLAN")
    Steps(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])).run()
