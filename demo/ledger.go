package demo

// Ledger is what a demo measured: all that freshet demo --json prints. Durations and sizes carry their unit in their names.
type Ledger struct {
	Version string  `json:"version"` // of freshet
	Callers int     `json:"callers"` // of each client
	Machine Machine `json:"machine"`
	// AzureCLI is what one az of the lab costs, measured before anything else ran.
	AzureCLI AzureCLI `json:"az"`
	// IssuerLatencyMS is how long each of the lab's other issuers takes to answer.
	IssuerLatencyMS float64 `json:"issuer_latency_ms"`
	Rows            []Row   `json:"rows"`
	Total           Total   `json:"total"`
	// Cancelled has the first of some callers give up while its retrieval is under way.
	Cancelled Moments `json:"cancelled"`
	// Rejected has a service refuse a credential that some callers hold; each says so and needs another.
	Rejected    Moments `json:"rejected"`
	WallSeconds float64 `json:"wall_seconds"` // of the whole demo
}

// Machine is what the demo ran on.
type Machine struct {
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	CPUs        int    `json:"cpus"`
	MemoryBytes *int64 `json:"memory_available_bytes"` // when the demo began; null where that is not known
}

// AzureCLI is one az of the lab, alone on the machine.
type AzureCLI struct {
	WallMS      float64 `json:"wall_ms"`
	ProcessorMS float64 `json:"processor_ms"` // that it burns on purpose, as Python's az does
	MemoryBytes int64   `json:"memory_bytes"` // that it takes on purpose
	// Reduced tells that the machine has too little memory for as many of the usual size.
	Reduced bool `json:"reduced"`
}

// Row is one client, without freshet and with it. Both ran the same code.
type Row struct {
	Client  string  `json:"client"`
	Module  string  `json:"module"`  // that the client is of
	Release string  `json:"release"` // of the module
	Door    string  `json:"door"`    // what of freshet answers it
	Daemon  bool    `json:"daemon"`  // a daemon answers, whose memory is counted; otherwise freshet is in the client's process
	Without Figures `json:"without"`
	With    Figures `json:"with"`
}

// Figures are one phase: so many callers that ask for a credential at the same moment, each with a client of its own, where
// nobody holds one yet.
type Figures struct {
	Callers     int   `json:"callers"`
	IssuerCalls int64 `json:"issuer_calls"` // requests that issuers got
	Processes   int64 `json:"processes"`    // of az that were started
	// PeakMemoryBytes is the most that the phase's processes held at once of what they do not share: their client, every az,
	// and freshet's daemon where there is one. Null where it cannot be measured.
	PeakMemoryBytes *int64  `json:"peak_memory_bytes"`
	WallMS          float64 `json:"wall_ms"` // from the first question to the last answer
	P50MS           float64 `json:"p50_ms"`  // of the callers' waits, failures included
	P99MS           float64 `json:"p99_ms"`
	Failures        int     `json:"failures"`
	Failure         string  `json:"failure,omitempty"` // what one of them was told
}

// Total is all rows together. Of memory it is the largest peak, since phases run one after another.
type Total struct {
	Without Sum `json:"without"`
	With    Sum `json:"with"`
}

// Sum is one side of all rows.
type Sum struct {
	IssuerCalls     int64  `json:"issuer_calls"`
	Processes       int64  `json:"processes"`
	PeakMemoryBytes *int64 `json:"peak_memory_bytes"`
	Failures        int    `json:"failures"`
}

// Moments are one event without freshet and with it.
type Moments struct {
	Without Moment `json:"without"`
	With    Moment `json:"with"`
}

// Moment is one event's outcome.
type Moment struct {
	Callers     int   `json:"callers"`
	Cancelled   int   `json:"cancelled"` // of them, those that gave up
	Served      int   `json:"served"`    // of the others, those that got a credential
	IssuerCalls int64 `json:"issuer_calls"`
}

func (s *Sum) add(f Figures) {
	s.IssuerCalls += f.IssuerCalls
	s.Processes += f.Processes
	s.Failures += f.Failures
	if p := f.PeakMemoryBytes; p != nil && (s.PeakMemoryBytes == nil || *p > *s.PeakMemoryBytes) {
		s.PeakMemoryBytes = p
	}
}
