package awsrole

// Files are the files that an answer depends on, by absolute paths, whether they exist or not.
func (s *Source) Files() []string {
	if s.cfg.CAFile == "" {
		return nil
	}
	return []string{s.cfg.CAFile}
}
