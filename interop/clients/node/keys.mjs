// Asks the default credential chain of the AWS SDK for JavaScript for AWS keys, once and with its default settings, as its
// clients do, and prints what it got.
//
// It prints one line of JSON: {"got": "ID SECRET TOKEN"}, or {"error": NAME, "text": MESSAGE}.

import { S3Client } from '@aws-sdk/client-s3';

let line;
try {
  const keys = await new S3Client({}).config.credentials();
  line = { got: `${keys.accessKeyId} ${keys.secretAccessKey} ${keys.sessionToken ?? ''}` };
} catch (error) {
  line = { error: error.name, text: error.message };
}
console.log(JSON.stringify(line));
