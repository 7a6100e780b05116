package sigv4

import (
	"encoding/json"
	"encoding/xml"
	"slices"

	"freshet.dev/internal/sigv4"
)

// inXML are the services whose clients look for errors in an ErrorResponse: those of the Query protocol, and two of REST-XML.
var inXML = []string{
	"sts", "iam", "sns", "ses", "cloudformation", "autoscaling", "rds", "redshift", "elasticloadbalancing", "elasticache", "elasticbeanstalk",
	"cloudsearch", "sdb", "importexport", "cloudfront", "route53",
}

type xmlError struct {
	Code, Message string
}

// Explain implements proxy.Signer.
func (s *Signer) Explain(_ int, code, message string) (contentType string, body []byte) {
	e := xmlError{code, message}
	var v any
	switch {
	case sigv4.OnceEscaped(s.service):
		v = struct {
			XMLName xml.Name `xml:"Error"`
			xmlError
			RequestID string `xml:"RequestId"`
		}{xmlError: e}
	case s.service == "ec2":
		v = struct {
			XMLName   xml.Name `xml:"Response"`
			Error     xmlError `xml:"Errors>Error"`
			RequestID string   `xml:"RequestID"`
		}{Error: e}
	case slices.Contains(inXML, s.service):
		v = struct {
			XMLName   xml.Name `xml:"ErrorResponse"`
			Error     xmlError
			RequestID string `xml:"RequestId"`
		}{Error: e}
	default:
		// Of the JSON protocols some look for __type, and some for code; encoding/json cannot fail at strings.
		body, _ = json.Marshal(struct {
			Type    string `json:"__type"`
			Code    string `json:"code"`
			Message string `json:"message"`
		}{code, code, message})
		return "application/x-amz-json-1.1", body
	}
	body, _ = xml.Marshal(v)
	return "application/xml", append([]byte(xml.Header), body...)
}
