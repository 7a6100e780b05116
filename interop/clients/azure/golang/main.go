// Golang asks one of azidentity's credentials for a token, once and with its default settings, and prints what it got.
//
//	golang ManagedIdentityCredential|DefaultAzureCredential|AzureCLICredential
//
// It prints one line of JSON: {"got": TOKEN}, or {"error": TYPE, "text": MESSAGE}.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: golang CREDENTIAL")
	}
	line := map[string]string{}
	if token, err := ask(os.Args[1]); err != nil {
		line["error"], line["text"] = kind(err), err.Error()
	} else {
		line["got"] = token
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		log.Fatal(err)
	}
}

func ask(name string) (string, error) {
	var credential azcore.TokenCredential
	var err error
	switch name {
	case "ManagedIdentityCredential":
		credential, err = azidentity.NewManagedIdentityCredential(nil)
	case "DefaultAzureCredential":
		credential, err = azidentity.NewDefaultAzureCredential(nil)
	case "AzureCLICredential":
		credential, err = azidentity.NewAzureCLICredential(nil)
	default:
		log.Fatalf("no credential %q", name)
	}
	if err != nil {
		return "", err
	}
	token, err := credential.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	return token.Token, err
}

// kind is the outermost type that a program can ask errors.As for.
func kind(err error) string {
	for e := err; e != nil; e = errors.Unwrap(e) {
		name := fmt.Sprintf("%T", e)
		if _, typ, _ := strings.Cut(name, "."); typ != "" && typ[0] >= 'A' && typ[0] <= 'Z' {
			return name
		}
	}
	return "error"
}
