package wire

// Running is the part of GET /v1/status about the daemon itself.
type Running struct {
	Version     string `json:"version"`
	Config      string `json:"config"`                 // path of the configuration in force
	Digest      string `json:"config_sha256"`          // of the file as it was read
	ConfigError string `json:"config_error,omitempty"` // why the file as it is now is not in force
}

// Reloaded is the answer of POST /v1/reload: names of identities, sorted, and the keys whose change takes a restart.
type Reloaded struct {
	Added   []string `json:"added"`
	Changed []string `json:"changed"`
	Removed []string `json:"removed"`
	Restart []string `json:"restart"`
}
