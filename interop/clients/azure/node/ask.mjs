// Asks one of @azure/identity's credentials for a token, once and with its default settings, and prints what it got.
//
//   node ask.mjs ManagedIdentityCredential|DefaultAzureCredential|AzureCliCredential
//
// It prints one line of JSON: {"got": TOKEN}, or {"error": NAME, "text": MESSAGE}.

import * as identity from '@azure/identity';

const [name] = process.argv.slice(2);
let line;
try {
  const token = await new identity[name]().getToken('https://vault.azure.net/.default');
  line = { got: token.token };
} catch (error) {
  line = { error: error.name, text: error.message };
}
console.log(JSON.stringify(line));
